"""Where the content folders are, and how a file in them is read.

Data only, nothing is ever executed.
"""

import functools
import json
import os
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from robo_rl.errors import UserError, lookup, suggestion

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

_PACKAGE = Path(__file__).resolve().parent
OWN = "ROBO_RL_ENVS"
RUNS = "ROBO_RL_RUNS"  # robots of the run folders that this process has opened
ROBOT = "robot"  # the folder of a run folder that holds its robot and task
LARGEST_SEED = 2**32 - 1  # random keys are made of 32 bits: a larger one would repeat a smaller
FOLDERS = ("envs", "rewards", "scenarios", "safety_eval", "sim2real", "configs")


def root() -> Path:
    """The folder that holds the content folders: inside the wheel, else the checkout."""
    packaged = _PACKAGE / "content"
    return packaged if packaged.is_dir() else _PACKAGE.parent


def folder(name: str) -> Path:
    """The content folder `name` of the suite."""
    return root() / name


def own_folders() -> tuple[Path, ...]:
    """Users' folders of robots: those that the environment variable ROBO_RL_ENVS lists."""
    return tuple(Path(word) for word in os.environ.get(OWN, "").split(os.pathsep) if word)


def open_run(run: Path) -> None:
    """Make the robot and task that a run folder brings along known, here and to child processes.

    They are data: unlike ROBO_RL_ENVS, nothing beside them is ever imported.
    """
    robot = (run / ROBOT).resolve()
    listed = [word for word in os.environ.get(RUNS, "").split(os.pathsep) if word]
    if robot.is_dir() and str(robot) not in listed:
        os.environ[RUNS] = os.pathsep.join([*listed, str(robot)])


def open_run_around(path: Path, robot: str) -> None:
    """Opens the run folder that a file lies in, where it brings along that robot."""
    for folder in path.resolve().parents:
        if (folder / ROBOT / "envs" / robot).is_dir():
            open_run(folder)
            return


def close_run(run: Path) -> None:
    """Forget what a run folder brings along."""
    robot = str((run / ROBOT).resolve())
    listed = [word for word in os.environ.get(RUNS, "").split(os.pathsep) if word != robot]
    os.environ[RUNS] = os.pathsep.join(listed)


def run_folders() -> tuple[Path, ...]:
    """The folders of robots that the run folders opened so far bring along."""
    return tuple(Path(word) for word in os.environ.get(RUNS, "").split(os.pathsep) if word)


def folders(name: str) -> tuple[Path, ...]:
    """The content folders `name`: the suite's, the users' own, those of opened run folders."""
    return (folder(name), *(own / name for own in (*own_folders(), *run_folders())))


def robot_files() -> dict[str, Path]:
    """Every robot.yaml by the robot's name; the suite's own names cannot be taken."""
    found = [p for place in reversed(folders("envs")) for p in sorted(place.glob("*/robot.yaml"))]
    return {path.parent.name: path for path in found}


Key = tuple[str | int, ...]  # where in a file: names of mappings, positions in lists


class Problems:
    """Everything that is wrong with one content file, each with its line; raised together."""

    def __init__(self, path: Path):
        self.path = path
        self.found: list[str] = []

    def add(self, key: Key, message: str) -> None:
        """One more problem, at the line of the innermost part of `key` that the file has."""
        line = next((n for n in map(self._lines.get, _outwards(key)) if n), 1)
        where = ".".join(map(str, key))
        self.found.append(f"{self.path}:{line}: {where + ': ' if where else ''}{message}")

    def check(self, table: Iterable[str], name: str, *, kind: str, key: Key) -> bool:
        """Whether a name exists; a miss is a problem that says what is close and what exists."""
        known = list(table)
        if name not in known:
            self.add(key, f"no {kind} named {name!r}.{suggestion(name, known)}")
        return name in known

    def absorb(self, key: Key, work: Callable[[], object]) -> None:
        """Run a check that raises UserError; what it raises is one more problem."""
        try:
            work()
        except UserError as error:
            self.add(key, str(error))

    def validation(self, error: ValidationError, kind: type[BaseModel], within: Key = ()) -> None:
        """Every line of a pydantic error, with what is close to a name that does not exist."""
        for one in error.errors():
            inner: Key = tuple(one["loc"])
            key = (*within, *inner)
            known = _fields_at(kind, inner[:-1]) if one["type"] == "extra_forbidden" else ()
            if known:
                self.add(key, f"no key named {key[-1]!r}.{suggestion(str(key[-1]), known)}")
            elif one["type"] == "missing":
                self.add(key, "is missing.")
            else:
                said = one["msg"].removeprefix("Value error, ")
                self.add(key, f"{said} (found {one['input']!r}).")

    def demand(self) -> None:
        """Raise UserError if there is any problem."""
        if self.found:
            raise UserError("\n".join(self.found))

    @functools.cached_property
    def _lines(self) -> dict[Key, int]:
        return _lines_of(yaml.compose(self.path.read_text(), Loader=_Loader), ())


