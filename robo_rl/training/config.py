"""What a training run is: key=value over the presets, checked before anything starts."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from robo_rl import content, errors

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Activation = Literal["tanh", "relu", "swish"]
ALGORITHMS = ("ppo", "sac")
PATHS = ("out", "start", "resume")  # taken as they were typed: a folder may be called 007
Layers = Annotated[tuple[Positive, ...], Field(min_length=1)]


class Strict(BaseModel):
    """A frozen set of named values; an unknown name is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Ppo(Strict):
    """PPO hyperparameters; robots * unroll samples an iteration, split by robot."""

    robots: Positive
    unroll: Positive
    minibatches: Positive
    epochs: Positive
    learning_rate: Rate
    final_learning_rate: Rate
    discount: Share
    gae_lambda: Share
    clip: Rate
    entropy: Annotated[float, Field(ge=0)]
    value_weight: Rate
    max_gradient_norm: Rate
    initial_std: Rate
    reward_scale: Rate
    hidden: Layers
    activation: Activation
    steps: Positive


class Sac(Strict):
    """SAC hyperparameters; updates_per_step gradient updates after each step of all robots."""

    robots: Positive
    updates_per_step: Positive
    batch: Positive
    warmup: Positive
    replay: Positive
    learning_rate: Rate
    alpha_learning_rate: Rate
    discount: Share
    tau: Share
    reward_scale: Rate
    hidden: Layers
    activation: Activation
    steps: Positive

    def in_words(self) -> str:
        """How often it learns, which follows from two numbers that are easily set apart."""
        return (
            f"SAC: {self.robots} robots, {self.updates_per_step} gradient updates after each step"
            f" of all of them: {self.updates_per_step / self.robots:.3g} per environment step."
        )


class TrainConfig(Strict):
    """One training run, everything resolved."""

    env: str
    algo: Literal["ppo", "sac"]
    reward: Literal["task", "energy", "safety"] = "task"
    trainer: Literal["jax", "sb3"] = "jax"
    engine: Literal["mujoco", "mjx", "bullet"] = "mujoco"  # what it trains and evaluates on
    randomize: str | None = None  # a profile whose trained ranges every episode is drawn from
    curriculum: bool = False  # opens each row of `randomize` as far as the policy copes with it
    start: str | None = None  # a run whose weights it starts from, instead of random ones
    seed: Annotated[int, Field(ge=0, le=content.LARGEST_SEED)] = 0
    out: Annotated[str, Field(min_length=1)]
    eval_points: Annotated[int, Field(ge=0)] = 10
    eval_episodes: Positive = 8
    checkpoint_s: Rate = 30.0
    ppo: Ppo | None = None
    sac: Sac | None = None

    @model_validator(mode="after")
    def _curriculum_needs_a_profile(self) -> "TrainConfig":
        if self.curriculum and (self.randomize is None or self.trainer != "jax"):
            raise ValueError("curriculum=true needs randomize=PROFILE and trainer=jax")
        return self

    @model_validator(mode="after")
    def _weights_of_another_run_need_our_trainer(self) -> "TrainConfig":
        if self.start is not None and self.trainer != "jax":
            raise ValueError("start=RUN needs trainer=jax")
        return self

    @property
    def hyper(self) -> Ppo | Sac:
        """The hyperparameters of the chosen algorithm."""
        chosen = self.ppo if self.algo == "ppo" else self.sac
        assert chosen is not None
        return chosen

    @property
    def steps(self) -> int:
        """Environment steps to train for."""
        return self.hyper.steps


def parse(words: list[str]) -> dict[str, Any]:
    """key=value words as a nested mapping (dots nest); a word without '=' is an error."""
    for word in words:
        if "=" not in word or word.startswith("="):
            raise errors.UserError(
                f"argument {word!r}: key=value expected, for example env=hopper."
            )
        if "${" in word:
            raise errors.UserError(
                f"argument {word!r}: holds '${{', a variable that nothing here fills in."
            )
    try:
        parsed = OmegaConf.to_container(OmegaConf.from_dotlist(words))
    except OmegaConfBaseException as error:
        raise errors.UserError(f"arguments {' '.join(words)!r}: {error}") from error
    assert isinstance(parsed, dict)
    typed = dict(word.split("=", 1) for word in words)
    as_typed = {key: typed[key] for key in PATHS if typed.get(key)}
    return {str(key): value for key, value in parsed.items()} | {
        key: text for key, text in as_typed.items() if not isinstance(parsed[key], str)
    }


def preset(algo: str, env: str) -> dict[str, Any]:
    """The preset of an algorithm for an environment.

    Its default block with the environment's on top.
    """
    errors.lookup(dict.fromkeys(ALGORITHMS), algo, kind="algorithm", where="algo")
    path = content.find("configs", algo)
    blocks = content.read_yaml(path)
    return {**blocks["default"], **blocks["envs"].get(env, {})}


