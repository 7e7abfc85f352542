"""The contract a policy is stored with.

What it observes and commands, at which rate, on which body.
"""

import functools
import itertools
import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

import robo_rl
from robo_rl.envs.step import Environment
from robo_rl.envs.tasks import declared
from robo_rl.errors import UserError
from robo_rl.files import digest
from robo_rl.policy.networks import Network
from robo_rl.policy.stored import Policy

DRAWN = ("_", "cam_", "light_", "mat_", "skin_", "tex_", "text_", "vis", "paths", "signature")
DRAWN += ("geom_rgba", "geom_matid", "geom_user", "site_rgba", "site_matid", "tendon_rgba", "names")
DRAWN += ("mesh_texcoord", "mesh_texcoordadr", "mesh_texcoordnum", "nbuffer", "narena", "ntex")
VERSIONED = ("jax", "brax", "mujoco", "gymnasium", "numpy", "torch", "stable-baselines3")


@functools.lru_cache(maxsize=64)
def _described(env: Environment) -> dict[str, Any]:
    """describe(), once per environment."""
    low, high = env.robot.model.actuator_ctrlrange.T
    return {
        "env": env.name,
        "reward": env.layer,
        "engine": env.recipe[-1],
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
        "task_sha256": declared.digest(env.name),
        "versions": versions(),
    }


def describe(env: Environment) -> dict[str, Any]:
    """Observation and action layout, units, rates and digests of an environment."""
    return {**_described(env)}


def observation_table(env: Environment) -> list[dict[str, Any]]:
    """Name, unit and size of each observation entry, in order."""
    return [
        {"name": o.name, "unit": o.unit, "size": n}
        for o, n in zip(env.mdp.observe, env.observation_sizes, strict=True)
    ]


def mismatches(stored: Mapping[str, Any], env: Environment) -> list[str]:
    """Everything in which a policy's stored contract differs from an environment, in words."""
    found, now = [], describe(env)
    for key in ("env", "reward", "control_hz", "physics_hz", "episode_steps"):
        if stored.get(key) != now[key]:
            found.append(f"{key} {stored.get(key)!r}, now {now[key]!r}")
    if stored.get("task_sha256") != now["task_sha256"] and "task_sha256" in stored:
        found.append("task.yaml or the reward file of its robot was changed since it was imported")
    for key in ("observation", "action"):
        found += _table_mismatches(key, stored.get(key), now[key])
    if stored.get("model_sha256") != now["model_sha256"]:
        found.append(
            f"model {str(stored.get('model_sha256'))[:12]}, now {now['model_sha256'][:12]} (masses,"
            " geometry, limits, gains or solver settings of the compiled model; what an older"
            " version stored differs too, since its digest covered less)"
        )
    return found


def _table_mismatches(kind: str, stored: Any, now: list[dict[str, Any]]) -> list[str]:
    if not isinstance(stored, list) or len(stored) != len(now):
        count = len(stored) if isinstance(stored, list) else "no"
        return [f"{count} {kind} entries, now {len(now)}"]
    pairs = enumerate(zip(stored, now, strict=True))
    return [f"{kind} entry {i} is {a}, now {b}" for i, (a, b) in pairs if a != b]


def _shape_mismatches(policy: Policy, env: Environment) -> list[str]:
    """Where the network's layers fit neither each other nor the observation and the action."""
    net = policy.network
    if not isinstance(net, Network):
        return _size_mismatches(policy, env)
    sizes = [env.observation_size, *(len(b) for b in net.biases[:-1]), env.action_size]
    wanted = [*itertools.pairwise(sizes)]
    found = [tuple(weight.shape) for weight in net.weights]
    ends = [len(bias) for bias in net.biases]
    if found == wanted and ends == sizes[1:] and net.mean.shape == net.std.shape == (sizes[0],):
        return []
    return [
        f"a network for {net.mean.size} observations with weights {found} and biases {ends}, now"
        f" {sizes[0]} observations and {sizes[-1]} actions"
    ]


def _size_mismatches(policy: Policy, env: Environment) -> list[str]:
    """Where a network of another make takes or gives another number of numbers."""
    try:
        action, _ = policy.act(np.zeros(policy.observation_size, np.float32), policy.begin())
    except (ValueError, TypeError, IndexError) as error:
        return [f"a network that cannot be run ({error})"]
    found, wanted = (policy.observation_size, action.size), (env.observation_size, env.action_size)
    if found == wanted:
        return []
    return [
        f"a network for {found[0]} observations and {found[1]} actions, now {wanted[0]}"
        f" observations and {wanted[1]} actions"
    ]


def demand_fit(policy: Policy, env: Environment) -> None:
    """Raises UserError that names everything in which a policy and an environment do not fit."""
    if found := [*mismatches(policy.contract, env), *_shape_mismatches(policy, env)]:
        raise UserError(
            f"the policy's contract does not fit {env.name!r} as it is now: it was stored with "
            + "; ".join(found)
            + ". Train it on the present model, or judge it with the one it was trained on."
        )


def model_digest(model: mujoco.MjModel) -> str:
    """SHA-256 over everything in a compiled model but what only drawing needs.

    Numbers are rounded to nine digits: two processors may compile a model to different last bits.
    """
    parts = [model.names]
    for owner in (model, model.opt):
        for name in sorted(dir(owner)):
            value = None if name.startswith(DRAWN) else getattr(owner, name)
            if isinstance(value, int | float | np.ndarray):
                parts += [name.encode(), _rounded(np.asarray(value))]
    return digest(b"\0".join(parts))


def _rounded(value: np.ndarray) -> bytes:
    if value.dtype.kind not in "fiub":
        return b""
    exact = np.asarray(value, np.float64)
    share, power = np.frexp(np.where(np.isfinite(exact), exact, 0.0))
    rounded = np.rint(share * 2.0**30) * 2.0 ** (power - 30)
    return np.where(np.isfinite(exact), rounded + 0.0, exact).tobytes()


def versions() -> dict[str, str]:
    """The versions a result depends on, and the processor."""
    found = {"robo_rl": robo_rl.__version__, "python": platform.python_version()}
    for name in VERSIONED:
        found[name] = _version(name)
    return found | {"machine": machine(), "processor": processor()}


def machine() -> str:
    """Processor, cores and memory in words."""
    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as stream:
            names = [line.split(":")[1].strip() for line in stream if line.startswith("model name")]
        cpu = names[0] if names else cpu
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (OSError, ValueError):
        return cpu
    return f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GiB"


@functools.cache
def processor() -> str:
    """The vector instructions on which the last bits of a result depend."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    flags = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])
    known = [name for name in ("avx2", "fma", "avx512f") if name in flags]
    limit = re.search(r"xla_cpu_max_isa=(\w+)", os.environ.get("XLA_FLAGS", ""))
    capped = f", JAX limited to {limit[1]}" if limit else ""
    return f"{platform.machine()} {' '.join(known)}".strip() + capped


def _version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError

    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
