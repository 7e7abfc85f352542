"""What a source says about a policy: its mapping, its files, and where each entry was read."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mujoco
import yaml

from robo_rl.errors import UserError

ASSUMED = "assumed"


def is_assumed(said: str) -> bool:
    """Whether an entry was read nowhere."""
    return said.startswith(ASSUMED)


@dataclass
class Source:
    """A policy, its robot and its mapping, as far as a source gives them.

    mapping: as the mapping format has it (policy/mapping.py), not yet checked. said: for each entry
    the file and key it was read from, or "assumed: why".
    """

    kind: str
    mapping: dict[str, Any]
    robot: Path | None = None
    policy: Path | str | None = None
    said: dict[str, str] = field(default_factory=dict)

    def read(self, entry: str, path: Path, key: str) -> None:
        """Note that an entry was read from a key of a file."""
        self.said[entry] = f"{path.name}: {key}"

    def assume(self, entry: str, why: str) -> None:
        """Note that an entry was read nowhere."""
        self.said[entry] = f"{ASSUMED}: {why}"


class Joints:
    """The joints of a robot's model in the two orders that sources count in, and its sensors."""

    def __init__(self, model: mujoco.MjModel):
        kinds = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
        found = [j for j in range(model.njnt) if model.jnt_type[j] in [int(k) for k in kinds]]
        self.in_tree = tuple(model.joint(j).name for j in found)
        driven = []
        for i in range(model.nu):
            if model.actuator_trntype[i] == int(mujoco.mjtTrn.mjTRN_JOINT):
                name = model.joint(int(model.actuator_trnid[i, 0])).name
                if name in self.in_tree and name not in driven:
                    driven.append(name)
        self.driven = tuple(driven)
        self.ranges = {
            model.joint(j).name: tuple(map(float, model.jnt_range[j]))
            for j in found
            if model.jnt_limited[j]
        }
        self.sensors = tuple(model.sensor(i).name for i in range(model.nsensor))
        self.of_motors = tuple(driven) if len(driven) == len(self.in_tree) else self.in_tree
        self.has_motors = bool(driven)


class _Data(yaml.SafeLoader):
    """Safe YAML in which a tag of Python objects is read as the data behind it, never executed."""


def _untagged(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        found = loader.construct_sequence(node, deep=True)
        return None if suffix.endswith("slice") and not any(found) else found
    assert isinstance(node, yaml.MappingNode)
    return loader.construct_mapping(node, deep=True)


_Data.add_multi_constructor("tag:yaml.org,2002:python/", _untagged)
_Data.add_multi_constructor("!", _untagged)


def read_data(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file of somebody else; tags of Python objects are only data.

    Raises UserError for a file that is no YAML mapping.
    """
    try:
        found = yaml.load(path.read_text(), Loader=_Data)  # noqa: S506, a SafeLoader
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: a mapping was expected, found {type(found).__name__}.")
    return found


def need(data: dict[str, Any], key: str, path: Path) -> Any:
    """data[key]; UserError that names the key where the file does not have it."""
    if data.get(key) is None:
        raise UserError(
            f"{path}: {key} is missing: it is needed and said nowhere. Add it, or write a mapping"
            " (robo-rl import --template)."
        )
    return data[key]


def numbers(value: Any, count: int, what: str, path: Path) -> list[float]:
    """A list of `count` numbers; one number stands for all. UserError where it is none."""
    try:
        found = [float(v) for v in value] if isinstance(value, list | tuple) else [float(value)]
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: {what}: numbers were expected, found {value!r}.") from error
    if len(found) == 1:
        found *= count
    if len(found) != count:
        raise UserError(f"{path}: {what}: {len(found)} numbers, {count} were expected.")
    return found


def upwards(beside: Path, relative: str) -> Path | None:
    """The file of that relative path in a folder above `beside`, the nearest one."""
    for folder in beside.resolve().parents:
        if (folder / relative).is_file():
            return folder / relative
    return None