def parse(kind: type[M], path: Path, problems: Problems, **own: Any) -> M:
    """The model of a content file, and of `own` fields that the file does not write itself.

    Raises UserError with every field that is missing, unknown or of the wrong kind; own fields that
    the file writes after all are problems that the caller demands.
    """
    value = read_yaml(path)
    for key in own:
        if key in value:
            problems.add((key,), "is not written in the file: it follows from where the file is.")
    try:
        return kind(**{**value, **own})
    except ValidationError as error:
        problems.validation(error, kind)
    except TypeError as error:
        problems.add((), str(error))
    problems.demand()
    raise AssertionError("unreachable")


def _fields_at(kind: Any, key: Key) -> tuple[str, ...]:
    """The fields of the model that stands at a key within a model; none where it is no model."""
    for part in key:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            named = {f.alias or n: f.annotation for n, f in kind.model_fields.items()}
            kind = named.get(str(part))
        else:
            kind = (typing.get_args(kind) or (None,))[-1 if typing.get_origin(kind) is dict else 0]
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return ()
    return tuple(f.alias or n for n, f in kind.model_fields.items())


def _outwards(key: Key) -> Iterator[Key]:
    for length in range(len(key), -1, -1):
        yield key[:length]


def _lines_of(node: Any, key: Key) -> dict[Key, int]:
    """The line of every key and list entry in a YAML node."""
    found = {key: node.start_mark.line + 1} if node is not None else {}
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            inner = (*key, str(name.value))
            found |= {**_lines_of(value, inner), inner: name.start_mark.line + 1}
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            found |= _lines_of(value, (*key, index))
    return found


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; anything else, or a syntax error, says which file and where."""
    try:
        value = yaml.load(path.read_text(), Loader=_Loader)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise UserError(f"{path}:{line}: not valid YAML: {said}.") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, no such date
        raise UserError(f"{path}: not valid YAML: {_in_one_line(error)}.") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: a mapping was expected, found {type(value).__name__}.")
    return value


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def read_json(path: Path, *needed: str) -> dict[str, Any]:
    """The object in a JSON file, which has these keys; anything else says which file and why."""
    try:
        value = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON: {_in_one_line(error)}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: an object was expected, found {type(value).__name__}.")
    if missing := [key for key in needed if key not in value]:
        raise UserError(f"{path}: not what was expected: {', '.join(missing)} missing in it.")
    return value


class Stored(BaseModel):
    """What is read of a file that the suite wrote; what nobody reads may be there too."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def read_stored(kind: type[M], path: Path) -> M:
    """A JSON file as `kind` reads it.

    Raises UserError with everything that is missing or of another kind in it.
    """
    value = read_json(path)
    try:
        return kind(**value)
    except ValidationError as error:
        wrong = [(".".join(map(str, one["loc"])), one) for one in error.errors()]
        lacking = [where for where, one in wrong if one["type"] == "missing"]
        said = [f"{', '.join(lacking)} missing in it"] if lacking else []
        said += [
            f"{where}: {one['msg']} (found {one['input']!r})"
            for where, one in wrong
            if one["type"] != "missing"
        ]
        raise UserError(f"{path}: not what was expected: {'; '.join(said)}.") from error


def files(kind: str) -> dict[str, Path]:
    """The YAML files of a content folder by stem."""
    found = [p for place in reversed(folders(kind)) for p in sorted(place.glob("*.yaml"))]
    return {path.stem: path for path in found}


def find(kind: str, name: str) -> Path:
    """A content file by name, or a user's own file by path."""
    own = Path(name)
    if own.suffix == ".yaml" and own.is_file():
        return own
    return lookup(files(kind), name, kind=f"{kind} file", where=str(folder(kind)))


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a repeated key is an error and 1e-3 is a number."""


def _unique_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys: list[Any] = []
    for key, _ in node.value:
        found = loader.construct_object(key)  # type: ignore[no-untyped-call]
        if found in keys:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {str(found)!r} is given twice", key.start_mark
            )
        keys.append(found)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


def _number_pattern() -> Any:
    import re

    return re.compile(
        r"""^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?
        |[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)
        |\.[0-9_]+(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$""",
        re.X,
    )


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _number_pattern(), list("-+0123456789."))
