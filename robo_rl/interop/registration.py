"""Tells Gymnasium of every environment without importing JAX."""

import os
import sys
from dataclasses import fields
from typing import Any

from gymnasium.envs.registration import EnvSpec, load_env_creator, registry

from robo_rl import content
from robo_rl.registry import named_by

NAMESPACE = "robo_rl"


class Spec(EnvSpec):
    """An EnvSpec that asks the MDP for its time limit only when somebody reads it."""

    @property
    def max_episode_steps(self) -> int | None:
        """Control steps until the time limit; None where no such environment exists."""
        if self._limit is not None:
            return self._limit
        limit_of: Any = load_env_creator("robo_rl.interop.gym:time_limit")
        return limit_of(self.kwargs.get("name", self.name))

    @max_episode_steps.setter
    def max_episode_steps(self, steps: int | None) -> None:  # pyright: ignore
        self._limit = steps

    def __eq__(self, other: Any) -> bool:
        """Equal to any EnvSpec of the same fields, as those that gymnasium.make() builds are."""
        if not isinstance(other, EnvSpec):
            return NotImplemented
        return all(getattr(self, f.name) == getattr(other, f.name) for f in fields(EnvSpec))


class _Fork:
    """Whether this process was forked from one that had JAX, whose threads are gone here."""

    inherited_jax = False

    @classmethod
    def happened(cls) -> None:
        """Called in every forked child."""
        cls.inherited_jax = "jax" in sys.modules


os.register_at_fork(after_in_child=_Fork.happened)


def jax_hangs() -> bool:
    """Whether JAX must not be used in this process because it was forked from one with JAX."""
    return _Fork.inherited_jax


def gymnasium_id(name: str) -> str:
    """The Gymnasium id of an environment."""
    return f"{NAMESPACE}/{name}-v1"


def register_all() -> None:
    """Registers one id per environment: each of the suite has a preset, yours a @register."""
    presets = content.read_yaml(content.find("configs", "ppo"))["envs"]
    for name in (*presets, *named_by("register")):
        if gymnasium_id(name) not in registry:
            registry[gymnasium_id(name)] = Spec(
                gymnasium_id(name),
                entry_point="robo_rl.interop.gym:RobotEnv",
                vector_entry_point="robo_rl.interop.gym:RobotVectorEnv",
                kwargs={"name": name},
            )
