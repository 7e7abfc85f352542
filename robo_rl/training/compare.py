"""Algorithms and reward layers against each other: what is asked, the runs, what they do."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, get_args

import mujoco
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from robo_rl import content, errors
from robo_rl.envs import mdp
from robo_rl.envs.step import Environment, make
from robo_rl.errors import NotFiniteError, UserError
from robo_rl.files import plain
from robo_rl.policy.stored import load_policy
from robo_rl.registry import load_own
from robo_rl.report import page
from robo_rl.rollouts.metrics import METRICS, Episodes, direction_of
from robo_rl.rollouts.play import episode_keys, rollout
from robo_rl.training import config as configuration
from robo_rl.training import run as runs
from robo_rl.training import tables
from robo_rl.training import trainers as training
from robo_rl.training.config import Ppo, TrainConfig
from robo_rl.training.folder import RunFolder, load_config

COMPARE_SEED = 9_000_011  # of the final evaluation, held out from training and from the curves
EPISODES, SEEDS = 20, 3
NOT_COMPARED = ("out", "versions.machine", "versions.processor")  # a run may come from elsewhere
KINDS = {"algo": "algorithm", "reward": "reward layer", "trainer": "trainer"}
ALGORITHMS = ("ppo", "sac")


class Variant(NamedTuple):
    """One arm of the comparison: an algorithm under a reward layer, in a trainer."""

    algo: str
    reward: str
    trainer: str = "jax"

    def __str__(self) -> str:
        other = "" if self.trainer == "jax" else f" ({self.trainer})"
        return f"{self.algo.upper()} {self.reward}{other}"


class Asked(NamedTuple):
    """A comparison as it was asked for; `overrides` go to the training of every arm."""

    env: str
    arms: tuple[Variant, ...]
    seeds: tuple[int, ...]
    folder: Path
    episodes: int = EPISODES
    overrides: Mapping[str, Any] = {}
    mistakes: tuple[str, ...] = ()  # in the words it was asked for with


class Behaviour(NamedTuple):
    """What is measured of a final policy besides its return, and where its values can lie."""

    metric: str
    heading: str  # with the unit
    better: str
    floor: float = -np.inf
    ceiling: float = np.inf
    of_run: Callable[..., Any] = np.mean  # from the values of episodes to that of the run


class Measured(NamedTuple):
    """A behaviour of one run, and how many of its episodes could not be measured."""

    value: float
    left_out: int


class Trained(NamedTuple):
    """One run of a variant and what its final policy does on held-out episodes."""

    variant: Variant
    seed: int
    config: TrainConfig
    steps: int
    train_s: float
    returns: NDArray[np.float64]  # of the task layer, by episode; NaN where one crashed
    behaviour: dict[str, Measured]
    curve: list[dict[str, float]]  # rows of evaluation.csv
    contract: dict[str, Any]  # of the policy that was saved and evaluated; empty without one
    failure: str = ""  # why the run has no score

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.config.out)

    @property
    def task_return(self) -> float:
        """Mean over the held-out episodes; NaN for a run that crashed, in training or in one."""
        return float("nan") if self.failure else float(np.mean(self.returns))

    @property
    def rollout_steps(self) -> int:
        """Environment steps between two updates: what budgets can be equal to."""
        hyper = self.config.hyper
        return hyper.robots * (hyper.unroll if isinstance(hyper, Ppo) else 1)


class Comparison(NamedTuple):
    """Every run of every variant."""

    env: Environment  # undisturbed, task layer, on the engine that was asked for
    engine: str
    trained: tuple[Trained, ...]
    episodes: int

    def of(self, variant: Variant) -> list[Trained]:
        """The runs of one variant."""
        return [t for t in self.trained if t.variant == variant]

    def scores(self, variant: Variant) -> NDArray[np.float64]:
        """Task return of each run of a variant; NaN where it crashed."""
        return np.array([t.task_return for t in self.of(variant)])

    @property
    def variants(self) -> list[Variant]:
        """The variants in the order they were asked for."""
        return list(dict.fromkeys(t.variant for t in self.trained))


def variants(
    algos: Sequence[str], rewards: Sequence[str], trainers: Sequence[str] = ("jax",)
) -> tuple[Variant, ...]:
    """Every algorithm under every reward layer in every trainer."""
    return tuple(Variant(*arm) for arm in itertools.product(algos, rewards, trainers))


def ask(given: Mapping[str, Any]) -> Asked:
    """The comparison that the user's words ask for; what is wrong with them is in its mistakes."""
    left, mistakes = dict(given), list[str]()
    env = str(left.pop("env", ""))
    if not env:
        mistakes.append("env=... is missing.")
    lists = {
        key: _names(key, str(left.pop(key, default)), mistakes)
        for key, default in (("algo", "ppo,sac"), ("reward", "task"), ("trainer", "jax"))
    }
    seeds = tuple(range(_count("seeds", left.pop("seeds", SEEDS), mistakes)))
    episodes = _count("episodes", left.pop("episodes", EPISODES), mistakes)
    folder = Path(str(left.pop("out", f"runs/compare-{env}")))
    arms = variants(*lists.values())
    return Asked(env, arms, seeds, folder, episodes, left, tuple(mistakes))


