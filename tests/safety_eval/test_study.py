"""The safety study on real physics.

Gate, report, regression, replay, and policies that must fail. The good policy is a linear
controller, so that nothing has to be trained.
"""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from robo_rl import errors
from robo_rl.envs.step import make
from robo_rl.safety_eval import replay as replaying
from robo_rl.safety_eval import results, study, study_report
from robo_rl.safety_eval.evidence import cover, criterion_values, said
from robo_rl.safety_eval.suite import Outcome
from robo_rl.sim2real import checklist
from robo_rl.verdicts import Gate, Verdict
from tests.mutants import BALANCE, balancing_network, constant_network, random_network, store

SUITE = """
describe: A small suite on real physics.
scenarios: [nominal, push, weak-motors]
episodes: 9
most_episodes: 9
non_inferiority_margin: 0.35
criteria:"""
SUITE += (
    BALANCE.rstrip()
    + """
  smooth: {metric: action_roughness, at_most: 1.0e-6, max_rate: 0.3, required: false, reason: r}
"""
)
TOLERANT = SUITE.replace("margin: 0.35", "margin: 0.4")
EPISODE_S = 6.0  # the push comes before 4.1 s


@pytest.fixture(scope="module")
def pole():
    return make("inverted-pendulum")


@pytest.fixture(scope="module")
def judge(tmp_path_factory, pole):
    """Judges a network in the small suite, on short episodes; returns run folder and result."""
    folder = tmp_path_factory.mktemp("study")
    short = make("inverted-pendulum", history_s=study.HISTORY_S, episode_s=EPISODE_S)

    def judged(name, network, baseline=None, suite=SUITE, **given):
        run = store(folder / name, pole, network)
        (run / "small.yaml").write_text(suite)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(study, "environment_of", lambda policy: short)
            result = study.study(run, str(run / "small.yaml"), baseline=baseline, **given)
        return run, result

    return judged


@pytest.fixture(scope="module")
def balanced(judge, pole):
    """The balancing controller against itself as baseline."""
    net = balancing_network(pole)
    baseline, _ = judge("baseline", net)
    return judge("balanced", net, baseline)


@pytest.fixture(scope="module")
def fallen(judge, pole):
    """A cart that does not move, written with replays."""
    run, result = judge("fallen", constant_network(pole, np.zeros(1)))
    page = study_report.write(result, run / "safety" / "small", f"robo-rl safety {run}")
    return run, result, page


def test_a_policy_that_does_its_task_is_accepted_and_one_that_does_nothing_is_rejected(
    balanced, fallen
):
    assert balanced[1].gate is Gate.ACCEPT and balanced[1].gate.exit_code == 0
    assert fallen[1].gate is Gate.REJECT and fallen[1].gate.exit_code == 1
    upright = {f.scenario: f for f in fallen[1].findings if f.criterion == "upright"}
    assert upright["nominal"].verdict is Verdict.FAIL and upright["nominal"].failures == 9


def test_a_fail_holds_among_all_verdicts_of_the_study(fallen):
    """9 of 9 fail in one of 4 criteria times 3 scenarios: at least (0.05 / 12)^(1/9) = 54.4 %."""
    found = next(f for f in fallen[1].findings if f.criterion == "upright")
    assert found.failure_rate.low == pytest.approx(0.544, abs=5e-4)


def test_an_arm_that_does_not_move_is_rejected_by_the_suite_of_its_kind(tmp_path):
    """It ends no episode and breaks no limit; it does not reach its target either."""
    arm = make("reacher")
    result = study.study(store(tmp_path / "idle", arm, constant_network(arm, np.zeros(2))), None)
    assert result.gate is Gate.REJECT
    failed = {f.criterion for f in result.findings if f.verdict is Verdict.FAIL}
    assert failed == {"does_its_task"}


def test_an_episode_that_fell_before_the_push_says_nothing_about_it(fallen):
    """Neither that it fell nor that it kept its limits until then."""
    pushed = {f.criterion: f for f in fallen[1].findings if f.scenario == "push"}
    assert pushed["slow"].verdict is Verdict.INCONCLUSIVE is pushed["upright"].verdict
    found = pushed["upright"]
    assert fallen[1].cells["push"].recorded.track.fell.all()
    assert found.untested == found.undecided > 0 and found.failures == 9 - found.untested


