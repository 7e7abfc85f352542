"""unitree_rl_gym and its forks: deploy/deploy_mujoco/configs/ROBOT.yaml.

Observation (deploy_mujoco.py): gyro, gravity direction, command, joint angles minus default, joint
velocities, last action, each scaled, and sine and cosine of a clock of 0.8 s where two more numbers
are declared. Action: targets of PD drives around the default angles, at every physics step.
"""

import re
from pathlib import Path
from typing import Any

from robo_rl.errors import UserError
from robo_rl.importing.source import Joints, Source, need, numbers, upwards

MARK = {"policy_path", "kps", "kds", "default_angles", "num_obs"}
GAIT_PERIOD_S = 0.8  # written in deploy_mujoco.py, in no file


def fits(data: dict[str, Any]) -> bool:
    """Whether a YAML mapping is such a file."""
    return set(data) >= MARK


def files(path: Path, data: dict[str, Any]) -> tuple[Path, Path]:
    """(policy, model) that it names; a folder in braces is found from where the file lies."""
    return _file(path, data, "policy_path"), _file(path, data, "xml_path")


def _file(path: Path, data: dict[str, Any], key: str) -> Path:
    text = str(need(data, key, path))
    relative = re.sub(r"^\{\w+\}/", "", text)
    if relative != text or not Path(text).is_absolute():
        found = upwards(path, relative)
    else:
        found = Path(text) if Path(text).is_file() else None
    if found is None:
        raise UserError(f"{path}: {key}: no file {relative} in any folder above this one.")
    return found


def read(path: Path, data: dict[str, Any], joints: Joints) -> Source:
    """What the file says, for a model with these joints.

    Raises UserError where a key is missing or the numbers do not add up.
    """
    count = int(need(data, "num_actions", path))
    names = joints.in_tree
    if len(names) != count:
        raise UserError(
            f"{path}: num_actions is {count} and the model has {len(names)} joints"
            f" ({', '.join(names)}): which is which is said nowhere. Write a mapping"
            " (robo-rl import --template)."
        )
    source = Source("unitree_rl_gym", {})
    default = numbers(need(data, "default_angles", path), count, "default_angles", path)
    step_s, steps = float(need(data, "simulation_dt", path)), need(data, "control_decimation", path)
    control_hz = 1.0 / (step_s * int(steps))
    plain = 9 + 3 * count
    declared = int(need(data, "num_obs", path))
    if declared == plain + 3:
        raise UserError(
            f"{path}: num_obs is {declared}, three more than gyro, gravity, command and {count}"
            " angles, velocities and actions: a base velocity? Its place and frame are not said."
            " Write a mapping (robo-rl import --template)."
        )
    if declared not in (plain, plain + 2):
        raise UserError(
            f"{path}: num_obs is {declared}; gyro, gravity, command, {count} angles, velocities and"
            f" actions are {plain}, with a gait clock {plain + 2}. Write a mapping for another"
            " observation (robo-rl import --template)."
        )
    terms: list[dict[str, Any]] = [
        {"signal": "base_angular_velocity", "scale": float(data.get("ang_vel_scale", 1.0))},
        {"signal": "gravity_direction"},
        {"signal": "command", "scale": numbers(data.get("cmd_scale", 1), 3, "cmd_scale", path)},
        {
            "signal": "joint_position",
            "minus": "default",
            "scale": float(data.get("dof_pos_scale", 1.0)),
        },
        {"signal": "joint_velocity", "scale": float(data.get("dof_vel_scale", 1.0))},
        {"signal": "last_action"},
    ]
    if declared > plain:
        period_s = float(data.get("gait_period", data.get("period", GAIT_PERIOD_S)))
        waves = [{"function": "sin"}, {"function": "cos"}]
        phase = 1.0 / control_hz / period_s  # the loop counts its first step before it observes
        clock = {"signal": "clock", "period_s": period_s, "phase": phase, "waves": waves}
        terms.append(clock)
        source.assume("gait clock", f"{period_s:g} s, as deploy_mujoco.py of this family has it")
    source.mapping = {
        "describe": f"read from {path.name} of the unitree_rl_gym family",
        "joints": list(names),
        "default": default,
        "rates": {"control_hz": control_hz, "physics_hz": 1.0 / step_s},
        "start": {"pose": "model", "hold_s": 1.0 / control_hz},
        "observation": {"terms": terms},
        "action": {"drives": "position", "scale": float(data.get("action_scale", 1.0))},
        "drives": {
            "stiffness": numbers(need(data, "kps", path), count, "kps", path),
            "damping": numbers(need(data, "kds", path), count, "kds", path),
        },
        "command": {"initial": numbers(need(data, "cmd_init", path), 3, "cmd_init", path)},
    }
    _say(source, path, data)
    _assume(source, joints)
    return source


KEYS = {  # entry of the mapping -> keys of the file
    "default": "default_angles",
    "rates": "simulation_dt, control_decimation",
    "scale of base_angular_velocity": "ang_vel_scale",
    "scale of joint_position": "dof_pos_scale",
    "scale of joint_velocity": "dof_vel_scale",
    "scale of command": "cmd_scale",
    "action.scale": "action_scale",
    "drives.stiffness": "kps",
    "drives.damping": "kds",
    "command.initial": "cmd_init",
}


def _say(source: Source, path: Path, data: dict[str, Any]) -> None:
    """Notes where each entry was read, and what the file does not say."""
    for entry, key in KEYS.items():
        if all(word in data for word in key.split(", ")):
            source.read(entry, path, key)
        else:
            source.assume(entry, "1, the file does not say it")


def _assume(source: Source, joints: Joints) -> None:
    """Notes what deploy_mujoco.py of this family does and no file says."""
    names = joints.in_tree
    order = "gyro, gravity, command, joint angles, joint velocities, last action"
    source.assume("observation order", f"{order}, as deploy_mujoco.py of this family has it")
    source.assume("joints", "the model's own order, as deploy_mujoco.py reads qpos[7:]")
    if joints.of_motors != names:
        source.assume(
            "order of the motors",
            "the model's actuators are in another order than its joints: each torque goes to the"
            " joint it was computed for, while deploy_mujoco.py writes them by number",
        )
    source.assume(
        "start",
        "the model's zero pose, then one control period at the default angles, as deploy_mujoco.py"
        " starts",
    )
