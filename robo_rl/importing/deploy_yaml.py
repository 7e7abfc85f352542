"""unitree_rl_lab and unitree_rl_mjlab: deploy.yaml, what Isaac Lab's managers were configured with.

Lists of the observation and action are in the policy's order of joints; stiffness and damping are
in that of the motors; joint_ids_map gives for each joint of the policy its motor. The controller of
these projects hands on its raw output as last_action and clips targets after scale and offset; it
keeps the past of each term oldest first and fills it with the first value, and stacks whole frames
where use_gym_history says so.
"""

import math
from pathlib import Path
from typing import Any

from robo_rl.errors import UserError, suggestion
from robo_rl.importing.source import Joints, Source, need, numbers

MARK = {"joint_ids_map", "observations", "actions", "step_dt"}
TERMS = {  # term -> (signal, whether the default pose is subtracted)
    "base_lin_vel": ("base_linear_velocity", False),
    "base_ang_vel": ("base_angular_velocity", False),
    "projected_gravity": ("gravity_direction", False),
    "velocity_commands": ("command", False),
    "velocity_command": ("command", False),
    "command": ("command", False),
    "generated_commands": ("command", False),
    "keyboard_velocity_commands": ("command", False),
    "joint_pos_rel": ("joint_position", True),
    "joint_pos": ("joint_position", False),
    "joint_vel_rel": ("joint_velocity", False),
    "joint_vel": ("joint_velocity", False),
    "last_actions": ("last_action", False),
    "last_action": ("last_action", False),
    "actions": ("last_action", False),
    "gait_phase": ("clock", False),
}
ACTIONS = {
    "JointPositionAction": "position",
    "JointVelocityAction": "velocity",
    "JointEffortAction": "torque",
}
NATURAL_RADPS = 2 * math.pi * 10.0  # mjlab sets stiffness = armature (2 pi 10 Hz)^2
DAMPING_RATIO = 2.0  # and damping = 2 ratio armature (2 pi 10 Hz)


def fits(data: dict[str, Any]) -> bool:
    """Whether a YAML mapping is such a file."""
    return set(data) >= MARK


def read(path: Path, data: dict[str, Any], joints: Joints) -> Source:
    """What the file says, for a model with these joints.

    Raises UserError where a key is missing, a term is unknown or the numbers do not add up.
    """
    source = Source("deploy.yaml", {})
    motors = joints.of_motors
    to_motor = _motors(path, data, motors, source)
    names = [motors[i] for i in to_motor]
    others = [name for name in motors if name not in names]
    count = len(names)
    step_s = float(need(data, "step_dt", path))
    default = numbers(need(data, "default_joint_pos", path), count, "default_joint_pos", path)
    gains = {
        key: numbers(need(data, key, path), len(motors), key, path)
        for key in ("stiffness", "damping")
    }
    by_name = {
        key: {motors[i]: values[i] for i in range(len(motors))} for key, values in gains.items()
    }
    action, drives = _action(path, data, names, source)
    source.mapping = {
        "describe": f"read from {path.name} of the unitree_rl_lab family",
        "joints": [*names, *others],
        "default": [*default, *(0.0 for _ in others)],
        "hold": dict.fromkeys(others, 0.0),
        "rates": {"control_hz": 1.0 / step_s, "integrator": "implicitfast"},
        "start": {"pose": "default"},
        "observation": _observation(path, data, names, step_s, source),
        "action": {"drives": drives, **action},
        "drives": by_name,
        "command": _command(path, data, source),
    }
    source.read("joints", path, "joint_ids_map")
    if others:
        source.assume("joints beside the policy", f"{', '.join(others)} held at 0 with their gains")
    order = "the model's actuators" if joints.has_motors else "the joints in the model's tree"
    source.assume("order of the motors", f"that of {order}")
    source.read("default", path, "default_joint_pos")
    source.read("rates.control_hz", path, "step_dt")
    source.assume("rates.integrator", "implicitfast: gains act as implicit drives, as in training")
    source.read("drives.stiffness", path, "stiffness, in the order of the motors")
    source.read("drives.damping", path, "damping, in the order of the motors")
    infer_armature(source, by_name)
    return source