def plan(asked: Asked) -> dict[tuple[Variant, int], TrainConfig]:
    """The configuration of every run, once everything that was asked for is known to work.

    Nothing is written. Raises UserError with all that is wrong: names that do not exist or stand
    twice, keys, an engine or a learner that cannot be built, run folders that hold something else.
    """
    found, configs = list(asked.mistakes), dict[tuple[Variant, int], TrainConfig]()
    with _noted(found):
        load_own()
    known = asked.env in mdp.ENTRIES
    if asked.env and not known:
        with _noted(found):
            mdp.get(asked.env)
    absent = set(ALGORITHMS) - {arm.algo for arm in asked.arms}
    for algo in sorted(absent & set(asked.overrides)):
        found.append(f"{algo}.* is given, but no arm is algo={algo}.")
    checked = asked if known else asked._replace(env=next(iter(mdp.ENTRIES)))
    for variant in asked.arms:
        with _noted(found):
            configs |= _checked(variant, checked, found, build=known)
    if found:
        raise UserError("\n".join(f"compare: {_bare(line)}" for line in dict.fromkeys(found)))
    return configs


def _checked(
    variant: Variant, asked: Asked, found: list[str], *, build: bool
) -> dict[tuple[Variant, int], TrainConfig]:
    """The runs of one variant; what is wrong with them is added to `found` or raised.

    build: whether to build environment and learner too, which takes an environment that exists.
    """
    made = {(variant, seed): resolved(variant, seed, asked) for seed in asked.seeds or (0,)}
    first = next(iter(made.values()))
    if not first.eval_points:
        found.append("eval_points=0 leaves no learning curve: 1 or more are needed.")
    if build:
        runs.build(first)
        found += [line for config in made.values() for line in obstacles(config)]
    return made


def resolved(variant: Variant, seed: int, asked: Asked) -> TrainConfig:
    """The training run of a variant with a seed, in its folder within the comparison's."""
    words = {
        "env": asked.env,
        **variant._asdict(),
        "seed": seed,
        **{k: v for k, v in asked.overrides.items() if k not in set(ALGORITHMS) - {variant.algo}},
    }
    out = asked.folder / Path(configuration.default_folder(words)).name
    return configuration.resolve({**words, "out": str(out)})


def obstacles(wanted: TrainConfig) -> list[str]:
    """Why a run cannot go on in its folder, one line or none: what is there is another run.

    Compared are the configuration and what the policy was stored with: model, observations,
    versions.
    """
    folder = RunFolder(Path(wanted.out))
    if not folder.config.exists():
        return []
    there, here = (_flat(c.model_dump()) for c in (load_config(folder.path), wanted))
    if (stored_at := folder.path / "policy" / "policy.json").is_file():
        stored = content.read_json(stored_at)
        now = runs.describe(wanted, make(wanted.env, wanted.reward, engine=wanted.engine))
        there |= _flat({key: stored.get(key) for key in now})
        here |= _flat(plain(now))
    differ = [
        f"{key} {_short(there.get(key))} there, {_short(here.get(key))} now"
        for key in dict.fromkeys([*here, *there])
        if there.get(key) != here.get(key) and key not in NOT_COMPARED
    ]
    if wanted.trainer == "sb3" and not folder.done.exists():
        differ.append("trainer=sb3 did not finish it and cannot go on")
    if not differ:
        return []
    return [f"{folder.path} holds another run ({'; '.join(differ)}): name another one, out=DIR."]


def compare(asked: Asked, console: Console) -> Comparison:
    """Checks everything, trains what is not trained yet, and evaluates every final policy."""
    configs = plan(asked)
    page.claim(asked.folder)
    engine = next(iter(configs.values())).engine
    env = make(asked.env, engine=engine)
    trained = []
    for (variant, seed), config in configs.items():
        failure = train_one(config, console)
        trained.append(evaluate_one(env, variant, seed, config, asked.episodes, failure))
    return Comparison(env, engine, tuple(trained), asked.episodes)


def train_one(config: TrainConfig, console: Console) -> str:
    """Trains a run, goes on with it, or leaves it as it is; returns why it crashed, or ""."""
    begun = RunFolder(Path(config.out)).config.exists()
    try:
        training.train(config, console, resume=begun)
    except NotFiniteError as reason:
        console.print(f"{reason} This seed ranks last.", highlight=False, soft_wrap=True)
        return str(reason)
    return ""


