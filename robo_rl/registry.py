"""Parts by name: the suite's own, and what users' packages and folders add to them.

A room has one registry (reward terms, injectors, metrics, engines, environments) and a decorator
that adds to it. Users' modules are imported once, when a name is asked for that the suite does not
have, or when all names are: those that installed packages declare as entry points of the group
"robo_rl", and every *.py in the folders that ROBO_RL_ENVS lists.
"""

import ast
import contextlib
import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Generic, TypeVar

from robo_rl import content, errors

T = TypeVar("T")
GROUP = "robo_rl"
_IMPORTED: set[str] = set()


class Registry(Mapping[str, T], Generic[T]):
    """Named parts of one kind. Reading it finds users' parts too.

    kind: what a part is called in messages. home: the modules that add the suite's own parts; they
    are imported when the registry is first read.
    """

    def __init__(self, kind: str, *home: str):
        self.kind = kind
        self._found: Callable[[], Mapping[str, T]] = dict
        self._home = home
        self._parts: dict[str, T] = {}
        self._by: dict[str, str] = {}

    def add(self, name: str, part: T, by: str) -> None:
        """One more part, from the module `by`; a name that another module has taken is refused."""
        if self._by.get(name, by) != by:
            raise ValueError(f"{self.kind} {name!r} is already registered by {self._by[name]}")
        self._parts[name], self._by[name] = part, by

    def declared_by(self, found: Callable[[], Mapping[str, T]]) -> None:
        """Parts that files declare; looked for anew every time, as run folders bring some along."""
        self._found = found

    def __getitem__(self, name: str) -> T:
        self._fill()
        if name not in self._parts:
            load_own()
        return self._parts[name] if name in self._parts else self._found()[name]

    def __iter__(self) -> Iterator[str]:
        self._fill()
        load_own()
        return iter(sorted({*self._parts, *self._found()}))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def lookup(self, name: str, where: str) -> T:
        """The part of that name; a UserError says what is close and what exists."""
        return errors.lookup(self, name, kind=self.kind, where=where)

    def _fill(self) -> None:
        for module in self._home:
            importlib.import_module(module)


def load_own() -> None:
    """Imports users' modules that have not been; a mistake in one is a UserError that names it."""
    for folder in content.own_folders():
        if not folder.is_dir():
            raise errors.UserError(f"{content.OWN}: {folder} is no folder.")
        for path in sorted(folder.glob("*.py")):
            _once(str(path.resolve()), path)
    for point in _declared():
        _once(f"{point.name} = {point.value}", point.value.partition(":")[0])


def named_by(decorator: str) -> Iterator[str]:
    """Names that users' modules add with a decorator, read from their text; nothing is run.

    Only names that stand there as a literal are found.
    """
    for path in _own_sources():
        with contextlib.suppress(OSError, SyntaxError, UnicodeDecodeError):
            for node in ast.walk(ast.parse(path.read_text())):
                for call in getattr(node, "decorator_list", ()):
                    match call:
                        case ast.Call(
                            func=ast.Name(id=name) | ast.Attribute(attr=name),
                            args=[ast.Constant(value=str(found)), *_],
                        ) if name == decorator:
                            yield found


def _own_sources() -> Iterator[Path]:
    for folder in content.own_folders():
        yield from sorted(folder.glob("*.py"))
    for point in _declared():
        spec = importlib.util.find_spec(point.value.partition(":")[0])
        if spec and spec.origin:
            yield Path(spec.origin)


@functools.cache
def _declared() -> tuple[EntryPoint, ...]:
    """Entry points of the group; what is installed does not change while a process runs."""
    return tuple(entry_points(group=GROUP))


def _once(key: str, what: Path | str) -> None:
    """Runs a module once, however often it is asked for, also from within itself."""
    if key in _IMPORTED:
        return
    _IMPORTED.add(key)
    try:
        _import(what)
    except Exception as error:
        _IMPORTED.discard(key)
        raise errors.UserError(f"{what}: {type(error).__name__}: {error}") from error


def _import(what: Path | str) -> None:
    if isinstance(what, str):
        importlib.import_module(what)
        return
    name = f"robo_rl_own_{what.stem}"
    spec = importlib.util.spec_from_file_location(name, what.resolve())
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