def _motors(path: Path, data: dict[str, Any], motors: tuple[str, ...], source: Source) -> list[int]:
    """For each joint of the policy its place among the motors of the model."""
    numbered = [int(i) for i in need(data, "joint_ids_map", path)]
    sound = numbered and len(set(numbered)) == len(numbered) and min(numbered) >= 0
    if sound and max(numbered) < len(motors):
        return numbered
    if sound and len(numbered) == len(motors):  # a robot with fewer motors than its family
        source.assume(
            "numbers of the motors",
            f"motors {sorted(numbered)} are the {len(motors)} of the model in its order: the"
            " numbers have gaps",
        )
        return [sorted(numbered).index(i) for i in numbered]
    raise UserError(
        f"{path}: joint_ids_map names motors {numbered} and the model has {len(motors)}"
        f" ({', '.join(motors)})."
    )


def infer_armature(source: Source, gains: dict[str, dict[str, float]]) -> None:
    """The rotor inertia behind gains that were chosen by mjlab's rule, where they were."""
    stiffness, damping = gains["stiffness"], gains["damping"]
    expected = {n: 2 * DAMPING_RATIO * k / NATURAL_RADPS for n, k in stiffness.items()}
    if all(k > 0 and abs(damping[n] - expected[n]) <= 0.06 for n, k in stiffness.items()):
        source.mapping["inferred_armature"] = {
            n: k / NATURAL_RADPS**2 for n, k in stiffness.items()
        }
        source.assume(
            "drives.armature",
            "stiffness / (2 pi 10 Hz)^2 where the model has none: damping is 4 stiffness /"
            " (2 pi 10 Hz) in every joint, so the gains follow mjlab's rule for a known armature."
            " Set on the compiled model, so that contacts stay as stiff as the file has them",
        )


def _action(
    path: Path, data: dict[str, Any], names: list[str], source: Source
) -> tuple[dict[str, Any], str]:
    actions = need(data, "actions", path)
    kinds = [kind for kind in actions if kind in ACTIONS]
    if len(kinds) != 1 or len(actions) != 1:
        raise UserError(
            f"{path}: actions: exactly one of {', '.join(ACTIONS)} was expected, found"
            f" {', '.join(actions)}."
        )
    found, key = actions[kinds[0]], f"actions.{kinds[0]}"
    ids = found.get("joint_ids")
    driven = [names[int(i)] for i in ids] if isinstance(ids, list) and ids else names
    made: dict[str, Any] = {"joints": driven}
    for entry in ("scale", "offset"):
        if found.get(entry) is not None:
            made[entry] = numbers(found[entry], len(driven), f"{key}.{entry}", path)
            source.read(f"action.{entry}", path, f"{key}.{entry}")
    if (clip := found.get("clip")) is not None:
        made["limits"] = _pairs(clip, path, f"{key}.clip")
        source.read("action.limits", path, f"{key}.clip, of targets")
    return made, ACTIONS[kinds[0]]


def _pairs(clip: Any, path: Path, key: str) -> list[Any]:
    """One pair or a pair per number."""
    try:
        if isinstance(clip[0], list):
            return [[float(low), float(high)] for low, high in clip]
        low, high = clip
        return [float(low), float(high)]
    except (TypeError, ValueError, KeyError) as error:
        raise UserError(f"{path}: {key}: pairs of numbers were expected: {clip!r}.") from error


