"""From what a user has to a Source: which file it is, what it says, and what goes with it."""

import zipfile
from collections.abc import Mapping as Table
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from robo_rl import content
from robo_rl.errors import UserError
from robo_rl.importing import deploy_yaml, io_descriptors, mjlab_onnx, unitree_gym
from robo_rl.importing.source import Joints, Source, read_data
from robo_rl.policy import external
from robo_rl.policy.external import External, ExternalProgram, load_function, takes_state
from robo_rl.policy.mapping import FORMAT, Mapping
from robo_rl.policy.networks import Graph
from robo_rl.policy.readers import brax, onnx, rsl_rl, sb3, torch_export, torch_files
from robo_rl.policy.stored import AnyNetwork
from robo_rl.robots.published import Base, Published, read_published

YAML = (".yaml", ".yml")
LARGEST = 2**31  # bytes of an unpacked archive: more is no policy


class Asked(NamedTuple):
    """What `robo-rl import` was asked."""

    source: str
    out: Path
    robot: Path | None = None
    policy: str | None = None
    mapping: Path | None = None
    golden: Path | None = None
    base: Base | None = None
    env: str | None = None
    reward: str | None = None
    command: Table[str, Any] = {}
    trust: bool = False


class Gathered(NamedTuple):
    """Everything that makes a run: checked, and nothing of it written yet."""

    source: Source
    mapping: Mapping
    published: Published | None  # None for an environment of the suite
    policy: str  # file, or module:function


def gather(asked: Asked) -> Gathered:
    """Reads the source and what goes with it.

    Raises UserError for what is missing, unknown or does not add up.
    """
    try:
        return _gather(asked)
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise UserError(
            f"{asked.source}: a value in it is of the wrong kind: {type(error).__name__}: {error}."
        ) from error


def _gather(asked: Asked) -> Gathered:
    path = Path(asked.source)
    if path.suffix in YAML and path.is_file():
        return _from_yaml(asked, path)
    if asked.mapping is None and asked.env is None:
        if path.suffix.lower() == ".onnx" and path.is_file():
            metadata = onnx.metadata(path)
            if mjlab_onnx.fits(metadata):
                return _from_metadata(asked, path, metadata)
        raise UserError(
            f"import {asked.source}: how this policy is wired to its robot is said nowhere: give"
            " mapping=FILE (robo-rl import --template writes one to fill in), or env=NAME where it"
            " was trained on an environment of the suite."
        )
    mapping_path = asked.mapping
    if mapping_path is None:
        source = Source("policy", {"environment": asked.env, "reward": asked.reward or "task"})
        source.said["environment"] = "as asked"
    else:
        source = _own_mapping(mapping_path)
    source.policy = asked.policy or asked.source
    return _complete(asked, source)


def _from_yaml(asked: Asked, path: Path) -> Gathered:
    data = read_data(path)
    if data.get("format") == FORMAT or "observation" in data:
        return _complete(asked, _own_mapping(path))
    if unitree_gym.fits(data):
        policy, model = unitree_gym.files(path, data)
        robot = asked.robot or model
        published = read_published(robot, asked.base)
        source = unitree_gym.read(path, data, Joints(published.model))
        source.read("robot", path, "xml_path")
        source.robot, source.policy = robot, asked.policy or policy
        return _complete(asked, source, published)
    for reader in (deploy_yaml, io_descriptors):
        if reader.fits(data):
            robot = _needed(asked.robot, "robot=MJCF|URDF", path)
            published = read_published(robot, asked.base)
            source = reader.read(path, data, Joints(published.model))
            source.robot, source.policy = robot, asked.policy
            return _complete(asked, source, published)
    raise UserError(
        f"{path}: no deployment file that is known: neither the config of unitree_rl_gym"
        " (policy_path, kps, ...), nor the deploy.yaml of unitree_rl_lab (joint_ids_map,"
        " observations, ...), nor Isaac Lab's IO_descriptors.yaml (articulations, actions, ...),"
        f" nor a mapping (format: {FORMAT})."
    )


def _from_metadata(asked: Asked, path: Path, metadata: dict[str, str]) -> Gathered:
    robot = _needed(asked.robot, "robot=MJCF|URDF", path)
    published = read_published(robot, asked.base)
    source = mjlab_onnx.read(path, metadata, Joints(published.model))
    source.robot, source.policy = robot, asked.policy or str(path)
    return _complete(asked, source, published)