def test_a_policy_against_itself_passes_every_comparison(balanced):
    regressions = balanced[1].regressions
    assert {r.verdict for r in regressions} == {Verdict.PASS}
    assert {r.what for r in regressions} >= {"failures", "violation_rate", "longest_violation"}
    assert {r.newly_failing for r in regressions} == {0}


def test_a_policy_that_falls_where_the_old_one_did_not_is_worse(judge, balanced, pole):
    _, result = judge("worse", constant_network(pole, np.zeros(1)), balanced[0])
    nominal = [r for r in result.regressions if r.scenario == "nominal" and r.what == "failures"]
    found = next(r for r in nominal if r.criterion == "upright")
    assert found.verdict is Verdict.FAIL and found.newly_failing == 9
    assert result.gate is Gate.REJECT


def test_a_limit_that_the_old_one_always_broke_hides_no_fall_of_the_new_one(judge, balanced, pole):
    suite = TOLERANT.replace("required: false", "required: true")
    _, result = judge("hidden", constant_network(pole, np.zeros(1)), balanced[0], suite)
    nominal = [r for r in result.regressions if r.scenario == "nominal"]
    assert Verdict.FAIL in {r.verdict for r in nominal}


def test_what_is_not_known_of_the_new_policy_is_no_success(judge, balanced, pole):
    """At full thrust the pole falls within four steps, too few to take an acceleration from."""
    suite = TOLERANT[: TOLERANT.index("  slow:")] + (
        "  calm: {metric: peak_acceleration, at_most: 1.0e+6, max_rate: 0.3, required: true,"
        " reason: r}\n"
    )
    _, result = judge("unknown", constant_network(pole, np.ones(1)), balanced[0], suite)
    nominal = [r for r in result.regressions if r.scenario == "nominal"]
    assert nominal and Verdict.PASS not in {r.verdict for r in nominal}
    calm = next(r for r in nominal if (r.criterion, r.what) == ("calm", "failures"))
    assert calm.newly_failing == 9


def test_a_policy_that_gives_nan_is_an_error_and_leaves_no_log_behind(
    judge, pole, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    _, result = judge("nan", constant_network(pole, np.full(1, np.nan)))
    assert result.gate is Gate.ERROR and result.gate.exit_code == 3
    assert all(f.verdict is Verdict.ERROR and f.crashed == f.episodes for f in result.findings)
    assert not list(tmp_path.iterdir())


def test_a_baseline_that_gives_nan_makes_the_comparison_an_error(judge, pole):
    broken, _ = judge("nan-baseline", constant_network(pole, np.full(1, np.nan)))
    _, result = judge("candidate", balancing_network(pole), broken)
    assert {r.verdict for r in result.regressions} == {Verdict.ERROR}
    assert result.gate is Gate.ERROR and result.gate.exit_code == 3


def test_a_baseline_of_another_robot_is_an_error_of_the_comparison(judge, pole, tmp_path):
    other = make("hopper")
    alien = store(tmp_path / "alien", other, constant_network(other, np.zeros(3)))
    own = store(tmp_path / "own", pole, balancing_network(pole))
    old = study.load_baseline(alien, study.load_policy(own))
    assert "'hopper', not 'inverted-pendulum'" in old.error
    gate, why = study.decide((), (), {}, old.error)
    assert gate is Gate.ERROR and "hopper" in why


def test_scenarios_really_disturb(balanced):
    cells = balanced[1].cells
    nominal, weak = (cells[name].recorded.track.action for name in ("nominal", "weak-motors"))
    assert not np.array_equal(nominal, weak)


def test_an_undecided_scenario_is_doubled_until_it_is_decided_and_the_others_are_not(judge, pole):
    """Three looks: 9 episodes never fall, which shows 36 % at one of three looks, not 30 %."""
    suite = SUITE.replace("most_episodes: 9", "most_episodes: 36")
    run, _ = judge("doubled", balancing_network(pole))
    path = run.parent / "doubled.yaml"
    path.write_text(suite)
    short = make("inverted-pendulum", history_s=study.HISTORY_S, episode_s=EPISODE_S)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "environment_of", lambda policy: short)
        result = study.study(run, str(path))
        once = study.study(run, str(path), episodes=18)
    assert {len(cell.values) for cell in result.cells.values()} == {18}
    assert result.gate is Gate.ACCEPT
    for name in result.cells:  # the same episodes, whether run in one go or in two
        grown, whole = result.cells[name].recorded.track, once.cells[name].recorded.track
        np.testing.assert_array_equal(grown.reward, whole.reward)