def _observation(
    path: Path, data: dict[str, Any], names: list[str], step_s: float, source: Source
) -> dict[str, Any]:
    listed = need(data, "observations", path)
    switches = [word for word in SWITCHES if isinstance(listed.get(word), bool)]
    groups = {k: v for k, v in listed.items() if k not in SWITCHES}
    if groups and all(
        isinstance(v, dict) and "scale" not in v and "params" not in v for v in groups.values()
    ):
        if len(groups) != 1 and not any(k in groups for k in GROUPS):
            raise UserError(f"{path}: observations: groups {list(groups)}; `policy` was expected.")
        chosen = next((k for k in GROUPS if k in groups), next(iter(groups)))
        listed = {**{k: listed[k] for k in switches}, **groups[chosen]}
    scale_first = bool(listed.get("scale_first", False))
    terms = [
        _term(path, name, said or {}, names, step_s, scale_first)
        for name, said in listed.items()
        if name not in SWITCHES
    ]
    for name in listed:
        source.read(f"observation {name}", path, f"observations.{name}")
    made: dict[str, Any] = {"terms": terms}
    stacked = next((k for k in ("use_gym_history", "gym_history") if listed.get(k)), None)
    if stacked:
        lengths = {term.pop("history") for term in terms}
        if len(lengths) != 1:
            raise UserError(f"{path}: observations.{stacked}: history_length differs by term.")
        made |= {"history": lengths.pop(), "stacked": "whole"}
    within = "whole frames, oldest first" if stacked else "oldest first within each term"
    source.assume("observation history", f"{within}, filled with the first")
    return made


SWITCHES = ("use_gym_history", "gym_history", "scale_first")  # beside the terms
GROUPS = ("policy", "obs", "actor")  # names of what the policy sees


def _term(
    path: Path,
    name: str,
    said: dict[str, Any],
    names: list[str],
    step_s: float,
    scale_first: bool,
) -> dict[str, Any]:
    if name not in TERMS:
        raise UserError(
            f"{path}: observations: no term {name!r} is known.{suggestion(name, list(TERMS))}"
            " Write a mapping for it (robo-rl import --template)."
        )
    key, parameters = f"observations.{name}", said.get("params") or {}
    signal, relative = TERMS[name]
    term: dict[str, Any] = {"signal": signal, "name": name}
    size = {"last_action": len(names), "clock": 2}.get(signal, 3)
    if signal.startswith("joint"):
        ids = (parameters.get("asset_cfg") or {}).get("joint_ids")
        if isinstance(ids, list):
            if any(not 0 <= int(i) < len(names) for i in ids):
                raise UserError(f"{path}: {key}.params.asset_cfg.joint_ids: {ids} of {len(names)}.")
            term["joints"] = [names[int(i)] for i in ids]
        else:
            term["joints"] = names
        size = len(term["joints"])
    if relative:
        term["minus"] = "default"
    if signal == "clock":
        period_s = float(need(parameters, "period", path))
        term |= {
            "period_s": period_s,
            "phase": step_s / period_s,
            "waves": [{"function": "sin"}, {"function": "cos"}],
        }
    if said.get("scale") is not None:
        term["scale"] = numbers(said["scale"], size, f"{key}.scale", path)
    if said.get("clip") is not None:
        term["clip"] = _clip(path, key, said["clip"], term.get("scale"), scale_first)
    term["history"] = max(1, int(said.get("history_length") or 1))
    return term


def _clip(
    path: Path, key: str, clip: Any, scale: list[float] | None, scale_first: bool
) -> list[float]:
    """Between which values a term is kept before its scale."""
    low, high = numbers(clip, 2, f"{key}.clip", path)
    if not scale_first or scale is None:
        return [low, high]
    if len(set(scale)) != 1 or scale[0] <= 0:
        raise UserError(f"{path}: {key}: clipped after scales that differ: write a mapping.")
    return [low / scale[0], high / scale[0]]


def _command(path: Path, data: dict[str, Any], source: Source) -> dict[str, Any]:
    ranges = ((data.get("commands") or {}).get("base_velocity") or {}).get("ranges") or {}
    found: dict[str, Any] = {}
    for ours, theirs in (
        ("forward_mps", "lin_vel_x"),
        ("sideways_mps", "lin_vel_y"),
        ("turn_radps", "ang_vel_z"),
    ):
        if ranges.get(theirs) is not None:
            found[ours] = numbers(ranges[theirs], 2, theirs, path)
            source.read(f"command.{ours}", path, f"commands.base_velocity.ranges.{theirs}")
    ahead = max(0.0, found.get("forward_mps", [0.0, 1.0])[1])
    found["initial"] = [min(0.5, ahead), 0.0, 0.0]
    source.assume("command.initial", f"{found['initial'][0]:g} m/s forward: the file has none")
    return found
