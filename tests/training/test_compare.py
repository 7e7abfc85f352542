"""Comparisons: what is asked reaches the judgement, and the report claims no more than it knows."""

import dataclasses
import functools
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from robo_rl import cli, files
from robo_rl.envs.step import make
from robo_rl.errors import NotFiniteError, UserError
from robo_rl.policy.stored import save_policy
from robo_rl.report import page as report
from robo_rl.rollouts.play import episode_keys, rollout
from robo_rl.training import compare, compare_findings, compare_report, tables
from robo_rl.training import config as configuration
from robo_rl.training import run as runs
from robo_rl.training.compare import Asked, Comparison, Measured, Trained, Variant
from robo_rl.training.folder import RunFolder
from tests.conftest import random_policy

PPO, SAC = Variant("ppo", "task"), Variant("sac", "task")
ENV = "inverted-pendulum"
EPISODES = 3


def finished(config, policy_seed, **contract):
    """A run folder as training leaves it, with a random policy; returns the policy."""
    env = make(config.env, config.reward, engine=config.engine)
    policy = random_policy(env, policy_seed)
    folder = RunFolder(Path(config.out))
    files.write_yaml(folder.config, config.model_dump(exclude_none=True))
    described = {**runs.describe(config, env), "steps": config.steps, **contract}
    save_policy(folder.path / "policy", policy.network, described)
    for share in (0.5, 1.0):
        row = {"steps": share * config.steps, "train_s": 10 * share, "task_return_mean": 5 * share}
        tables.append_row(folder.evaluation, row)
    files.write_json(folder.done, {"steps": config.steps, "train_s": 10.0})
    return policy


def asked_in(folder, seeds=(0, 1), **overrides):
    return Asked(ENV, (PPO,), seeds, folder, EPISODES, {"steps": 2048, **overrides})


def quiet():
    return Console(quiet=True)


@functools.cache
def env():
    return make("hopper")


def trained(variant, seed, score, *, steps=2048, failure="", behaviour=None, **given):
    """A finished run with a score, as evaluation leaves it."""
    words = {"env": "hopper", "algo": variant.algo, "steps": steps, "seed": seed, "out": f"r{seed}"}
    names = [b.metric for b in compare.behaviours(env())]
    fields = {
        "variant": variant,
        "seed": seed,
        "config": configuration.resolve(words),
        "steps": steps,
        "train_s": 60.0,
        "returns": score + np.array([-10.0, 0.0, 10.0]),
        "behaviour": behaviour or {name: Measured(0.5, 0) for name in names},
        "curve": [
            {"steps": s * steps, "train_s": 60 * s, "task_return_mean": s * score} for s in (0.5, 1)
        ],
        "contract": {"versions": {"machine": "one"}, "weights_sha256": f"{seed}{variant.algo}"},
        "failure": failure,
    }
    return Trained(**{**fields, **given})


def comparison(ppo, sac=(), **given):
    arms = [(PPO, ppo), (SAC, sac)]
    made = [trained(arm, k, s, **given) for arm, scores in arms for k, s in enumerate(scores)]
    return Comparison(env(), "mujoco", tuple(made), EPISODES)


def grid(made, title, index=0):
    section = next(s for s in made.sections if s.title == title)
    return [b for b in section.blocks if isinstance(b, report.Grid)][index]


def cells(found, column):
    at = next(k for k, name in enumerate(found.columns) if name.startswith(column))
    return {row[0]: row[at] for row in found.rows}


def test_arms_are_every_algorithm_under_every_layer_in_every_trainer():
    arms = compare.variants(["ppo", "sac"], ["task", "safety"], ["jax", "sb3"])
    assert len(arms) == len(set(arms)) == 8
    assert Variant("sac", "safety", "sb3") in arms


def test_our_trainer_needs_no_name_and_another_one_is_named():
    assert str(Variant("ppo", "task")) == "PPO task"
    assert str(Variant("ppo", "task", "sb3")) == "PPO task (sb3)"