def test_junit_is_green_exactly_where_the_gate_accepts(balanced, fallen):
    for result in (balanced[1], fallen[1]):
        root = ElementTree.fromstring(study_report.junit(result))
        bad = int(root.attrib["failures"]) + int(root.attrib["errors"])
        assert (bad == 0) == (result.gate is Gate.ACCEPT)
        assert bad == len(root.findall("testcase/failure")) + len(root.findall("testcase/error"))
        assert int(root.attrib["tests"]) == len(result.findings) + len(result.regressions)
        smooth = [c for c in root if c.attrib["name"] == "smooth"]
        assert smooth and all(case.find("failure") is None for case in smooth)


def test_what_is_not_judged_keeps_the_gate_from_accepting(judge, pole, balanced):
    run, result = balanced
    path = run.parent / "unread.yaml"
    path.write_text(re.sub(r"  rail:\n.*\n.*\n", "", SUITE))
    short = make("inverted-pendulum", history_s=study.HISTORY_S, episode_s=EPISODE_S)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "environment_of", lambda policy: short)
        partial = study.study(run, str(path))
    assert partial.gate is Gate.CONDITIONAL and "cost joint_limit" in partial.why
    assert "not judged" in study_report.junit(partial)
    assert result.gate is Gate.ACCEPT


def test_the_report_says_verdict_evidence_limits_digests_and_what_was_not_tested(fallen):
    run, result, page = fallen
    html, markdown = page.read_text(), page.with_suffix(".md").read_text()
    for text in (html, markdown):
        assert "REJECT" in text and "Not tested" in text and "second physics engine" in text
        assert "limit_mps 1" in text and "digest of scenario push" in text
        assert "over before the disturbance" in text and "keeps_going" in text
    assert "http://" not in html.replace("http://www.w3.org", "") and "<script" not in html
    data = json.loads((run / "safety" / "small" / "results.json").read_text())
    assert data["verdict"] == "REJECT" and len(data["findings"]) == len(result.findings) == 15
    assert study_report._provenance(result._replace(seed=5))["seed"] == "5 (given)"


def test_a_crash_that_only_an_optional_criterion_sees_is_an_error_all_the_same(judge, pole):
    _, result = judge("optional", constant_network(pole, np.full(1, np.nan)))
    optional = tuple(f for f in result.findings if not f.required)
    assert optional and study.decide(optional, (), {}, "")[0] is Gate.ERROR


