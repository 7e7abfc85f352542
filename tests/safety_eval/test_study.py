"""The safety study on real physics.

Gate, report, regression, bitwise replay, and policies that must fail.
"""

import json
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from robo_rl import content
from robo_rl.policy import save_policy
from robo_rl.safety_eval import replay as replaying
from robo_rl.safety_eval import study, study_report
from robo_rl.safety_eval.suite import Verdict
from robo_rl.sim2real import checklist
from tests.conftest import random_policy

SUITE = """
describe: A small suite on real physics.
scenarios: [nominal, push, sensors]
episodes: 6
non_inferiority_margin: 0.3
criteria:
  no_fall: {metric: fell, at_most: 0, max_rate: 0.3, required: true, reason: r}
  smooth: {metric: action_roughness, at_most: 1.5, max_rate: 0.5, required: false, reason: r}
  robustness: {metric: robustness, at_least: 0, max_rate: 0.3, required: true, reason: r}
"""


def stored(folder, policy):
    save_policy(folder / "policy", policy.network, policy.contract)
    return folder


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    (folder / "small.yaml").write_text(SUITE)
    return folder


@pytest.fixture(scope="module")
def judged(places, hopper):
    """A random policy, which falls, against itself as baseline."""
    run = stored(places / "run", random_policy(hopper))
    result = study.study(run, str(places / "small.yaml"), baseline=run)
    page = study_report.write(result, run / "safety" / "small", f"robo-rl safety {run}")
    return run, result, page


def test_a_policy_that_falls_is_rejected(judged):
    _, result, _ = judged
    falls = [f for f in result.findings if f.criterion == "no_fall"]
    assert [f.verdict for f in falls] == [Verdict.FAIL] * 3
    assert result.gate is study.Gate.REJECT and result.gate.exit_code == 1
    smooth = [f for f in result.findings if f.criterion == "smooth"]
    assert all(f.verdict is not Verdict.FAIL for f in smooth)


def test_a_policy_is_never_worse_than_itself(judged):
    for r in judged[1].regressions:
        assert r.change.newly_failing == 0 and r.change.difference.point == 0.0
        assert r.verdict is not Verdict.FAIL


def test_scenarios_really_disturb(judged):
    _, result, _ = judged
    nominal, push, sensors = (result.batch.track.only(result.batch.rows(k)) for k in range(3))
    shortest = int(min(nominal.length.min(), push.length.min(), sensors.length.min()))
    assert not np.array_equal(nominal.action[:shortest], sensors.action[:shortest])


def test_junit_counts_what_the_findings_say(judged):
    run, result, _ = judged
    root = ElementTree.fromstring((run / "safety" / "small" / "junit.xml").read_text())
    failed = sum(f.verdict is Verdict.FAIL for f in result.findings)
    assert int(root.attrib["failures"]) == failed == len(root.findall("testcase/failure"))
    assert int(root.attrib["tests"]) == len(result.findings) + len(result.regressions)


def test_the_report_says_verdict_evidence_and_what_was_not_tested(judged):
    run, _, page = judged
    html, markdown = page.read_text(), page.with_suffix(".md").read_text()
    for text in (html, markdown):
        assert "REJECT" in text and "Not tested" in text and "second physics engine" in text
    assert "http://" not in html.replace("http://www.w3.org", "") and "<script" not in html
    data = json.loads((run / "safety" / "small" / "results.json").read_text())
    assert data["verdict"] == "REJECT" and len(data["findings"]) == 9


def test_every_failing_episode_replays_bit_for_bit(judged):
    run, result, _ = judged
    bundles = sorted((run / "safety" / "small" / "replays").glob("*.npz"))
    failing = sum(
        study.failed_episodes(result.env, result.suite, result.batch, k, required_only=False).sum()
        for k in range(3)
    )
    assert len(bundles) == failing > 0
    for bundle in (bundles[0], bundles[-1]):
        again = replaying.replay(bundle)
        assert again.same_state and again.same_rewards and again.meta["failed"]


def test_a_replay_that_differs_says_where(judged, tmp_path):
    run, _, _ = judged
    bundle = sorted((run / "safety" / "small" / "replays").glob("push-*.npz"))[0]
    with np.load(bundle) as stored_arrays:
        arrays = dict(stored_arrays)
    arrays["actions"] = arrays["actions"].copy()
    arrays["actions"][5] += 0.01
    np.savez(tmp_path / "other.npz", **arrays)
    again = replaying.replay(tmp_path / "other.npz")
    assert not again.same_state and again.first_difference == 5


def test_a_foreign_file_is_no_replay(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    with pytest.raises(content.UserError, match="not a replay bundle"):
        replaying.replay(tmp_path / "x.npz")
    (tmp_path / "y.npz").write_text("hello")
    with pytest.raises(content.UserError, match="not a readable array file"):
        replaying.replay(tmp_path / "y.npz")


def test_a_policy_that_gives_nan_is_an_error_and_not_a_pass(places, hopper):
    policy = random_policy(hopper)
    network = replace(
        policy.network, biases=(policy.network.biases[0], np.full(3, np.nan, np.float32))
    )
    run = stored(places / "nan", replace(policy, network=network))
    result = study.study(run, str(places / "small.yaml"))
    assert result.gate is study.Gate.ERROR and result.gate.exit_code == 3
    assert all(f.verdict is Verdict.ERROR and f.crashed == f.episodes for f in result.findings)


def test_a_study_is_the_same_again_and_another_seed_differs(judged, places):
    run, result, _ = judged
    again = study.study(run, str(places / "small.yaml"))
    np.testing.assert_array_equal(again.batch.track.reward, result.batch.track.reward)
    other = study.study(run, str(places / "small.yaml"), seed=5)
    assert not np.array_equal(
        other.batch.track.length, result.batch.track.length
    ) or not np.array_equal(other.batch.track.reward, result.batch.track.reward)


def test_a_policy_for_another_robot_is_refused(places, hopper):
    from robo_rl.envs.step import make

    alien = random_policy(make("reacher"))
    run = stored(places / "alien", replace(alien, contract={**alien.contract, "env": "hopper"}))
    with pytest.raises(content.UserError, match="takes 10 observations.*'hopper' has 11"):
        study.study(run, str(places / "small.yaml"))


def test_the_checklist_gathers_the_evidence_and_unknown_is_never_a_pass(judged):
    run, _, _ = judged
    made = checklist.checklist(run)
    by = {row.risk: row for row in made.rows}
    assert by["no fall: fell <= 0"].verdict == "RED"
    assert by["The policy was trained on another body than the one checked"].verdict == "GREEN"
    assert any(
        r.verdict == "UNKNOWN" and "gap study has not been run" in r.evidence for r in made.rows
    )
    assert made.verdict == "RED"
    page = checklist.write(made, run / "checklist", "robo-rl checklist")
    data = json.loads(page.with_name("results.json").read_text())
    assert len(data["rows"]) == len(made.rows) and all(
        r["command"] and r["mitigation"] for r in data["rows"]
    )


def test_evidence_of_an_older_policy_is_unknown(judged, hopper):
    run, _, _ = judged
    newer = random_policy(hopper, seed=9)
    save_policy(run / "policy", newer.network, newer.contract)
    rows = [r for r in checklist.checklist(run).rows if r.section == "safety envelope"]
    assert rows and all(r.verdict == "UNKNOWN" for r in rows)
