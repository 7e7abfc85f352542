"""`robo-rl import`: a run folder of somebody else's policy, for every study to take."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from robo_rl import content, files
from robo_rl.envs.step import Environment, make
from robo_rl.envs.tasks import declared
from robo_rl.errors import UserError
from robo_rl.importing import robot as robots
from robo_rl.importing.reading import Asked, Gathered, gather, read_policy
from robo_rl.importing.source import Source
from robo_rl.policy import contract
from robo_rl.policy.compiling import compile_mapping
from robo_rl.policy.mapping import Mapping, default_pose
from robo_rl.policy.networks import begin
from robo_rl.policy.stored import AnyNetwork, Policy, Wired, load_policy, save_policy
from robo_rl.robots.published import Published


class Imported(NamedTuple):
    """What was imported: the run, its policy on its robot, and where each entry came from."""

    out: Path
    policy: Policy
    env: Environment
    source: Source
    mapping: Mapping
    warnings: tuple[str, ...]
    assumed: tuple[str, ...]  # of the robot


def import_policy(asked: Asked) -> Imported:
    """Reads a source and writes its run folder; whole, or not at all.

    Raises UserError for what is missing, unknown or does not fit, and where `out` holds a run.
    """
    if (asked.out / "policy").exists() or (asked.out / "config.yaml").exists():
        raise UserError(f"out={asked.out}: already holds a run; name another folder.")
    if asked.out.exists() and (not asked.out.is_dir() or any(asked.out.iterdir())):
        raise UserError(f"out={asked.out}: is there and not empty; name another folder.")
    gathered = gather(asked)
    with files.replacing_folder(asked.out) as folder:
        made = _write(folder, gathered, trust=asked.trust)
    policy = load_policy(asked.out)
    env = make(str(policy.contract["env"]), str(policy.contract["reward"]))
    published = gathered.published
    return Imported(
        asked.out,
        policy,
        env,
        gathered.source,
        made,
        published.warnings if published else (),
        published.assumed if published else (),
    )


def _write(folder: Path, gathered: Gathered, *, trust: bool) -> Mapping:
    mapping = gathered.mapping
    if mapping.environment is not None:
        env = make(mapping.environment, mapping.reward)
        network = _network(gathered, env.observation_size, env.action_size, trust=trust)
        said = contract.describe(env) | {"imported": _summary(gathered)}
        save_policy(folder / "policy", network, said)
        return mapping
    published = gathered.published
    assert published
    place = folder / content.ROBOT
    built = robots.build(place, _stem(published), published, mapping, gathered.source)
    content.open_run(folder)
    try:
        env = make(built.name, mapping.reward)
        wired = wire(mapping, env, built.actuators)
        size, outputs = len(wired.wiring.place), len(mapping.driven)
        network = _network(gathered, size, outputs, trust=trust)
        said = contract.describe(env) | {
            "mapping": mapping.model_dump(mode="json", exclude_defaults=True),
            "deploy": deployment(mapping, built),
            "imported": _summary(gathered),
        }
        save_policy(folder / "policy", network, said, wired)
    finally:
        content.close_run(folder)
    return mapping


def _stem(published: Published) -> str:
    """What to call the robot: its model's file, or the model's own name behind a scene."""
    stem = Path(published.main).stem
    own = str(published.spec.modelname)
    return own if stem.startswith("scene") and own not in ("", "MuJoCo Model") else stem


def wire(mapping: Mapping, env: Environment, actuators: tuple[robots.Actuator, ...]) -> Wired:
    """The mapping compiled against the environment of its robot."""
    robot = env.robot
    frame = tuple(
        (entry.name, size)
        for entry, size in zip(env.mdp.observe, env.observation_sizes, strict=True)
    )
    return compile_mapping(
        mapping,
        robot.model,
        robot.base_body,
        frame,
        declared.joint_names(robot),
        actuators,
        env.control_s,
    )


def _network(gathered: Gathered, size: int, outputs: int, *, trust: bool) -> AnyNetwork:
    """The policy's network; UserError where it takes or gives another number of numbers."""
    network = read_policy(gathered, size, outputs, trust=trust)
    found = network.observation_size
    if found != size:
        raise UserError(
            f"the network takes {found} numbers and the observation has {size}: a term, its history"
            " or a joint is missing or too many."
        )
    program = network.program
    zeros = np.zeros((1, size), np.float32)
    given, _ = program.act(np, network.parameters, begin(np, program, (1,)), zeros)
    if np.shape(given) != (1, outputs):
        raise UserError(
            f"the network gives {np.shape(given)[-1]} numbers and {outputs} joints are driven."
        )
    return network


def deployment(mapping: Mapping, built: robots.Built) -> dict[str, Any]:
    """What a real robot's controller needs beside the network; units in the keys."""
    drives = {d["joint"]: d for d in built.robot["drives"]}
    pose = default_pose(mapping)
    assert mapping.rates

    def listed(key: str) -> list[float | None]:
        return [drives[j].get(key) if j in drives else None for j in mapping.driven]

    return {
        "control_hz": mapping.rates.control_hz,
        "joints": list(mapping.driven),
        "joints_of_the_robot": list(built.joints),
        "actuators_of_the_robot": [a.joint for a in built.actuators],
        "drives": mapping.action.drives,
        "default_rad": [pose.get(j, 0.0) for j in mapping.driven],
        "stiffness_nm_per_rad": listed("stiffness"),
        "damping_nms_per_rad": listed("damping"),
        "torque_limit_nm": listed("limit"),
        "frames": "quaternions w, x, y, z; base velocities as the mapping says; angles in rad",
    }


def _summary(gathered: Gathered) -> dict[str, Any]:
    return {"kind": gathered.source.kind, "from": dict(gathered.source.said)}
