"""Isaac Lab's IO_descriptors.yaml: what its managers and the articulation were set to.

Lists of the articulation are in its own order of joints, those of a term in the order of its
joint_names. Targets are clipped after scale and offset, and last_action is the raw output.
"""

from pathlib import Path
from typing import Any

from robo_rl.errors import UserError, suggestion
from robo_rl.importing.source import Joints, Source, need, numbers

MARK = {"actions", "articulations", "observations", "scene"}
TERMS = {  # function of Isaac Lab -> signal
    "base_lin_vel": "base_linear_velocity",
    "base_ang_vel": "base_angular_velocity",
    "projected_gravity": "gravity_direction",
    "joint_pos": "joint_position",
    "joint_pos_rel": "joint_position",
    "joint_vel": "joint_velocity",
    "joint_vel_rel": "joint_velocity",
    "last_action": "last_action",
    "base_pos_z": "base_height",
}
COMMAND = "Command"  # observation_type of a term that hands on a command
ACTIONS = {
    "JointPositionAction": "position",
    "JointVelocityAction": "velocity",
    "JointEffortAction": "torque",
}
LISTS = {  # of the articulation -> of the drives
    "default_joint_stiffness": "stiffness",
    "default_joint_damping": "damping",
    "default_joint_armature": "armature",
    "default_joint_friction": "friction",
}


def fits(data: dict[str, Any]) -> bool:
    """Whether a YAML mapping is such a file."""
    return set(data) >= MARK


def read(path: Path, data: dict[str, Any], joints: Joints) -> Source:
    """What the file says, for a model with these joints.

    Raises UserError where a key is missing, a term is unknown or the numbers do not add up.
    """
    source = Source("IO_descriptors.yaml", {})
    body, where = _articulation(path, data)
    names = [str(name) for name in need(body, "joint_names", path)]
    for name in names:
        if name not in joints.in_tree:
            close = suggestion(name, joints.in_tree)
            raise UserError(
                f"{path}: {where}.joint_names: the model has no joint named {name!r}.{close}"
            )
    key = f"{where}.default_joint_pos"
    stand = numbers(need(body, "default_joint_pos", path), len(names), key, path)
    source.read("default", path, key)
    action, kind = _action(path, data, names, source)
    driven = action["joints"]
    drives = _drives(path, body, where, names, source)
    if kind == "position" and not any(drives["stiffness"][name] for name in driven):
        raise UserError(
            f"{path}: {where}.default_joint_stiffness is 0 in every driven joint: the gains are"
            " those of an explicit actuator, which this file does not say. Write a mapping"
            " (robo-rl import --template)."
        )
    scene = need(data, "scene", path)
    source.mapping = {
        "describe": f"read from {path.name} of Isaac Lab",
        "joints": names,
        "default": stand,
        "hold": {n: at for n, at in zip(names, stand, strict=True) if n not in driven},
        "rates": {
            "control_hz": 1.0 / _positive(path, scene, "dt"),
            "physics_hz": 1.0 / _positive(path, scene, "physics_dt"),
            "integrator": "implicitfast",
        },
        "start": {"pose": "default"},
        "observation": {"terms": _terms(path, data, names, driven, source)},
        "action": {"drives": kind, **action},
        "drives": drives,
        "command": {"initial": [0.5, 0.0, 0.0]},
    }
    source.read("rates.control_hz", path, "scene.dt")
    source.read("rates.physics_hz", path, "scene.physics_dt")
    source.assume("rates.integrator", "implicitfast: gains act as implicit drives, as in PhysX")
    if source.mapping["hold"]:
        source.assume("joints beside the action", "held at default_joint_pos with their gains")
    source.assume("command.initial", "0.5 m/s forward: the file has none")
    source.assume("drives.limit", "the model's own: the file has no torque limits")
    source.assume("drives.friction", "a torque in N m, as the model has it; old PhysX scales it")
    _compare_limits(body, names, joints, source)
    return source


def _positive(path: Path, scene: dict[str, Any], key: str) -> float:
    (found,) = numbers(need(scene, key, path), 1, f"scene.{key}", path)
    if not found > 0:
        raise UserError(f"{path}: scene.{key}: {found:g} is no duration.")
    return found


def _articulation(path: Path, data: dict[str, Any]) -> tuple[dict[str, Any], str]:
    listed = need(data, "articulations", path)
    if "robot" not in listed and len(listed) != 1:
        raise UserError(f"{path}: articulations: {list(listed)}; `robot` was expected.")
    name = "robot" if "robot" in listed else next(iter(listed))
    return listed[name], f"articulations.{name}"


def _drives(
    path: Path, body: dict[str, Any], where: str, names: list[str], source: Source
) -> dict[str, dict[str, float]]:
    found = {}
    for theirs, ours in LISTS.items():
        given = numbers(need(body, theirs, path), len(names), f"{where}.{theirs}", path)
        found[ours] = dict(zip(names, given, strict=True))
        source.read(f"drives.{ours}", path, f"{where}.{theirs}")
    return found