def _needed(given: Any, word: str, path: Path | str) -> Path:
    if given is None:
        raise UserError(f"{path}: {word} is needed: this file does not say it.")
    return Path(given)


def _own_mapping(path: Path) -> Source:
    """A mapping file of ours; its robot and policy may be named in it, relative to it."""
    data = dict(content.read_yaml(path))
    source = Source("mapping", {})
    for key in ("robot", "policy"):
        if (named := data.pop(key, None)) is not None:
            text = str(named)
            found = text if ":" in text and "/" not in text else str(path.parent / text)
            setattr(source, key, Path(found) if key == "robot" else found)
            source.read(key, path, key)
    source.mapping = data
    for key in data:
        source.read(key, path, key)
    return source


def _complete(asked: Asked, source: Source, published: Published | None = None) -> Gathered:
    inferred = source.mapping.pop("inferred_armature", None)
    if asked.command:
        said = {**(source.mapping.get("command") or {}), **asked.command}
        source.mapping["command"] = said
        source.said |= {f"command.{key}": "as asked" for key in asked.command}
    mapping = _checked(source.mapping, asked)
    _say_defaults(mapping, source)
    if mapping.environment is None and published is None:
        robot = _needed(asked.robot or source.robot, "robot=MJCF|URDF", asked.source)
        published = read_published(robot, asked.base)
    if published is not None and inferred:
        mapping = _with_armature(mapping, published, inferred, source)
    policy = asked.policy or source.policy
    if policy is None:
        raise UserError(f"{asked.source}: policy=FILE is needed: this file names none.")
    return Gathered(source, mapping, published, str(policy))


def _say_defaults(mapping: Mapping, source: Source) -> None:
    """Notes what the mapping leaves to its own defaults and a verdict hangs on."""
    if mapping.environment is not None or mapping.task != "velocity-tracking":
        return
    said = source.mapping.get("command") or {}
    for key in ("initial", "forward_mps", "sideways_mps", "turn_radps"):
        if key not in said:
            value = getattr(mapping.command, key)
            source.assume(
                f"command.{key}", f"{list(value)}; give {key}=[...] as it was trained with"
            )
    if mapping.rates and mapping.rates.physics_hz is None:
        source.assume("rates.physics_hz", "the model's own timestep")


def _checked(data: dict[str, Any], asked: Asked) -> Mapping:
    """The mapping; UserError with everything that is wrong in it, each with its key."""
    where = asked.mapping or asked.source
    try:
        return Mapping(**data)
    except ValidationError as error:
        lines = []
        for one in error.errors():
            key = ".".join(map(str, one["loc"]))
            said = one["msg"].removeprefix("Value error, ")
            if one["type"] == "extra_forbidden":
                said = "no such key"
            lines.append(f"{where}: {key + ': ' if key else ''}{said}")
        raise UserError("\n".join(lines)) from error
    except TypeError as error:
        raise UserError(f"{where}: {error}") from error


def _with_armature(
    mapping: Mapping, published: Published, inferred: dict[str, float], source: Source
) -> Mapping:
    """Rotor inertias that the gains imply, for joints whose model has none."""
    model = published.model
    bare = {
        n: v for n, v in inferred.items() if model.dof_armature[model.joint(n).dofadr[0]] == 0.0
    }
    if not bare:
        source.said.pop("drives.armature", None)
        return mapping
    drives = mapping.drives.model_copy(update={"armature": bare, "armature_is_late": True})
    return mapping.model_copy(update={"drives": drives})


def read_policy(gathered: Gathered, size: int, outputs: int, *, trust: bool) -> AnyNetwork:
    """The network of a file of any known format, or a Python function.

    size, outputs: numbers that it should take and give; of a function nobody else says it.
    Raises UserError for a file that is none, and for code that is not trusted.
    """
    policy, mapping, source = gathered.policy, gathered.mapping, gathered.source
    path = Path(policy)
    if not path.is_file():
        if ":" in policy and "/" not in policy:
            return _function(policy, size, outputs, trust=trust)
        said = "is a folder" if path.is_dir() else "no such file"
        raise UserError(f"policy: {policy}: {said}; a file or module:function was expected.")
    _demand_sound(path)
    try:
        network = _read(path, mapping, source, trust=trust)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: not whole, or of a form that is not known: {type(error).__name__}: {error}"
        ) from error
    network = _normalised(policy, network, mapping)
    _demand_numbers(policy, network)
    return network