def evaluate_one(
    env: Environment, variant: Variant, seed: int, config: TrainConfig, episodes: int, failure: str
) -> Trained:
    """What the policy saved by a run does on held-out episodes of the undisturbed task."""
    folder = RunFolder(Path(config.out))
    curve = tables.read_rows(folder.evaluation)
    if failure:
        last = (tables.read_rows(folder.metrics) or [{"steps": 0.0, "train_s": 0.0}])[-1]
        nothing = np.full(episodes, np.nan)
        steps, train_s = int(last["steps"]), last["train_s"]
        return Trained(variant, seed, config, steps, train_s, nothing, {}, curve, {}, failure)
    policy = load_policy(folder.path)
    track = rollout(env, policy, episode_keys(COMPARE_SEED, episodes))
    crashed = int(track.crashed.sum())
    if crashed:
        failure = f"{crashed} of {episodes} episodes of the final policy are not finite."
    seen, done = Episodes.of(env, track), content.read_json(folder.done)
    return Trained(
        variant,
        seed,
        config,
        int(done["steps"]),
        float(done["train_s"]),
        np.asarray(track.episode_return, float),
        {b.metric: measured(b, seen) for b in behaviours(env)} if not crashed else {},
        curve,
        policy.contract,
        failure,
    )


def behaviours(env: Environment) -> tuple[Behaviour, ...]:
    """What is worth knowing of a policy on this task."""
    found = []
    if direction_of(env) is not None:
        found.append(Behaviour("speed", "speed in the task's direction, m/s", "higher"))
    if goal := env.mdp.goal:
        what = goal.judged_by.replace("_", " ")
        heading = f"{what} of the median episode, {goal.error_unit}"
        found.append(Behaviour(goal.judged_by, heading, "lower", 0.0, of_run=np.median))
    found.append(Behaviour("power", "power, W", "lower", 0.0))
    if env.robot.file.ground is not None and _travels(env):
        heading = "cost of transport, J per N of weight and m"
        found.append(Behaviour("cost_of_transport", heading, "lower", 0.0))
    if env.rewards.costs:
        heading = "any violation, share of steps"
        found.append(Behaviour("any_violation_rate", heading, "lower", 0.0, 1.0))
    found.append(Behaviour("fell", "fell, share of episodes", "lower", 0.0, 1.0))
    heading = "action roughness, share of full range per step"
    found.append(Behaviour("action_roughness", heading, "lower", 0.0, 1.0))
    return tuple(found)


def _travels(env: Environment) -> bool:
    """Whether the task moves the robot's base from place to place: not an arm's."""
    free = env.robot.model.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE
    return bool(free) or direction_of(env) is not None


def measured(behaviour: Behaviour, episodes: Episodes) -> Measured:
    """A behaviour over the episodes in which it is known; NaN where it is known in none."""
    values = np.asarray(METRICS[behaviour.metric].of(episodes), float)
    known = values[~np.isnan(values)]
    value = float(behaviour.of_run(known)) if known.size else float("nan")
    return Measured(value, int(values.size - known.size))


def return_bounds(env: Environment) -> tuple[float, float]:
    """The least and the most that an episode can earn, by the ranges of its reward terms."""
    ends = (
        np.array([w.bounds for w in env.rewards.terms_through(env.layer)])
        .reshape(-1, 2)
        .sum(axis=0)
    )
    steps = env.mdp.episode_steps
    return float(min(ends[0], 0.0) * steps), float(max(ends[1], 0.0) * steps)


def _names(key: str, words: str, mistakes: list[str]) -> list[str]:
    """The names in a comma-separated list that exist, and all there are if none does.

    What does not exist or stands twice is a mistake.
    """
    known = dict.fromkeys(get_args(TrainConfig.model_fields[key].annotation))
    names = [word.strip() for word in words.split(",")]
    for name in dict.fromkeys(names):
        with _noted(mistakes):
            errors.lookup(known, name, kind=KINDS[key], where=key)
        if names.count(name) > 1:
            mistakes.append(f"{key}={words}: {name!r} stands {names.count(name)} times.")
    return [name for name in dict.fromkeys(names) if name in known] or list(known)


def _count(key: str, value: Any, mistakes: list[str]) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        mistakes.append(f"{key}={value!r}: a whole number from 1 on was expected.")
        return 0
    return value


@contextmanager
def _noted(mistakes: list[str]) -> Iterator[None]:
    """What goes wrong within is noted, line by line."""
    try:
        yield
    except UserError as error:
        mistakes.extend(str(error).splitlines())


def _bare(line: str) -> str:
    return line.removeprefix("train: ")


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined with dots."""
    found: dict[str, Any] = {}
    for key, part in value.items():
        name = f"{prefix}{key}"
        found |= _flat(part, f"{name}.") if isinstance(part, Mapping) else {name: plain(part)}
    return found


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
