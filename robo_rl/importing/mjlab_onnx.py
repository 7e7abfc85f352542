"""ONNX files of mjlab: the metadata that its exporter writes beside the network.

Values are separated by commas and rounded to three decimals, parts of one value by semicolons. The
names of observations are those of mjlab's own tasks; which function is behind one, the control rate
and the ranges of commands are not in the file.
"""

from pathlib import Path
from typing import Any

from robo_rl.errors import UserError, suggestion
from robo_rl.importing.deploy_yaml import infer_armature
from robo_rl.importing.source import Joints, Source, numbers

MARK = {"joint_names", "observation_names"}
TERMS = {  # name in mjlab's velocity tasks -> (signal, whether the default is subtracted)
    "base_lin_vel": ("base_linear_velocity", False),
    "base_ang_vel": ("base_angular_velocity", False),
    "projected_gravity": ("gravity_direction", False),
    "joint_pos": ("joint_position", True),
    "joint_pos_rel": ("joint_position", True),
    "joint_vel": ("joint_velocity", False),
    "joint_vel_rel": ("joint_velocity", False),
    "actions": ("last_action", False),
    "last_action": ("last_action", False),
    "command": ("command", False),
    "velocity_commands": ("command", False),
}
SENSORS = {"base_lin_vel": "imu_lin_vel", "base_ang_vel": "imu_ang_vel"}  # that these tasks read
STEP_S = 0.02  # 4 steps of 5 ms, as every task of mjlab has it
KIND = "mjlab ONNX"


def fits(metadata: dict[str, str]) -> bool:
    """Whether metadata of an ONNX file is mjlab's."""
    return bool(MARK & set(metadata))


def read(path: Path, metadata: dict[str, str], joints: Joints) -> Source:
    """What the file says, for a model with these joints.

    Raises UserError where a key is missing, a term is unknown or the numbers do not add up.
    """
    source = Source(KIND, {})
    said = _Metadata(path, metadata)
    every = said.words("joint_names")
    for name in every:
        if name not in joints.in_tree:
            raise UserError(
                f"{path}: joint_names: the model has no joint named {name!r}."
                f"{suggestion(name, joints.in_tree)}"
            )
    stiffness = said.values("joint_stiffness")
    driven = _driven(path, every, len(stiffness), joints)
    damping = said.values("joint_damping", len(driven))
    gains = {
        "stiffness": dict(zip(driven, stiffness, strict=True)),
        "damping": dict(zip(driven, damping, strict=True)),
    }
    control_hz = 1.0 / STEP_S
    if "step_dt" in metadata:
        control_hz = 1.0 / said.values("step_dt", 1)[0]
        source.read("rates.control_hz", path, "step_dt")
    else:
        source.assume("rates.control_hz", f"{control_hz:g} Hz, as every task of mjlab has it")
    source.mapping = {
        "describe": f"read from the metadata of {path.name}, written by mjlab",
        "joints": every,
        "default": said.values("default_joint_pos", len(every)),
        "rates": {"control_hz": control_hz, "integrator": "implicitfast"},
        "start": {"pose": "default"},
        "observation": {"terms": _terms(said, len(every), len(driven), joints, source)},
        "action": {
            "drives": "position",
            "joints": driven,
            "scale": said.values("action_scale", len(driven)),
        },
        "drives": gains,
        "command": {"initial": [0.5, 0.0, 0.0]},
    }
    for entry, key in {
        "joints": "joint_names",
        "default": "default_joint_pos, rounded to three decimals",
        "action.scale": "action_scale, rounded to three decimals",
        "drives.stiffness": "joint_stiffness",
        "drives.damping": "joint_damping",
    }.items():
        source.read(entry, path, key)
    source.assume("action.offset", "the default pose, as mjlab's tasks have it")
    source.assume("rates.integrator", "implicitfast, as mjlab's tasks have it")
    source.assume("command.initial", "0.5 m/s forward: the file has none")
    infer_armature(source, gains)
    return source


class _Metadata:
    """Entries of the metadata as words and numbers."""

    def __init__(self, path: Path, entries: dict[str, str]):
        self.path, self.entries = path, entries

    def words(self, key: str) -> list[str]:
        """The values of an entry; UserError that names it where it is missing."""
        found = self.entries.get(key, "")
        if not found:
            raise UserError(
                f"{self.path}: {key} is missing in its metadata. Write a mapping (robo-rl import"
                " --template)."
            )
        return [word.strip() for word in found.strip("[]").split(",")]

    def values(self, key: str, count: int | None = None) -> list[float]:
        """The numbers of an entry; one stands for all."""
        words = self.words(key)
        return numbers(words, count or len(words), key, self.path)

    def of_terms(self, key: str, count: int) -> list[list[str]]:
        """The parts of each term's value; empty ones where the file is older than the entry."""
        if key not in self.entries:
            return [[]] * count
        found = [word.split(";") for word in self.words(key)]
        if len(found) != count:
            raise UserError(f"{self.path}: {key}: {len(found)} values for {count} terms.")
        return found


def _driven(path: Path, every: list[str], count: int, joints: Joints) -> list[str]:
    if count == len(every):
        return every
    driven = [name for name in every if name in joints.driven]
    if len(driven) != count:
        raise UserError(
            f"{path}: joint_stiffness has {count} values for {len(every)} joints, and the model"
            f" drives {len(driven)} of them: which are meant is said nowhere. Write a mapping"
            " (robo-rl import --template)."
        )
    return driven


def _terms(
    said: _Metadata, every: int, driven: int, joints: Joints, source: Source
) -> list[dict[str, Any]]:
    names = said.words("observation_names")
    scales = said.of_terms("observation_terms_scale", len(names))
    clips = said.of_terms("observation_terms_clip", len(names))
    lengths = said.of_terms("observation_terms_history_length", len(names))
    flat = said.of_terms("observation_terms_flatten_history_dim", len(names))
    sensors = said.of_terms("observation_terms_sensor_name", len(names))
    terms = []
    for k, name in enumerate(names):
        if name not in TERMS:
            raise UserError(
                f"{said.path}: observation_names: no term {name!r} is known."
                f"{suggestion(name, list(TERMS))} Write a mapping for it (robo-rl import"
                " --template)."
            )
        signal, relative = TERMS[name]
        sizes = {"joint_position": every, "joint_velocity": every, "last_action": driven}
        size = sizes.get(signal, 3)
        term: dict[str, Any] = {"signal": signal, "name": name}
        if relative:
            term["minus"] = "default"
        asked = (sensors[k] or [""])[0].rpartition("/")[2] or SENSORS.get(name, "")
        if name in SENSORS and asked in joints.sensors:
            term |= {"signal": "sensor", "sensor": asked}
        if scales[k]:
            term["scale"] = numbers(scales[k], size, "observation_terms_scale", said.path)
        if clips[k] and [float(v) for v in clips[k]] != [float("-inf"), float("inf")]:
            term["clip"] = numbers(clips[k], 2, "observation_terms_clip", said.path)
        term["history"] = max(1, int(float((lengths[k] or ["0"])[0])))
        if term["history"] > 1 and (flat[k] or ["True"])[0] in ("False", "0", "0.000"):
            raise UserError(
                f"{said.path}: observation_terms_flatten_history_dim: {name} has a history that is"
                " not flattened, which is no row of numbers."
            )
        terms.append(term)
        of = f"the sensor {term['sensor']}" if "sensor" in term else f"{signal} of the base"
        source.assume(f"observation {name}", f"{of}: the file has names only")
    source.assume("observation history", "oldest first within each term, filled with the first")
    return terms