def _normalised(policy: str, network: AnyNetwork, mapping: Mapping) -> AnyNetwork:
    """The network behind the normaliser that the mapping says, if any."""
    said = mapping.network.normalise
    if said is None:
        return network
    if not isinstance(network, Graph):
        raise UserError(f"{policy}: network.normalise: only a network of known layers takes one.")
    if not len(said.mean) == len(said.deviation) == network.observation_size:
        raise UserError(
            f"network.normalise: {len(said.mean)} means and {len(said.deviation)} deviations for"
            f" {network.observation_size} observations."
        )
    front = torch_files.Builder(network.observation_size)
    front.normalise(np.asarray(said.mean), np.asarray(said.deviation), said.clip)
    return front.before(network)


def _read(path: Path, mapping: Mapping, source: Source, *, trust: bool) -> AnyNetwork:
    suffix, activation = path.suffix.lower(), mapping.network.activation
    if suffix == ".onnx":
        return onnx.read(path)
    if suffix == ".pt2":
        return torch_export.read(path, trust)
    if suffix in (".pt", ".pth", ".jit") and _is_torchscript(path):
        return torch_files.read_torchscript(path)
    if suffix in (".pt", ".pth"):
        network, said = rsl_rl.read(path, activation)
    elif suffix == ".zip":
        network, said = sb3.read(path)
    else:
        network, said = brax.read(path, activation)
    source.said["network.activation"] = said
    return network


def _demand_sound(path: Path) -> None:
    """Raises UserError for an empty file, and an archive that climbs out or claims to be huge."""
    if not path.stat().st_size:
        raise UserError(f"{path}: an empty file.")
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(f"{path}: a damaged archive: {error}") from error
    for member in members:
        place = PurePosixPath(member.filename.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts:
            raise UserError(f"{path}: its member {member.filename!r} lies outside of the archive.")
    if sum(member.file_size for member in members) > LARGEST:
        raise UserError(f"{path}: unpacked it would be larger than {LARGEST} bytes.")


def _demand_numbers(policy: str, network: AnyNetwork) -> None:
    """Raises UserError for a network that gives no numbers on ordinary observations."""
    from robo_rl.policy.networks import begin

    program = network.program
    seen = np.random.default_rng(0).normal(size=(1, network.observation_size)).astype(np.float32)
    damaged = [n for n, a in network.arrays().items() if np.isnan(a).any()]
    if not damaged:
        try:
            with np.errstate(all="ignore"):
                made, _ = program.act(np, network.parameters, begin(np, program, (1,)), seen)
        except (ValueError, TypeError, IndexError, KeyError) as error:
            raise UserError(f"{policy}: the network cannot be run: {error}") from error
        if np.isfinite(made).all():
            return
    which = f" ({damaged[0]} holds NaN)" if damaged else ""
    raise UserError(f"{policy}: the network gives numbers that are not finite{which}.")


def as_given(policy: Path | str, network: AnyNetwork) -> AnyNetwork:
    """The network as its own runtime runs it, where it has one; else ours."""
    path = Path(policy)
    if path.suffix.lower() == ".onnx":
        return onnx.as_given(path)
    if path.suffix.lower() in (".pt", ".pth", ".jit") and _is_torchscript(path):
        return torch_files.as_given(path)
    return network


def _is_torchscript(path: Path) -> bool:
    try:
        names = zipfile.ZipFile(path).namelist()
    except (zipfile.BadZipFile, OSError):
        return False
    return any("/code/" in name for name in names) or any(
        name.endswith("constants.pkl") for name in names
    )


def _function(source: str, size: int, outputs: int, *, trust: bool) -> External:
    """A Python function of one observation or a batch, with or without a state."""
    if trust:
        external.trust(source)
    function = load_function(source)
    stateful = takes_state(function)
    if stateful and not hasattr(function, "state_shape"):
        raise UserError(
            f"{source}: a function with a state needs its state's shape: give it an attribute"
            " `state_shape`, e.g. act.state_shape = (64,)."
        )
    shape = tuple(getattr(function, "state_shape", ()))
    memory = (("state", shape),) if stateful else ()
    digest = external.function_digest(function)
    trial = ExternalProgram("python", source, digest, outputs, memory, (0,))
    return external.settle(source, size, trial, outputs)
