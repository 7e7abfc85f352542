"""Every content file of a folder, read and checked as it would be used; nothing is simulated."""

import contextlib
import difflib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from robo_rl import content, errors
from robo_rl.envs import mdp
from robo_rl.errors import UserError
from robo_rl.registry import load_own
from robo_rl.rewards.layers import DONE, Done, load_rewards
from robo_rl.robots.robot import load_robot
from robo_rl.rollouts.success import why_not
from robo_rl.safety_eval.suite import is_path, load_suite
from robo_rl.scenarios.schema import load_scenario
from robo_rl.sim2real.profiles import load_profile
from robo_rl.training import config

LOADERS: dict[str, Callable[[str], Any]] = {
    "rewards": load_rewards,
    "scenarios": load_scenario,
    "safety_eval": load_suite,
    "sim2real": load_profile,
}

CLOSE = 0.8  # how alike the name of a folder of content and another must be: venv and envs are not
LIKE_YAML = (".yml", ".yaml", ".json")


class Checked(NamedTuple):
    """How many files were read, and every line about something wrong."""

    files: int
    problems: tuple[str, ...]


Job = tuple[Path, Callable[[], Any]]  # a file, and what raises UserError where it is wrong


def check(folder: Path | None) -> Checked:
    """Reads every content file of a folder laid out as the suite's own, or of the suite itself.

    Raises UserError for a folder that does not exist or holds no content.
    """
    if folder is not None:
        if not folder.is_dir():
            raise UserError(f"check: {folder} is no folder.")
        _know(folder)
    load_own()
    root = folder or content.root()
    jobs = list(_jobs(root))
    problems = [*(_misnamed_folders(folder) if folder else ()), *_passed_over(root)]
    if not jobs and not problems:
        known = ", ".join((*LOADERS, "envs"))
        raise UserError(f"check: {root} holds no content (looked for the folders {known}).")
    for path, job in jobs:
        problems += _wrong(path, job)
    return Checked(len({path for path, _ in jobs}), tuple(dict.fromkeys(problems)))


def _know(folder: Path) -> None:
    """Lets the names in a folder be found, as if ROBO_RL_ENVS listed it."""
    listed = content.own_folders()
    if folder.resolve() not in {own.resolve() for own in listed}:
        os.environ[content.OWN] = os.pathsep.join(map(str, (*listed, folder)))


def _wrong(path: Path, job: Callable[[], Any]) -> list[str]:
    """Every line about something wrong in a file; what nobody foresaw is one that names it too."""
    try:
        job()
    except UserError as error:
        lines = str(error).splitlines()
        return [line if str(path) in line else f"{path}: {line}" for line in lines]
    except Exception as error:
        said = " ".join(str(error).split())
        return [f"{path}: cannot be used ({type(error).__name__}: {said})."]
    return []


def _misnamed_folders(root: Path) -> Iterator[str]:
    """A line for every folder that is nearly called as a folder of content."""
    for path in sorted(p for p in root.iterdir() if p.is_dir() and p.name not in content.FOLDERS):
        meant = difflib.get_close_matches(path.name.lower(), content.FOLDERS, n=1, cutoff=CLOSE)
        if meant:
            yield f"{path}: nothing in it is read. Did you mean {meant[0]!r}?"


def _passed_over(root: Path) -> Iterator[str]:
    """A line for every file that looks like content and is not called so."""
    found = [path for kind in (*LOADERS, "configs") for path in (root / kind).glob("*")]
    found += (root / "envs").glob("*/robot.*")
    for path in sorted(found):
        if path.suffix != ".yaml" and path.suffix.lower() in LIKE_YAML and path.is_file():
            yield f"{path}: is not read. Did you mean {path.with_suffix('.yaml').name!r}?"


def _jobs(root: Path) -> Iterator[Job]:
    for kind, load in LOADERS.items():
        for path in sorted((root / kind).glob("*.yaml")):
            yield path, lambda load=load, path=path: load(str(path))
            if kind == "rewards":
                yield path, lambda path=path: _check_done(path)
    for path in _named_files(root):
        yield path, lambda path=path: load_scenario(str(path))
    for path in sorted((root / "envs").glob("*/robot.yaml")):
        yield path, lambda path=path: load_robot(path.parent.name)
    for path in sorted((root / "configs").glob("*.yaml")):
        yield path, lambda path=path: _check_presets(path)


def _named_files(root: Path) -> Iterator[Path]:
    """The files of scenarios that suites name by path, without those in the folder of scenarios."""
    seen = {path.resolve() for path in (root / "scenarios").glob("*.yaml")}
    for suite in sorted((root / "safety_eval").glob("*.yaml")):
        with contextlib.suppress(Exception):  # a wrong suite says so itself
            for path in (Path(s) for s in load_suite(str(suite)).sources.values() if is_path(s)):
                if path.resolve() not in seen:
                    seen.add(path.resolve())
                    yield path


def _check_done(path: Path) -> None:
    """Holds what a reward file says under `done` against the metrics."""
    try:
        done = Done(**content.read_yaml(path)[DONE])
    except (KeyError, TypeError, ValidationError):  # there is none, or the file's own check says so
        return
    problems = content.Problems(path)
    if reason := why_not(done):
        problems.add((DONE,), reason)
    problems.demand()


def _check_presets(path: Path) -> None:
    """Holds the preset of every environment in configs/ppo.yaml or sac.yaml against its model."""
    models = {"ppo": config.Ppo, "sac": config.Sac}
    if path.stem not in models:
        return
    blocks = content.read_yaml(path)
    wrong = []
    for env, own in {"default": {}, **blocks.get("envs", {})}.items():
        try:
            if env != "default":
                errors.lookup(mdp.ENTRIES, env, kind="environment", where=str(path))
            config.check(models[path.stem], {**blocks.get("default", {}), **own}, f"{path}: {env}")
        except UserError as error:
            wrong.append(str(error))
    if wrong:
        raise UserError("\n".join(wrong))