def test_everything_wrong_is_said_at_once_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "env=hoper algo=ppo,sca,ppo reward=taks trainer=jx engine=bulet seeds=0 episodes=x"
    asked = compare.ask(configuration.parse([*words.split(), "eval_points=0", "ppo.lr=3"]))
    with pytest.raises(UserError) as failed:
        compare.compare(asked, quiet())
    for part in (
        "no environment named 'hoper'. Did you mean 'hopper'?",
        "no algorithm named 'sca'. Did you mean 'sac'?",
        "'ppo' stands 2 times",
        "no reward layer named 'taks'. Did you mean 'task'?",
        "no trainer named 'jx'. Did you mean 'jax'?",
        "engine='bulet'",
        "seeds=0",
        "episodes='x'",
        "no key named 'ppo.lr'",
    ):
        assert part in str(failed.value), part
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("eval_points=0", "no learning curve"),
        ("algo=ppo sac.steps=9000", "no arm is algo=sac"),
        ("algo=ppo ppo.minibatches=7", "multiple of ppo.minibatches"),
        ("algo=ppo start=nowhere", "not a run folder"),
        ("algo=ppo trainer=jax,jax", "'jax' stands 2 times"),
        ("seeds=2.5", "a whole number from 1 on"),
        ("bogus=1", "no key named 'bogus'"),
    ],
)
def test_what_cannot_work_is_refused_before_the_first_step(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = compare.ask(configuration.parse([f"env={ENV}", *words.split()]))
    with pytest.raises(UserError, match=message):
        compare.compare(asked, quiet())
    assert not list(tmp_path.iterdir())


def test_steps_and_arms_and_seeds_reach_every_run():
    given = {"env": ENV, "steps": 4096, "seeds": 2, "sac": {"robots": 32}, "out": "here"}
    configs = compare.plan(compare.ask(given))
    assert set(configs) == {(arm, seed) for arm in (PPO, SAC) for seed in (0, 1)}
    assert {c.steps for c in configs.values()} == {4096}
    assert configs[SAC, 1].hyper.robots == 32 and configs[SAC, 1].seed == 1
    assert len({c.out for c in configs.values()}) == 4


@pytest.mark.parametrize("engine", ["mujoco", "bullet"])
def test_the_policy_in_the_run_folder_is_judged_on_the_engine_that_was_asked_for(engine, tmp_path):
    """On two poles, whose reward tells the engines apart; one pole earns 1 a step on each."""
    name = "inverted-double-pendulum"
    asked = asked_in(tmp_path, (0,), engine=engine)._replace(env=name)
    ((_, config),) = compare.plan(asked).items()
    policy = finished(config, 3)
    result = compare.compare(asked, quiet())
    there = make(name, engine=engine)
    expected = rollout(there, policy, episode_keys(compare.COMPARE_SEED, EPISODES)).episode_return
    assert result.trained[0].task_return == pytest.approx(expected.mean(), abs=1e-5)
    assert result.engine == engine and result.env.engine is there.engine
    np.testing.assert_array_equal(result.trained[0].returns, expected)
    assert result.trained[0].contract["weights_sha256"] == policy.digest
    assert result.trained[0].steps == 2048


def test_a_run_of_other_settings_model_or_versions_is_not_reused_and_says_what_differs(tmp_path):
    ((_, config),) = compare.plan(asked_in(tmp_path, (0,))).items()
    versions = runs.describe(config, make(ENV))["versions"]
    finished(config, 0, model_sha256="0" * 64, versions={**versions, "mujoco": "3.1.6"})
    with pytest.raises(UserError, match="model_sha256"):
        compare.compare(asked_in(tmp_path, (0,)), quiet())
    with pytest.raises(UserError) as failed:
        compare.compare(asked_in(tmp_path, (0,), steps=4096), quiet())
    for part in ("ppo.steps 2048 there, 4096 now", "versions.mujoco 3.1.6 there", "model_sha256"):
        assert part in str(failed.value), part
    assert "out=DIR" in str(failed.value)


def test_a_run_from_another_machine_is_reused_and_its_wall_clock_called_out(tmp_path):
    for (_, seed), config in compare.plan(asked_in(tmp_path)).items():
        versions = runs.describe(config, make(ENV))["versions"]
        elsewhere = {"machine": f"machine {seed}", "processor": f"processor {seed}"}
        finished(config, seed, versions={**versions, **elsewhere})
    result = compare.compare(asked_in(tmp_path), quiet())
    assert "different machines" in compare_findings.headline(result)


def test_a_seed_whose_training_diverges_is_kept_ranks_last_and_is_shown(tmp_path, monkeypatch):
    def train(config, console, *, resume):
        if config.seed == 1:
            raise NotFiniteError("Training stopped at step 512: learn/v_loss not finite.")
        finished(config, config.seed)

    monkeypatch.setattr(compare.training, "train", train)
    result = compare.compare(asked_in(tmp_path, (0, 1, 2)), quiet())
    assert [bool(t.failure) for t in result.trained] == [False, True, False]
    assert math.isnan(result.trained[1].task_return)
    made = compare_report.build_report(result, "robo-rl compare")
    assert "1 of 3 runs of PPO task crashed and rank last." in made.why
    assert cells(grid(made, "Final policies"), "each seed")["PPO task"].endswith(", crashed")
    assert "learn/v_loss not finite" in report.to_markdown(made)


def test_a_final_policy_that_is_not_finite_is_a_crash_and_not_a_score(tmp_path):
    for (_, seed), config in compare.plan(asked_in(tmp_path)).items():
        net = finished(config, seed).network
        if seed == 1:
            broken = dataclasses.replace(net, mean=np.full_like(net.mean, np.nan))
            save_policy(Path(config.out) / "policy", broken, runs.describe(config, make(ENV)))
    fine, crashed = compare.compare(asked_in(tmp_path), quiet()).trained
    assert (fine.failure, fine.behaviour != {}) == ("", True)
    assert crashed.failure == "3 of 3 episodes of the final policy are not finite."
    assert math.isnan(crashed.task_return) and crashed.behaviour == {}


def test_an_arm_of_which_every_run_crashed_is_last_and_the_report_says_so(tmp_path):
    lost = comparison([], [10.0, 20.0], failure="stopped", curve=[])
    result = comparison([-5.0, -6.0])
    result = result._replace(trained=result.trained + lost.trained)
    compare_report.write(result, tmp_path, "c")
    text = (tmp_path / "report.md").read_text()
    assert compare_findings.ranking(result) == [PPO, SAC]
    assert "SAC task crashed [not bounded]" in text and "2 of 2 runs of SAC task crashed" in text


def test_where_every_run_crashed_nothing_is_compared_and_the_command_says_so(
    tmp_path, monkeypatch, capsys
):
    def train(config, console, *, resume):
        raise NotFiniteError("Training stopped at step 512: learn/v_loss not finite.")

    monkeypatch.setattr(compare.training, "train", train)
    with pytest.raises(NotFiniteError, match="every run crashed"):
        cli.compare([f"env={ENV}", "algo=ppo", "seeds=2", "steps=2048", f"out={tmp_path / 'here'}"])
    assert "Every run crashed: there is nothing to compare." in capsys.readouterr().out
    assert "2 of 2 runs of PPO task" in (tmp_path / "here" / "report.md").read_text()


def test_the_terminal_shows_an_interval_that_a_crash_opens(tmp_path, monkeypatch, capsys):
    def train(config, console, *, resume):
        if config.seed == 1:
            raise NotFiniteError("Training stopped at step 512: learn/v_loss not finite.")
        finished(config, config.seed)

    monkeypatch.setattr(compare.training, "train", train)
    words = [f"env={ENV}", "algo=ppo", "seeds=3", "steps=2048", "episodes=3"]
    cli.compare([*words, f"out={tmp_path / 'here'}"])
    shown = capsys.readouterr().out
    assert shown.count("[crashed, ") == 2  # in the table and in the sentence


def test_an_arm_with_a_crash_ranks_below_one_without_where_the_median_is_a_crash():
    better = comparison([900.0, 1000.0, 1100.0], [10.0, 20.0, 30.0])
    lost = [t._replace(failure="crashed") if t.variant == PPO else t for t in better.trained]
    assert compare_findings.ranking(better)[0] == PPO
    assert compare_findings.ranking(better._replace(trained=tuple(lost)))[0] == SAC


def test_three_seeds_decide_nothing_and_the_headline_says_what_would():
    said = compare_findings.headline(comparison([900.0, 950.0, 990.0], [100.0, 120.0, 130.0]))
    assert said.startswith("Not decided which earns the most")
    assert "At least 4 seeds each are needed" in said and "probability" not in said
    found = grid(
        compare_report.build_report(comparison([2.0, 3.0], [1.0, 0.0]), "c"), "Final policies", 1
    )
    assert found.rows[0][2] == "not decided" and found.rows[0][4] == "at least 4"


def test_one_seed_has_neither_an_interval_nor_a_winner():
    said = compare_findings.headline(comparison([900.0], [100.0]))
    assert said.startswith("Not decided") and "900 (no interval)" in said
    assert "probability" not in said and "[" not in said and "p =" not in said


def test_five_seeds_that_all_win_decide_and_still_claim_no_certainty():
    ppo, sac = np.arange(5) + 900.0, np.arange(5) + 100.0
    said = compare_findings.headline(comparison(ppo, sac))
    assert said.startswith("PPO task earns the most")
    assert "with probability 1 [0.6427, 1]" in said and "p = 0.0079" in said


def test_a_small_difference_says_how_many_seeds_would_decide_it():
    """PPO wins 18 of 25: (1.960 + 0.842)^2 / (6 * 0.22^2) = 27.03, so 28."""
    ppo, sac = np.array([1.0, 4.0, 6.0, 8.0, 9.0]), np.array([0.0, 2.0, 3.0, 5.0, 7.0])
    said = compare_findings.headline(comparison(ppo, sac))
    wins = (ppo[:, None] > sac).sum()
    assert wins == 18 and "About 28 seeds each decide" in said and "seeds=28" in said


def test_the_best_of_several_arms_is_decided_only_where_it_beats_all_of_them():
    energy = Variant("ppo", "energy")
    base = comparison(np.arange(5) + 900.0, np.arange(5) + 100.0)
    third = tuple(trained(energy, k, 899.5 + k) for k in range(5))
    said = compare_findings.headline(base._replace(trained=base.trained + third))
    assert said.startswith("Not decided which earns the most")
    assert "Decided: PPO task earns more than SAC task." in said


@pytest.mark.parametrize(("sac_steps", "differ"), [(6144, True), (64 * 33, False)])
def test_budgets_that_differ_by_more_than_a_rollout_are_in_the_headline(sac_steps, differ):
    """PPO's rollout on hopper is 32 * 64 = 2048 steps."""
    ppo = comparison([1.0, 2.0], steps=4096 if not differ else 65536)
    sac = comparison([], [1.0, 2.0], steps=sac_steps)
    result = ppo._replace(trained=ppo.trained + sac.trained)
    said = compare_findings.headline(result)
    assert (
        ("Budgets differ" in said)
        == differ
        == (not compare_findings.data(result, "")["equal_budgets"])
    )
    assert ("PPO task 65,536, SAC task 6,144" in said) == differ


def test_arms_are_set_side_by_side_at_equal_steps_and_at_equal_wall_clock():
    """At 4096 steps PPO is halfway, at 2 * 300 * 1/2; SAC is at its end. The clocks are equal."""
    ppo, sac = comparison([300.0], steps=8192), comparison([], [200.0], steps=4096)
    result = ppo._replace(trained=ppo.trained + sac.trained)
    made = compare_report.build_report(result, "c")
    by_steps, by_clock = (grid(made, "At equal budgets", k) for k in (0, 1))
    assert by_steps.columns == ("variant", "4,096 steps")
    assert [row[1] for row in by_steps.rows] == ["150 (no interval)", "200 (no interval)"]
    assert by_clock.columns == ("variant", "30 s", "45 s", "60 s")
    assert [row[3] for row in by_clock.rows] == ["300 (no interval)", "200 (no interval)"]


def test_a_run_that_crashed_on_the_way_counts_as_crashed_after_its_end():
    stopped = trained(PPO, 0, 300.0, failure="stopped")
    assert compare_findings.score_at(stopped, "steps", 1536.0) == pytest.approx(225.0)
    assert math.isnan(compare_findings.score_at(stopped, "steps", 2049.0))
    whole = [trained(PPO, k, 300.0, steps=8192) for k in (1, 2)]
    curve = compare_report.curve_of([stopped, *whole], "steps", 0.0, np.inf)
    assert curve.x[-1] == 8192.0 and np.isnan(curve.lines[0, -1]) and curve.middle[-1] == 300.0


def test_seeds_and_episodes_are_two_spreads():
    """Seeds 100, 200, 300, widened by 0.8133 * 200; episodes -10, 0, 10: standard deviation 10."""
    made = compare_report.build_report(comparison([100.0, 200.0, 300.0]), "c")
    found = grid(made, "Final policies")
    assert cells(found, "each seed")["PPO task"] == "300, 200, 100"
    assert cells(found, "spread over episodes")["PPO task"] == "10"
    assert cells(found, "task return, median")["PPO task"] == "200 [-62.66, 462.7]"
    assert cells(found, "IQM")["PPO task"] == "200"


def test_shares_stay_in_their_range_and_no_power_is_negative():
    result = comparison([1.0, 2.0, 3.0])
    seen = [
        {"any_violation_rate": Measured(v, 0), "fell": Measured(f, 0), "power": Measured(w, 0)}
        for v, f, w in zip((0.9, 0.98, 1.0), (0.0, 0.5, 1.0), (23.0, 220.0, 417.0), strict=True)
    ]
    result = result._replace(
        trained=tuple(t._replace(behaviour=b) for t, b in zip(result.trained, seen, strict=True))
    )
    found = grid(compare_report.build_report(result, "c"), "Behaviour")
    assert cells(found, "fell")["PPO task"] == "0.5 [0, 1]"
    assert cells(found, "power, W")["PPO task"].startswith("220 [0, ")
    assert cells(found, "any violation")["PPO task"] == "0.98 [0.8187, 1]"
    assert cells(found, "speed")["PPO task"] == "not known; 0 of 3 runs"


def test_episodes_that_a_cost_of_transport_leaves_out_are_counted():
    standing = {"cost_of_transport": Measured(2.0, 2)}
    result = comparison([1.0, 2.0, 3.0], behaviour=standing)
    found = grid(compare_report.build_report(result, "c"), "Behaviour")
    shown = cells(found, "cost of transport")["PPO task"]
    assert shown == "2 (no interval); without 6 of 9 episodes that moved less than 0.5 m"


def test_measuring_says_how_many_episodes_were_left_out():
    known = compare.Behaviour("power", "power, W", "lower", 0.0)
    values = np.array([1.0, np.nan, 3.0, np.nan])

    class Stub:
        of = staticmethod(lambda _: values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(compare.METRICS._parts, "power", Stub)
        assert compare.measured(known, None) == Measured(2.0, 2)


@pytest.mark.parametrize(
    ("name", "wanted", "absent"),
    [
        ("hopper", ["speed in the task's direction, m/s", "cost of transport"], ["goal error"]),
        ("arm-reach", ["goal error of the median episode, m"], ["speed", "cost of transport"]),
        ("inverted-pendulum", ["power, W"], ["speed", "goal error"]),
    ],
)
def test_behaviour_is_what_the_task_has_and_every_column_names_its_unit(name, wanted, absent):
    headings = [b.heading for b in compare.behaviours(make(name))]
    for part in wanted:
        assert any(part in h for h in headings), part
    for part in absent:
        assert not any(part in h for h in headings), part
    assert all(
        re.search(r", (m/s|m|rad|W|share of .+|J per N of weight and m)$", h) for h in headings
    )


def test_an_interval_of_returns_ends_where_the_rewards_do():
    """The pendulum earns 1 a step for 1000 steps."""
    assert compare.return_bounds(make("inverted-pendulum")) == (0.0, 1000.0)


def test_the_report_and_its_data_carry_no_exponent_no_nan_and_both_axes(tmp_path):
    result = comparison([1000.0] * 3, [1e3, 12345.6, 40.0])
    page = compare_report.write(result, tmp_path, "robo-rl compare env=hopper")
    text = (tmp_path / "report.md").read_text()
    assert "1,000 (no interval)" in text and not re.search(r"\d[eE][+-]?\d", text)
    assert "nan" not in text and page.read_text().count("<img") == 2
    for part in ("At equal budgets", "hold", "robo-rl compare env=hopper", "curve-train_s.svg"):
        assert part in text, part
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored["final"]["PPO task"] == {
        "low": None,
        "point": 1000.0,
        "high": None,
        "iqm": 1000.0,
    }
    assert {run["engine"] for run in stored["runs"]} == {"mujoco"}
    assert [pair["decided"] for pair in stored["pairs"]] == [False]


@pytest.mark.parametrize(
    ("count", "words"),
    [(1, "has none"), (3, "25%"), (5, "94 % of comparisons or more"), (6, "at least 95 %")],
)
def test_the_report_says_what_its_interval_means_at_its_number_of_seeds(count, words):
    made = compare_report.build_report(comparison(np.arange(count) * 1.0), "c")
    section = next(s for s in made.sections if s.title == "How this was measured")
    assert any("What the interval means" in b.text and words in b.text for b in section.blocks)
