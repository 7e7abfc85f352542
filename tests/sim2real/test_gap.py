"""Breaking points worked out by hand, profiles, and a real study of a real policy."""

import json
import math

import numpy as np
import pytest

from robo_rl import content, errors
from robo_rl.engines.callback import flat_plant
from robo_rl.engines.mujoco import MujocoEngine
from robo_rl.envs.step import make
from robo_rl.injection.injectors import NotApplicableError, inject, neutral_of
from robo_rl.robots.robot import load_robot
from robo_rl.rollouts.statistics import Interval
from robo_rl.sim2real import checklist, gap, gap_report
from robo_rl.sim2real.departures import TOGETHER
from robo_rl.sim2real.profiles import load_profile
from tests.mutants import constant_network, store


@pytest.mark.parametrize(
    ("margin", "verdict"),
    [
        (Interval(2.0, 3.0, 4.0), "GREEN"),
        (Interval(1.99, 3.0, 4.0), "AMBER"),
        (Interval(1.0, 3.0, 4.0), "AMBER"),
        (Interval(0.99, 3.0, 4.0), "UNKNOWN"),
        (Interval(0.5, 0.8, 1.0), "RED"),
        (Interval(0.0, 0.0, 0.0), "RED"),
        (Interval(0.0, 0.5, math.inf), "UNKNOWN"),
        (Interval(math.inf, math.inf, math.inf), "GREEN"),
        (None, "UNKNOWN"),
    ],
)
def test_both_bounds_of_the_margin_decide(margin, verdict):
    assert gap.margin_verdict(margin, 10.0)[0] == verdict


@pytest.mark.parametrize(
    ("largest", "verdict"), [(0.5, "UNKNOWN"), (1.0, "AMBER"), (1.9, "AMBER"), (2.0, "GREEN")]
)
def test_what_did_not_break_is_known_up_to_what_was_tried_and_no_further(largest, verdict):
    unbroken = Interval(np.inf, np.inf, np.inf)
    found, why = gap.margin_verdict(unbroken, largest)
    assert (found, f"more than {largest:.2g} times" in why) == (verdict, True)


def test_a_margin_over_a_magnitude_that_nobody_measured_is_amber_at_most():
    wide = Interval(3.0, 3.5, 4.0)
    assert gap.margin_verdict(wide, 10.0, known=True)[0] == "GREEN"
    verdict, why = gap.margin_verdict(wide, 10.0, known=False)
    assert verdict == "AMBER" and "not from a measurement or a data sheet" in why


def test_what_is_not_decided_says_how_many_episodes_would():
    open_ = Interval(0.5, 0.9, 1.2)
    assert "about 33 episodes more" in gap.margin_verdict(open_, 10.0, 32.1)[1]
    assert "would hardly decide" in gap.margin_verdict(open_, 10.0, math.inf)[1]


@pytest.mark.parametrize("name", sorted(content.files("sim2real")))
def test_every_profile_row_has_a_source_a_mitigation_and_magnitudes_in_order(name):
    for key, row in load_profile(name).rows.items():
        assert row.source and row.mitigation, key
        assert row.measured is None or 0 < row.measured < row.sweep_to, key


ROW = """
describe: test
rows:
  latency:
    {{section: timing, injector: {injector}, unit: {unit}, measured: {measured}, sweep_to: 50,
     source: s, mitigation: m}}
"""


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"unit": "s"}, "'s' given, action_latency takes 'ms'"),
        ({"measured": ".nan"}, "measured: a finite number"),
        ({"injector": "action_latncy"}, "Did you mean 'action_latency'"),
        ({"measured": "80"}, "below sweep_to"),
        ({"measured": "soon"}, "measured"),
        ({"injector": "sensor_noise", "unit": "rad"}, "needs the option channel"),
    ],
)
def test_a_mistake_in_a_profile_is_named(tmp_path, fields, message):
    path = tmp_path / "own.yaml"
    path.write_text(
        ROW.format(**{"injector": "action_latency", "unit": "ms", "measured": "4"} | fields)
    )
    with pytest.raises(errors.UserError, match=message):
        load_profile(str(path))


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    from robo_rl.policy.stored import save_policy
    from tests.conftest import random_policy

    run = tmp_path_factory.mktemp("gap") / "run"
    policy = random_policy(make("inverted-pendulum"), scale=0.01)
    save_policy(run / "policy", policy.network, policy.contract)
    profile = run / "own.yaml"
    profile.write_text(ROW.format(injector="action_latency", unit="ms", measured="4"))
    return run, gap.gap(run, str(profile), episodes=60, episode_s=0.24)


