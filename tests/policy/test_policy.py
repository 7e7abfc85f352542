"""Stored policies: exact round trip, foreign and damaged files refused, nothing executed."""

import json
from dataclasses import replace

import numpy as np
import pytest

import robo_rl
from robo_rl import errors
from robo_rl.policy.stored import Network, Policy, save_policy


def test_a_policy_survives_the_disk_to_the_last_bit(run_folder, policy):
    loaded = robo_rl.load_policy(run_folder)
    seen = np.random.default_rng(0).normal(size=(5, 11))
    np.testing.assert_array_equal(loaded(seen), policy(seen))
    assert loaded.contract["observation"][0]["unit"] == "m, rad"


def test_the_forward_pass_by_hand():
    """Normalise (3 - 1) / 2 = 1, clip to 0.5, tanh, times 2 plus 0.1, clip head."""
    network = Network(
        np.float32([1.0]),
        np.float32([2.0]),
        0.5,
        (np.float32([[1.0]]), np.float32([[2.0]])),
        (np.float32([0.0]), np.float32([0.1])),
        "tanh",
        "clip",
    )
    action = Policy(network, {"env": "x"})(np.array([3.0]))
    assert action.shape == (1,) and action[0] == 1.0
    assert Policy(replace(network, head="tanh"), {"env": "x"})(np.array([3.0]))[0] == pytest.approx(
        np.tanh(2 * np.tanh(0.5) + 0.1)
    )


def test_one_observation_or_a_batch_of_any_shape(policy):
    assert policy(np.zeros(11)).shape == (3,)
    assert policy(np.zeros((4, 2, 11))).shape == (4, 2, 3)
    with pytest.raises(errors.UserError, match="size 11 expected"):
        policy(np.zeros(12))


def test_saving_again_replaces_the_old_weights(run_folder, policy):
    newer = replace(policy.network, mean=policy.network.mean + 1)
    save_policy(run_folder / "policy", newer, policy.contract)
    assert len(list((run_folder / "policy").glob("weights-*.npz"))) == 1
    np.testing.assert_array_equal(robo_rl.load_policy(run_folder).network.mean, newer.mean)


@pytest.mark.parametrize("damage", ["flip", "cut", "text", "pickle", "gone"])
def test_damaged_weights_are_refused(run_folder, damage):
    path = next((run_folder / "policy").glob("weights-*.npz"))
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 3] ^= 0xFF
    elif damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "text":
        data = bytearray(b"not an archive")
    elif damage == "pickle":
        import pickle

        data = bytearray(pickle.dumps({"w0": 1}))
    path.write_bytes(data)
    if damage == "gone":
        path.unlink()
    with pytest.raises(errors.UserError, match="weights|array file|not found"):
        robo_rl.load_policy(run_folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other/1"}, "format 'other/1' found"),
        ({"network": {}}, "not a complete policy"),
        ({"weights": None}, "weights|array|not found|complete"),
    ],
)
def test_a_foreign_contract_is_refused(run_folder, change, message):
    path = run_folder / "policy" / "policy.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(errors.UserError, match=message):
        robo_rl.load_policy(run_folder)


@pytest.mark.parametrize(
    "change", [{"activation": "relu"}, {"head": "clip"}, {"observation_clip": 0.5}]
)
def test_what_is_done_with_the_weights_is_part_of_the_digest(run_folder, change):
    path = run_folder / "policy" / "policy.json"
    contract = json.loads(path.read_text())
    contract["network"] |= change
    path.write_text(json.dumps(contract))
    with pytest.raises(errors.UserError, match="do not match the digest"):
        robo_rl.load_policy(run_folder)


def test_a_policy_of_the_first_format_still_loads(run_folder, policy):
    from robo_rl.policy.stored import arrays_digest

    path = run_folder / "policy" / "policy.json"
    contract = json.loads(path.read_text())
    contract |= {"format": "robo_rl.policy/1", "weights_sha256": arrays_digest(policy.network)}
    path.write_text(json.dumps(contract))
    loaded = robo_rl.load_policy(run_folder)
    np.testing.assert_array_equal(loaded(np.ones(11)), policy(np.ones(11)))
    save_policy(run_folder / "policy", loaded.network, loaded.contract)
    assert json.loads(path.read_text())["format"] == "robo_rl.policy/2"
    assert robo_rl.load_policy(run_folder).digest == Policy(policy.network, {}).digest


JUNK = (None, "x", [], {}, -1, 1e300)


@pytest.mark.parametrize("key", ["env", "format", "network", "weights", "weights_sha256"])
@pytest.mark.parametrize("junk", [*JUNK, "gone"], ids=str)
def test_a_damaged_contract_is_said_and_never_a_traceback(run_folder, key, junk):
    path = run_folder / "policy" / "policy.json"
    contract = json.loads(path.read_text())
    if (key, junk) == ("env", "x"):
        pytest.skip("a policy of an environment that is not installed here still loads")
    contract[key] = junk
    if junk == "gone":
        del contract[key]
    path.write_text(json.dumps(contract))
    with pytest.raises(errors.UserError):
        robo_rl.load_policy(run_folder)


@pytest.mark.parametrize("key", ["layers", "activation", "head", "observation_clip"])
@pytest.mark.parametrize("junk", [*JUNK, "gone"], ids=str)
def test_a_damaged_network_block_is_said_and_never_a_traceback(run_folder, key, junk):
    path = run_folder / "policy" / "policy.json"
    contract = json.loads(path.read_text())
    if junk == contract["network"][key]:
        pytest.skip("this is what is there")
    contract["network"][key] = junk
    if junk == "gone":
        del contract["network"][key]
    path.write_text(json.dumps(contract))
    with pytest.raises(errors.UserError):
        robo_rl.load_policy(run_folder)


def test_a_folder_without_a_policy_is_said(tmp_path):
    with pytest.raises(errors.UserError, match="no policy here"):
        robo_rl.load_policy(tmp_path)


def test_a_policy_runs_in_plain_gymnasium_and_earns_the_same(run_folder):
    """The same policy from the same states, in ours and in theirs, over whole episodes."""
    import gymnasium

    policy = robo_rl.load_policy(run_folder)
    ours, theirs = gymnasium.make("robo_rl/hopper-v1"), gymnasium.make("Hopper-v5")
    for seed in range(3):
        seen_theirs, _ = theirs.reset(seed=seed)
        data = theirs.unwrapped.data
        seen, _ = ours.reset(options={"qpos": data.qpos.copy(), "qvel": data.qvel.copy()})
        totals, over = [0.0, 0.0], False
        while not over:
            seen, reward, terminated, truncated, _ = ours.step(policy(seen))
            seen_theirs, reward_theirs, ended, cut, _ = theirs.step(policy(seen_theirs))
            totals[0] += reward
            totals[1] += reward_theirs
            over = terminated or truncated
            assert over == (ended or cut)
        assert totals[0] == pytest.approx(totals[1], rel=1e-4)