def resolve(words: dict[str, Any]) -> TrainConfig:
    """A complete run from the user's words over the preset.

    `steps` stands for the algorithm's own. Raises UserError with everything that is wrong at once.
    """
    given, wrong = dict(words), []
    env = _chosen(given, "env", _environments(), "environment", wrong)
    algo = _chosen(given, "algo", ALGORITHMS, "algorithm", wrong)
    assumed = algo or next((name for name in ALGORITHMS if name in given), ALGORITHMS[0])
    own = _hyperparameters(given, algo, assumed, wrong)
    steps = {"steps": given.pop("steps")} if "steps" in given else {}
    given |= {"env": env or "?", "algo": assumed}
    base = preset(assumed, given["env"])
    given[assumed] = {**base, **_paced(base, own), **own, **steps}
    given.setdefault("out", default_folder(given))
    if given.get("randomize") is not None:
        _collect(wrong, lambda: content.find("sim2real", str(given["randomize"])))
    made = _collect(wrong, lambda: check(TrainConfig, given, "train"))
    if made is None or wrong:
        raise errors.UserError("\n".join(wrong))
    return made


def _environments() -> tuple[str, ...]:
    from robo_rl.envs import mdp  # presets can be read without MuJoCo
    from robo_rl.registry import load_own

    load_own()
    return mdp.names()


def _collect(wrong: list[str], make: Callable[[], T]) -> T | None:
    """What `make` returns; a mistake in it joins the others instead."""
    try:
        return make()
    except errors.UserError as error:
        wrong.append(str(error))
        return None


def _chosen(
    given: Mapping[str, Any], key: str, known: Sequence[str], kind: str, wrong: list[str]
) -> str | None:
    if given.get(key) is None:
        wrong.append(f"train: {key}=... is missing.")
        return None
    table, name = {each: each for each in known}, str(given[key])
    return _collect(wrong, lambda: errors.lookup(table, name, kind=kind, where=key))


def _hyperparameters(
    given: dict[str, Any], algo: str | None, assumed: str, wrong: list[str]
) -> dict[str, Any]:
    """The user's own hyperparameters of the algorithm, taken out of `given`."""
    blocks = {name: given.pop(name) for name in ALGORITHMS if given.get(name) is not None}
    for name, block in blocks.items():
        if not isinstance(block, dict):
            wrong.append(f"train: {name}={block}: hyperparameters are set as {name}.NAME=VALUE.")
        elif algo is not None and name != algo:
            keys = ", ".join(f"{name}.{key}={value}" for key, value in block.items())
            wrong.append(f"train: {keys} has no effect with algo={algo}.")
    own = blocks.get(assumed)
    return dict(own) if isinstance(own, dict) else {}


def _paced(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """SAC's updates after a step of all robots: as many per robot as the preset has, at least 1."""
    robots = own.get("robots")
    if "updates_per_step" not in base or not isinstance(robots, int):
        return {}
    return {"updates_per_step": max(1, round(base["updates_per_step"] * robots / base["robots"]))}


def default_folder(given: dict[str, Any]) -> str:
    """runs/<env>-<algo>-<reward>-s<seed>, and what is not the default."""
    trainer = "" if given.get("trainer", "jax") == "jax" else f"-{given['trainer']}"
    reward, seed = given.get("reward", "task"), given.get("seed", 0)
    drawn = "-randomized" if given.get("randomize") else ""
    drawn += "-curriculum" if given.get("curriculum") else ""
    drawn += "-started" if given.get("start") else ""
    drawn += "" if given.get("engine", "mujoco") == "mujoco" else f"-{given['engine']}"
    name = f"{given['env']}-{given['algo']}-{reward}{drawn}{trainer}-s{seed}"
    return str(Path("runs") / name)


def check(kind: type[M], value: dict[str, Any], where: str) -> M:
    """The model of a mapping; an error names the key, what was given, and what is close."""
    try:
        return kind(**value)
    except ValidationError as error:
        raise errors.UserError(
            "\n".join(_explain(kind, e, where) for e in error.errors())
        ) from error


def _explain(kind: type[BaseModel], error: Any, where: str) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        return f"{where}: {key}={error['input']!r}: {error['msg']}."
    known = _fields(kind)
    close = difflib.get_close_matches(key, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{where}: no key named {key!r}.{hint} Known: {', '.join(known)}."


def _fields(kind: type[BaseModel], prefix: str = "") -> list[str]:
    nested = {"ppo": Ppo, "sac": Sac}
    names = []
    for name in kind.model_fields:
        names += _fields(nested[name], f"{name}.") if name in nested else [prefix + name]
    return names