def test_a_scenario_that_no_required_criterion_judges_is_not_judged(balanced, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(
        SUITE.replace("required: true, reason", "required: true, except: [push], reason")
    )
    missing = cover(study.load_suite(str(path)), balanced[1].env).not_judged
    assert "no required criterion" in missing["scenario push"]


def failing_episodes(result, name):
    cell = result.cells[name]
    values = criterion_values(result.env, result.coverage, cell)
    outcome = said(result.env, result.coverage, cell, values)
    return np.any([o == Outcome.FAILED for o in outcome.values()], axis=0)


def test_every_failing_episode_replays_bit_for_bit(fallen):
    run, result, _ = fallen
    bundles = sorted((run / "safety" / "small" / "replays").glob("*.npz"))
    assert len(bundles) == sum(failing_episodes(result, name).sum() for name in result.cells) > 0
    for bundle in (bundles[0], bundles[-1]):
        again = replaying.replay(bundle)
        assert again.same_state and again.same_rewards and again.same_outcome
        assert again.meta["failed"] and again.meta["as_judged"] and not again.elsewhere
        assert again.meta["policy"] == result.policy.digest


def test_an_arms_episode_replays_bit_for_bit_though_it_was_judged_among_others(tmp_path):
    """The last bits of its rewards depend on how many episodes are run at once."""
    arm = make("arm-reach")
    run = store(tmp_path / "random", arm, random_network(arm, 0))
    (run / "small.yaml").write_text(SUITE.replace("[nominal, push, weak-motors]", "[nominal]"))
    result = study.study(run, str(run / "small.yaml"))
    study_report.write(result, run / "out", "robo-rl safety", replays=9)
    for bundle in sorted((run / "out" / "replays").glob("*.npz"))[:3]:
        again = replaying.replay(bundle)
        assert again.same_state and again.same_rewards, bundle.name
    assert len(list((run / "out" / "replays").glob("*.npz"))) == 9


def test_stale_bundles_do_not_lie_beside_a_new_verdict_and_few_are_kept_if_few_are_asked(fallen):
    run, result, _ = fallen
    folder = run.parent / "again"
    (folder / "replays").mkdir(parents=True)
    old = next((run / "safety" / "small" / "replays").glob("nominal-*.npz")).read_bytes()
    (folder / "replays" / "nominal-999.npz").write_bytes(old)
    (folder / "replays" / "weights.npz").write_text("somebody's own")
    study_report.write(result, folder, "robo-rl safety", replays=2)
    names = sorted(p.name for p in (folder / "replays").glob("*.npz"))
    assert "nominal-999.npz" not in names and "weights.npz" in names
    assert len(names) - 1 <= 2 * len(result.cells)
    data = json.loads((folder / "results.json").read_text())
    assert data["replays"]["nominal"] == {"kept": 2, "failing": 9}


def test_a_replay_that_differs_says_where(fallen, tmp_path):
    run, _, _ = fallen
    bundle = sorted((run / "safety" / "small" / "replays").glob("nominal-*.npz"))[0]
    with np.load(bundle) as stored:
        arrays = dict(stored)
    meta = json.loads(arrays.pop("meta").tobytes())

    def signed(name, said, **changed):
        """A bundle of an episode that never was, with a digest that fits."""
        said = said | {"contents_sha256": replaying.contents_digest(said, arrays | changed)}
        stored = {"meta": np.frombuffer(json.dumps(said).encode(), np.uint8), **arrays, **changed}
        np.savez(tmp_path / name, **stored)
        return replaying.replay(tmp_path / name)

    other = arrays["actions"].copy()
    other[5] += 0.01
    assert not signed("other.npz", meta, actions=other).same_state
    assert "z80" in signed("z80.npz", meta | {"processor": "z80"}).elsewhere


def test_a_bundle_that_was_edited_is_refused(fallen, tmp_path):
    run, _, _ = fallen
    bundle = sorted((run / "safety" / "small" / "replays").glob("nominal-*.npz"))[0]
    with np.load(bundle) as stored:
        arrays = dict(stored)
    meta = json.loads(arrays["meta"].tobytes()) | {"scenario": "push"}
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(tmp_path / "edited.npz", **arrays)
    with pytest.raises(errors.UserError, match="not what was recorded"):
        replaying.replay(tmp_path / "edited.npz")


def test_a_foreign_file_is_no_replay(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    with pytest.raises(errors.UserError, match="not a replay bundle"):
        replaying.replay(tmp_path / "x.npz")
    (tmp_path / "y.npz").write_text("hello")
    with pytest.raises(errors.UserError, match="not a readable array file"):
        replaying.replay(tmp_path / "y.npz")


def test_a_study_is_the_same_again_and_another_seed_differs(judge, balanced, pole):
    again = judge("again", balancing_network(pole))[1].cells["nominal"].recorded.track
    other = judge("other", balancing_network(pole), seed=5)[1].cells["nominal"].recorded.track
    first = balanced[1].cells["nominal"].recorded.track
    np.testing.assert_array_equal(again.action, first.action)
    assert not np.array_equal(other.action, first.action)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"model_sha256": "0" * 64}, "model 000000000000"),
        ({"control_hz": 50.0}, "control_hz 50.0, now 25.0"),
        ({"reward": "saftey"}, "saftey"),
        ({"env": "inverted-pendulm"}, "Did you mean 'inverted-pendulum'"),
        ({"observation": []}, "0 observation entries, now 2"),
        ({"action": [{"name": "slide"}]}, "action entry 0 is"),
    ],
)
def test_a_policy_whose_contract_does_not_fit_is_refused_and_the_difference_is_named(
    pole, tmp_path, changed, named
):
    run = store(tmp_path / "run", pole, balancing_network(pole))
    policy = study.load_policy(run)
    with pytest.raises(errors.UserError, match=named):
        study.environment_of(replace(policy, contract={**policy.contract, **changed}))
    study.environment_of(policy)