def test_a_study_runs_real_physics_and_writes_everything(studied):
    run, result = studied
    names = [s.name for s in result.sweeps]
    assert names == ["latency", TOGETHER]
    tried = result.sweeps[0].magnitudes
    assert tried[0] > 0.0 and tried[-1] == 60.0 and (np.diff(tried) > 0).all()
    substep_ms = 1e3 * result.env.robot.model.opt.timestep
    np.testing.assert_allclose(tried / substep_ms, np.rint(tried / substep_ms), atol=1e-6)
    page = gap_report.write(result, run / "gap", "robo-rl gap")
    data = json.loads((run / "gap" / "results.json").read_text())
    assert data["undisturbed"]["episodes"] == gap.UNDISTURBED and data["verdict"] in (
        "RED",
        "AMBER",
        "GREEN",
        "UNKNOWN",
    )
    assert (
        "Not tested" in page.read_text() and "NaN" not in (run / "gap" / "results.json").read_text()
    )


def test_a_study_is_the_same_again(studied):
    run, result = studied
    again = gap.gap(run, str(run / "own.yaml"), episodes=60, episode_s=0.24)
    for a, b in zip(result.sweeps, again.sweeps, strict=True):
        np.testing.assert_array_equal(a.successes, b.successes)
        np.testing.assert_array_equal(a.retention, b.retention)


def test_a_study_is_stale_once_its_profile_says_something_else(studied, tmp_path):
    run, result = studied
    gap_report.write(result, run / "gap", "robo-rl gap")
    profile = run / "own.yaml"
    said = profile.read_text()

    def swept():
        return [r for r in checklist.checklist(run).rows if r.risk in ("latency", TOGETHER)]

    assert all("with another profile" not in row.evidence for row in swept())
    profile.write_text(said.replace("measured: 4", "measured: 5"))
    stale = swept()
    profile.write_text(said)
    assert {row.verdict for row in stale} == {"UNKNOWN"}
    assert all("with another profile" in row.evidence for row in stale)


@pytest.mark.parametrize(
    ("nominal", "margins", "words"),
    [
        (0.5, (3.0, 2.0), "undisturbed"),
        (1.0, (3.0, 0.254), "b second, at 0.25 (0.13 to 0.51) x the real magnitude"),
        (1.0, (3.0, None), "a first, at 3 (1.5 to 6) x the real magnitude"),
        (1.0, (np.inf, np.inf), "nothing within the sweeps"),
    ],
)
def test_what_breaks_first_is_the_least_margin_once_the_policy_stands_undisturbed(
    studied, nominal, margins, words
):
    _, result = studied
    sweeps = tuple(
        result.sweeps[0]._replace(name=name, margin=m and Interval(m / 2, m, 2 * m))
        for name, m in zip(("a_first", "b_second"), margins, strict=True)
    )
    together = sweeps[0]._replace(name=TOGETHER, margin=Interval(0.01, 0.01, 0.01))
    result = result._replace(
        sweeps=(*sweeps, together),
        undisturbed=result.undisturbed._replace(success=Interval(0.4, nominal, 1.0)),
    )
    assert gap_report.breaks_first(result) == words


def test_too_few_episodes_are_refused(studied):
    with pytest.raises(errors.UserError, match="at least 18"):
        gap.gap(studied[0], episodes=5)


