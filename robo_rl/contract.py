"""The contract a policy is stored with.

What it observes and commands, at which rate, on which body.
"""

import platform
from importlib.metadata import version
from typing import Any

import mujoco
import numpy as np

import robo_rl
from robo_rl.engines.base import nominal_plant
from robo_rl.envs.step import Environment
from robo_rl.files import digest

VERSIONED = ("jax", "brax", "mujoco", "gymnasium", "numpy", "torch", "stable-baselines3")


def describe(env: Environment) -> dict[str, Any]:
    """Observation and action layout, units, rates and digests of an environment."""
    low, high = env.robot.model.actuator_ctrlrange.T
    return {
        "env": env.name,
        "reward": env.layer,
        "engine": "mujoco",
        "control_hz": env.mdp.control_hz,
        "physics_hz": round(1.0 / env.substep_s, 6),
        "episode_steps": env.mdp.episode_steps,
        "observation": observation_table(env),
        "action": [
            {
                "name": name,
                "drives": driven,
                "range": [-1.0, 1.0],
                "ctrl_range": [float(a), float(b)],
            }
            for name, driven, a, b in zip(
                env.robot.actuator_names, env.robot.driven_names, low, high, strict=True
            )
        ],
        "model_sha256": model_digest(env.robot.model),
        "versions": versions(),
    }


def observation_table(env: Environment) -> list[dict[str, Any]]:
    """Name, unit and size of each observation entry, in order."""
    import jax

    signals = jax.eval_shape(env.reset, jax.random.key(0)).signals
    sizes = [
        jax.eval_shape(lambda s, o=o: o.read(env.robot, s), signals).shape[0]
        for o in env.mdp.observe
    ]
    return [
        {"name": o.name, "unit": o.unit, "size": n}
        for o, n in zip(env.mdp.observe, sizes, strict=True)
    ]


def model_digest(model: mujoco.MjModel) -> str:
    """SHA-256 over the physical parameters of a model.

    Whatever a Plant may change, geometry and limits.
    """
    fields = (
        model.body_mass,
        model.body_inertia,
        model.body_ipos,
        model.geom_size,
        model.geom_friction,
        model.dof_damping,
        model.dof_armature,
        model.jnt_range,
        model.actuator_gear,
        model.actuator_ctrlrange,
        model.actuator_gainprm,
        model.opt.gravity,
        np.array([model.opt.timestep, len(nominal_plant(model))]),
    )
    return digest(b"".join(np.ascontiguousarray(f, np.float64).tobytes() for f in fields))


def versions() -> dict[str, str]:
    """The versions a result depends on, and the processor."""
    found = {"robo_rl": robo_rl.__version__, "python": platform.python_version()}
    for name in VERSIONED:
        found[name] = _version(name)
    return found | {"machine": machine()}


def machine() -> str:
    """Processor, cores and memory in words."""
    import os

    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as stream:
            names = [line.split(":")[1].strip() for line in stream if line.startswith("model name")]
        cpu = names[0] if names else cpu
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (OSError, ValueError):
        return cpu
    return f"{cpu}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB"


def _version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError

    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