def _action(
    path: Path, data: dict[str, Any], names: list[str], source: Source
) -> tuple[dict[str, Any], str]:
    listed = need(data, "actions", path)
    if len(listed) != 1:
        raise UserError(f"{path}: actions: one term was expected, found {len(listed)}.")
    found = listed[0]
    word = str(need(found, "full_path", path)).rpartition(".")[2]
    if word not in ACTIONS:
        raise UserError(f"{path}: actions: one of {', '.join(ACTIONS)} was expected, found {word}.")
    driven = _names(path, found, names, "actions.joint_names")
    made: dict[str, Any] = {"joints": driven}
    for key in ("scale", "offset"):
        given = need(found, key, path)
        made[key] = numbers(given, len(driven), f"actions.{key}", path)
        source.read(f"action.{key}", path, f"actions.{key}")
    if found.get("clip") is not None:
        made["limits"] = [
            numbers(pair, 2, "actions.clip", path) for pair in _pairs(found["clip"], len(driven))
        ]
        source.read("action.limits", path, "actions.clip, of targets")
    source.read("action.joints", path, "actions.joint_names")
    source.read("action.drives", path, "actions.full_path")
    return made, ACTIONS[word]


def _pairs(clip: Any, count: int) -> list[Any]:
    one = isinstance(clip, list) and len(clip) == 2 and not isinstance(clip[0], list)
    return [clip] * count if one else list(clip)


def _names(path: Path, said: dict[str, Any], names: list[str], key: str) -> list[str]:
    found = [str(name) for name in need(said, "joint_names", path)]
    for name in found:
        if name not in names:
            raise UserError(
                f"{path}: {key}: no joint of the articulation is named {name!r}."
                f"{suggestion(name, names)}"
            )
    return found


def _terms(
    path: Path, data: dict[str, Any], names: list[str], driven: list[str], source: Source
) -> list[dict[str, Any]]:
    groups = need(data, "observations", path)
    if "policy" not in groups and len(groups) != 1:
        raise UserError(f"{path}: observations: groups {list(groups)}; `policy` was expected.")
    group = "policy" if "policy" in groups else next(iter(groups))
    terms = []
    for said in groups[group]:
        name = str(need(said, "name", path))
        terms.append(_term(path, said, f"observations.{group}.{name}", names, driven))
        source.read(f"observation {name}", path, f"observations.{group}.{name}")
        if terms[-1]["signal"] == "command":
            source.assume(f"meaning of {name}", "forward m/s, sideways m/s, yaw rate rad/s")
    source.assume("observation history", "oldest first within each term, filled with the first")
    return terms


def _term(
    path: Path, said: dict[str, Any], key: str, names: list[str], driven: list[str]
) -> dict[str, Any]:
    word = str(need(said, "full_path", path)).rpartition(".")[2]
    command = said.get("observation_type") == COMMAND
    if word not in TERMS and not command:
        raise UserError(
            f"{path}: {key}: no function {word!r} is known.{suggestion(word, list(TERMS))} Write a"
            " mapping for it (robo-rl import --template)."
        )
    if (said.get("extras") or {}).get("modifiers"):
        raise UserError(f"{path}: {key}.extras.modifiers: what they do this file does not say.")
    signal = "command" if command else TERMS[word]
    term: dict[str, Any] = {"signal": signal, "name": str(said["name"])}
    size = {"last_action": len(driven), "base_height": 1}.get(signal, 3)
    if signal.startswith("joint"):
        term["joints"] = _names(path, said, names, f"{key}.joint_names")
        size = len(term["joints"])
        offsets = {"joint_pos_rel": "joint_pos_offsets", "joint_vel_rel": "joint_vel_offsets"}
        if word in offsets:
            minus = numbers(need(said, offsets[word], path), size, f"{key}.{offsets[word]}", path)
            if word == "joint_pos_rel":
                term["minus"] = minus
            elif any(minus):
                raise UserError(f"{path}: {key}.joint_vel_offsets: zeros were expected.")
    shape = need(said, "shape", path)
    if list(shape) != [size]:
        raise UserError(f"{path}: {key}.shape: {list(shape)}; [{size}] was expected.")
    overloads = said.get("overloads") or {}
    if overloads.get("scale") is not None:
        term["scale"] = numbers(overloads["scale"], size, f"{key}.overloads.scale", path)
    if overloads.get("clip") is not None:
        term["clip"] = numbers(overloads["clip"], 2, f"{key}.overloads.clip", path)
    term["history"] = max(1, int(overloads.get("history_length") or 1))
    if term["history"] > 1 and overloads.get("flatten_history_dim") is False:
        raise UserError(f"{path}: {key}: a history that is not flattened is no row of numbers.")
    return term


def _compare_limits(body: dict[str, Any], names: list[str], joints: Joints, source: Source) -> None:
    """Says where joints have other ranges than in the model, which keeps its own."""
    given = body.get("default_joint_pos_limits") or []
    other = [
        name
        for name, pair in zip(names, given, strict=False)
        if name in joints.ranges
        and max(abs(float(a) - b) for a, b in zip(pair, joints.ranges[name], strict=True)) > 0.01
    ]
    said = f"; the file has others for {', '.join(other)}" if other else ""
    source.assume("ranges of joints", f"the model's own{said}")