@pytest.mark.parametrize("name", sorted(content.robot_files()))
def test_every_row_of_a_robots_profile_can_be_carried_out_on_it(name):
    """At the end of its sweep, on physics alone: reset and step, and every number stays finite."""
    robot = load_robot(name)
    engine = MujocoEngine(robot.model, 1, robot.tracking)
    applied = 0
    for key, row in load_profile(robot.file.profile).rows.items():
        try:
            injection = inject(
                neutral_of(robot),
                robot,
                row.injector,
                row.sweep_to,
                np.random.default_rng(0),
                key,
                **row.options,
            )
        except NotApplicableError:
            continue
        plant = np.asarray(flat_plant(injection.plant))[None]
        start = robot.qpos0[None] + injection.start.qpos_offset, np.zeros((1, robot.model.nv))
        active, nothing = np.ones(1, bool), np.zeros((1, 0))
        physics_state, _ = engine.reset_rows(active, *start, plant)
        ctrl = np.zeros((1, 1, robot.model.nu))
        _, readout = engine.step_rows(active, physics_state, ctrl, nothing, plant)
        assert np.isfinite(readout).all(), key
        applied += 1
    assert applied > 5


def test_a_task_that_is_done_by_lasting_is_not_shown_by_short_episodes(tmp_path):
    """A cart that does nothing stays up for half a second, whatever the latency."""
    pole = make("inverted-pendulum")
    run = store(tmp_path / "idle", pole, constant_network(pole, np.zeros(1)))
    profile = tmp_path / "own.yaml"
    profile.write_text(ROW.format(injector="mass_error", unit="'1'", measured="0.1"))
    result = gap.gap(run, str(profile), episodes=60, episode_s=0.2)
    assert (result.sweeps[0].successes == result.sweeps[0].episodes).all()
    assert {s.verdict for s in (*result.sweeps, *result.transfers)} == {"UNKNOWN"}
    assert "the task lasts 40 s" in result.sweeps[0].why and "16 of 16" in result.transfers[0].why
    gap_report.write(result, run / "gap", "robo-rl gap")
    row = next(r for r in checklist.checklist(run).rows if r.risk == result.sweeps[0].name)
    assert "episodes of 0.2 s" in row.evidence and "profile own" in row.evidence


def test_a_policy_that_nothing_affects_is_red_where_it_fails_and_never_green(tmp_path):
    """Latency of a command that never changes; the profile has nothing else."""
    pole = make("inverted-pendulum")
    run = store(tmp_path / "idle", pole, constant_network(pole, np.zeros(1)))
    profile = tmp_path / "own.yaml"
    profile.write_text(ROW.format(injector="action_latency", unit="ms", measured="4"))
    result = gap.gap(run, str(profile), episodes=18)
    assert (result.undisturbed.verdict, result.sweeps) == ("RED", ())
    assert "no effect: at 60 ms" in result.skipped["latency"]
    lasting = gap.gap(run, str(profile), episodes=18, episode_s=0.2)
    assert lasting.undisturbed.verdict == "UNKNOWN"
    assert "no effect" in gap_report.write(result, tmp_path / "gap", "robo-rl gap").read_text()


def test_what_had_no_time_to_act_is_a_row_that_was_not_tested_and_not_one_without_effect(tmp_path):
    """A push at 2 s, episodes of a fifth of a second."""
    pole = make("inverted-pendulum")
    run = store(tmp_path / "idle", pole, constant_network(pole, np.zeros(1)))
    profile = tmp_path / "own.yaml"
    profile.write_text(ROW.format(injector="push", unit="m/s", measured="0.3"))
    result = gap.gap(run, str(profile), episodes=18, episode_s=0.2)
    assert result.skipped == {}
    assert {s.verdict for s in result.sweeps} == {"UNKNOWN"}
    assert "not tested: it acts 2.1 s after" in result.sweeps[0].why