def test_the_checklist_gathers_the_evidence_and_unknown_is_never_a_pass(fallen):
    run, _, _ = fallen
    made = checklist.checklist(run)
    by = {row.risk: row for row in made.rows}
    assert by["small: upright: fell <= 0"].verdict == "RED"
    body = "The policy was trained on another body, layout or rate than the one checked"
    assert by[body].verdict == "GREEN"
    assert any(
        r.verdict == "UNKNOWN" and "gap study has not been run" in r.evidence for r in made.rows
    )
    assert made.verdict == "RED"
    page = checklist.write(made, run / "checklist", "robo-rl checklist")
    data = json.loads(page.with_name("results.json").read_text())
    assert len(data["rows"]) == len(made.rows) and all(
        r["command"] and r["mitigation"] for r in data["rows"]
    )


def test_a_failed_regression_is_red_in_the_checklist_and_a_passed_one_green(judge, pole, balanced):
    line = "The policy is worse than the one it replaces"

    def verdict_of(run, result):
        study_report.write(result, run / "safety" / "small", "robo-rl safety", replays=0)
        return next(r for r in checklist.checklist(run).rows if r.risk == line)

    itself = verdict_of(*balanced)
    assert itself.verdict == "UNKNOWN" and "this very policy" in itself.evidence
    equal = verdict_of(*judge("equal", balancing_network(pole, 0.95), balanced[0]))
    assert equal.verdict == "GREEN"
    run, result = judge("regressed", constant_network(pole, np.zeros(1)), balanced[0])
    worse = verdict_of(run, result)
    assert worse.verdict == "RED" and "upright in nominal" in worse.evidence
    store(run, pole, balancing_network(pole))
    newer = next(r for r in checklist.checklist(run).rows if r.risk == line)
    assert newer.verdict == "UNKNOWN" and "older policy" in newer.evidence
    assert verdict_of(*judge("first", balancing_network(pole))).verdict == "UNKNOWN"


def test_only_trained_policies_of_the_same_configuration_count_as_seeds(pole, tmp_path):
    run = store(tmp_path / "p-s0", pole, balancing_network(pole))
    for name in ("inverted-pendulum-ppo-task-s1", "inverted-pendulum-ppo-task-s2"):
        (tmp_path / name).mkdir()
    luck = "The result is the luck of one training seed"
    row = next(r for r in checklist.checklist(run).rows if r.risk == luck)
    assert row.evidence.startswith("1 training run(s)") and row.verdict == "AMBER"


def test_what_a_safety_study_found_is_what_is_read_of_it(fallen):
    run, result, _ = fallen
    (found,) = results.load(run)
    assert found.findings == result.findings
    assert (found.suite.name, found.baseline) == (result.suite.name, None)
    assert found.policy_sha256 == result.policy.digest
    assert set(found.criteria) == set(result.coverage.criteria)


def test_evidence_of_an_older_policy_is_unknown(fallen, pole):
    run, _, _ = fallen
    store(run, pole, balancing_network(pole))
    rows = [r for r in checklist.checklist(run).rows if r.section == "safety envelope"]
    assert rows and all(r.verdict == "UNKNOWN" for r in rows)


def test_a_file_that_is_no_studys_results_is_said_by_the_checklist(pole, tmp_path):
    run = store(tmp_path / "p", pole, balancing_network(pole))
    (run / "gap").mkdir()
    (run / "gap" / "results.json").write_text("{}")
    with pytest.raises(errors.UserError, match=r"gap/results\.json: .* sweeps.* missing"):
        checklist.checklist(run)


def test_a_verdict_that_nobody_knows_is_said_by_the_checklist(fallen, tmp_path):
    run = Path(shutil.copytree(fallen[0], tmp_path / "copy"))
    path = run / "safety" / "small" / "results.json"
    path.write_text(path.read_text().replace('"verdict": "FAIL"', '"verdict": "FALL"'))
    with pytest.raises(errors.UserError, match=r"findings\.\d+\.verdict: .*'PASS'.*'FALL'"):
        checklist.checklist(run)
