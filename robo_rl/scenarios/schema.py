"""The scenario file: checked when it is read, sampled when it is run."""

from typing import Any

import jax
import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from robo_rl import content
from robo_rl.envs.robots import Robot
from robo_rl.scenarios.requirements import Requirement, parse_requirement
from robo_rl.sim2real.injection import Injection, neutral
from robo_rl.sim2real.injectors import INJECTORS, inject


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Variable(_Strict):
    """A quantity that varies between episodes, uniformly over its range."""

    range: tuple[float, float]
    unit: str


class Injected(_Strict):
    """One injector with its magnitude and options; "$name" stands for a sampled variable."""

    injector: str
    magnitude: float | str
    options: dict[str, float | str] = {}


class Scenario(_Strict):
    """scenarios/<name>.yaml."""

    name: str
    claim: str
    source: str
    sample: dict[str, Variable] = {}
    inject: tuple[Injected, ...] = ()
    require: dict[str, dict[str, Any]] = {}

    def requirements(self, values: dict[str, float]) -> dict[str, Requirement]:
        """What must hold in an episode with these sampled values."""
        where = f"scenario {self.name}"
        return {
            name: parse_requirement(_filled(body, values, where), f"{where}: {name}")
            for name, body in self.require.items()
        }

    def draw(self, rng: np.random.Generator) -> dict[str, float]:
        """One value per variable."""
        return {name: float(rng.uniform(*v.range)) for name, v in self.sample.items()}

    def injection(
        self, robot: Robot, values: dict[str, float], rng: np.random.Generator
    ) -> Injection:
        """The injection of an episode with these sampled values.

        Raises NotApplicableError where the robot has nothing an injector could act on.
        """
        where = f"scenario {self.name}"
        made = neutral(robot.model, len(robot.channels))
        for item in self.inject:
            magnitude = _filled(item.magnitude, values, where)
            options = {key: _filled(value, values, where) for key, value in item.options.items()}
            made = inject(made, robot, item.injector, magnitude, rng, where, **options)
        return made


def load_scenario(name: str) -> Scenario:
    """A scenario by name or path.

    Every name in it is checked at once, whether or not it is used.
    """
    path = content.find("scenarios", name)
    try:
        scenario = Scenario(name=path.stem, **content.read_yaml(path))
    except (ValidationError, TypeError) as error:
        raise content.UserError(f"{path}: {error}") from error
    middle = {key: sum(v.range) / 2 for key, v in scenario.sample.items()}
    for item in scenario.inject:
        content.lookup(INJECTORS, item.injector, kind="injector", where=str(path))
        for value in (item.magnitude, *item.options.values()):
            _filled(value, middle, str(path))
    scenario.requirements(middle)
    return scenario


def sample_batch(
    scenario: Scenario, robot: Robot, seed: int, episodes: int
) -> tuple[Injection, list[dict[str, float]]]:
    """Injections with a leading axis of episodes, and the values sampled for each.

    Episode i of a seed is the same whatever the policy and however many episodes there are.
    """
    injections, drawn = [], []
    for episode in range(episodes):
        rng = np.random.default_rng([seed, episode, *scenario.name.encode()])
        values = scenario.draw(rng)
        injections.append(scenario.injection(robot, values, rng))
        drawn.append(values)
    return stack(injections), drawn


def stack(injections: list[Injection]) -> Injection:
    """Injections of single episodes as one with a leading axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *injections)


def concatenate(batches: list[Injection]) -> Injection:
    """Batches of injections one after another."""
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *batches)


def _filled(value: Any, values: dict[str, float], where: str) -> Any:
    if isinstance(value, str) and value.startswith("$"):
        return content.lookup(values, value[1:], kind="variable", where=where)
    if isinstance(value, dict):
        return {key: _filled(inner, values, where) for key, inner in value.items()}
    return value
