"""What `import robo_rl` offers: every job of the suite as a function.

The examples run as they stand, in a folder with a run folder `runs/pole` that holds a policy for
`inverted-pendulum`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from robo_rl.envs.mdp import Mdp, register
from robo_rl.envs.step import Environment, make
from robo_rl.injection.episode import longest_latency_s
from robo_rl.injection.injectors import inject, neutral_of
from robo_rl.policy import contract
from robo_rl.policy.stored import Policy, load_policy, save_policy
from robo_rl.report import page
from robo_rl.rollouts import play
from robo_rl.rollouts.metrics import Episodes
from robo_rl.safety_eval import study, study_report
from robo_rl.scenarios.schema import stack
from robo_rl.sim2real import checklist as checks
from robo_rl.sim2real import gap as gaps
from robo_rl.sim2real import gap_report
from robo_rl.training import compare as comparing
from robo_rl.training import compare_report, config, trainers

__all__ = [
    "Mdp",
    "checklist",
    "compare",
    "gap",
    "load_policy",
    "make",
    "register",
    "rollout",
    "safety",
    "save_policy",
    "train",
]

Injected = Mapping[str, float | tuple[float, Mapping[str, Any]]]


def train(*, console: Console | None = None, **keys: Any) -> Path:
    """Train a policy into a run folder; returns the folder.

    keys: those of `robo-rl train`: env, algo, reward, seed, steps, out, ppo={...}, sac={...}.
    console: where progress is shown; nowhere if left out.

    Raises UserError for keys, names or values that do not exist, and where `out` holds a run.

    >>> tiny = {"robots": 4, "unroll": 16, "minibatches": 2, "epochs": 1}
    >>> run = robo_rl.train(env="inverted-pendulum", algo="ppo", steps=128, ppo=tiny, out="runs/it")
    >>> (run / "policy" / "policy.json").exists()
    True
    """
    return trainers.train(config.resolve(keys), console or Console(quiet=True))


def compare(*, console: Console | None = None, **keys: Any) -> comparing.Comparison:
    """Train algorithms, reward layers or trainers over seeds, and evaluate every final policy.

    keys: those of `robo-rl compare`; algo, reward and trainer take several, as "ppo,sac". The
    report is written into `out`, runs/compare-ENV if left out.

    >>> tiny = {"robots": 4, "unroll": 16, "minibatches": 2, "epochs": 1}
    >>> done = robo_rl.compare(env="inverted-pendulum", algo="ppo", seeds=2, steps=128, episodes=2,
    ...                        ppo=tiny, eval_points=1, out="runs/compared")
    >>> [trained.seed for trained in done.trained]
    [0, 1]
    """
    asked = comparing.ask(keys)
    done = comparing.compare(asked, console or Console(quiet=True))
    words = " ".join(f"{key}={value}" for key, value in keys.items())
    compare_report.write(done, asked.folder, f"robo-rl compare {words}")
    return done


def rollout(
    run: str | Path | Policy,
    *,
    episodes: int = 16,
    seed: int = 0,
    injected: Injected | None = None,
    episode_s: float | None = None,
    engine: str = "mujoco",
) -> Episodes:
    """Episodes of a policy in the environment it was made for, N of them side by side.

    injected: what goes wrong in every episode, as injector -> magnitude in the injector's unit, or
    -> (magnitude, options). episode_s: shorter episodes than the task's. Episode i of a seed starts
    alike whatever is injected. `measure(name)` of what comes back gives a metric, [N].

    Raises UserError for injectors, options or engines that do not exist, and where the policy does
    not fit its environment.

    >>> nominal = robo_rl.rollout("runs/pole", episodes=4, episode_s=2.0)
    >>> late = robo_rl.rollout("runs/pole", episodes=4, episode_s=2.0,
    ...                        injected={"action_latency": 200.0})  # ms
    >>> nominal.measure("survival").tolist()  # s
    [2.0, 2.0, 2.0, 2.0]
    >>> bool((late.measure("survival") < 2.0).all())
    True
    """
    policy = run if isinstance(run, Policy) else load_policy(run)
    name, layer = str(policy.contract.get("env")), str(policy.contract.get("reward"))
    env = make(name, layer, episode_s=episode_s, engine=engine)
    contract.demand_fit(policy, make(name, layer))
    draws = [
        _injection(env, injected or {}, np.random.default_rng([seed, index]))
        for index in range(episodes)
    ]
    batch = stack(draws)
    history_s = float(np.max(longest_latency_s(batch)))
    played = make(name, layer, history_s=history_s, episode_s=episode_s, engine=engine)
    keys = play.episode_keys(seed, episodes)
    return Episodes.of(played, play.rollout(played, policy, keys, batch))


def _injection(env: Environment, injected: Injected, rng: np.random.Generator) -> Any:
    made = neutral_of(env.robot)
    for name, given in injected.items():
        magnitude, options = given if isinstance(given, tuple) else (given, {})
        made = inject(made, env.robot, name, magnitude, rng, "injected", **options)
    return made


def safety(
    run: str | Path,
    suite: str | None = None,
    *,
    baseline: str | Path | None = None,
    seed: int = study.HELD_OUT_SEED,
    episodes: int | None = None,
    out: str | Path | None = None,
) -> study.SafetyResult:
    """Judge a policy by a safety suite; `gate` of what comes back is the decision.

    suite: a name or a path, that of the robot's kind if left out. baseline: a run that it must not
    be worse than. episodes: so many of each scenario, looked at once; the suite's own plan doubles
    what is undecided. out: where report, JUnit and replays are written; nowhere if left out.

    >>> result = robo_rl.safety("runs/pole", episodes=4)  # too few to accept anything
    >>> str(result.gate)
    'CONDITIONAL'
    >>> result.findings[0].scenario, result.findings[0].criterion
    ('nominal', 'does_its_task')
    """
    if out is not None:
        page.claim(Path(out))
    old = Path(baseline) if baseline is not None else None
    result = study.study(Path(run), suite, old, seed, episodes)
    if out is not None:
        study_report.write(result, Path(out), f"robo-rl safety {run}")
    return result


def gap(
    run: str | Path,
    profile: str | None = None,
    *,
    seed: int = gaps.GAP_SEED,
    episodes: int = gaps.EPISODES,
    episode_s: float | None = None,
    out: str | Path | None = None,
) -> gaps.GapResult:
    """How far a policy is from breaking, for each departure of a profile.

    Each sweep holds the breaking point with its interval, in the departure's unit, and the margin
    over what was measured on real robots.

    profile: the robot's own if left out. out: where the report is written; nowhere if left out.

    >>> result = robo_rl.gap("runs/pole", episodes=18, episode_s=0.5)
    >>> sorted(result.sweeps[0].breaking._fields)
    ['high', 'low', 'point']
    """
    if out is not None:
        page.claim(Path(out))
    result = gaps.gap(Path(run), profile, seed, episodes, episode_s)
    if out is not None:
        gap_report.write(result, Path(out), f"robo-rl gap {run}")
    return result


def checklist(run: str | Path, *, out: str | Path | None = None) -> checks.Checklist:
    """The sim-to-real risk checklist of a policy, from the evidence in its run folder.

    A study that was not run leaves UNKNOWN lines. out: where the page is written; nowhere if left
    out.

    >>> made = robo_rl.checklist("runs/pole")
    >>> str(made.verdict)
    'UNKNOWN'
    """
    if out is not None:
        page.claim(Path(out))
    made = checks.checklist(Path(run))
    if out is not None:
        checks.write(made, Path(out), f"robo-rl checklist {run}")
    return made
