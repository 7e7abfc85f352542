"""Every content file of a folder, read and checked as it would be used; nothing is simulated."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from robo_rl import content, errors
from robo_rl.envs import mdp
from robo_rl.errors import UserError
from robo_rl.registry import load_own
from robo_rl.rewards.layers import load_rewards
from robo_rl.robots.robot import load_robot
from robo_rl.safety_eval.suite import load_suite
from robo_rl.scenarios.schema import load_scenario
from robo_rl.sim2real.profiles import load_profile
from robo_rl.training import config

LOADERS: dict[str, Callable[[str], Any]] = {
    "rewards": load_rewards,
    "scenarios": load_scenario,
    "safety_eval": load_suite,
    "sim2real": load_profile,
}


class Checked(NamedTuple):
    """How many files were read, and every line about something wrong."""

    files: int
    problems: tuple[str, ...]


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
    if not jobs:
        known = ", ".join((*LOADERS, "envs"))
        raise UserError(f"check: {root} holds no content (looked for the folders {known}).")
    problems: list[str] = []
    for path, job in jobs:
        try:
            job()
        except UserError as error:
            lines = str(error).splitlines()
            problems += [line if str(path) in line else f"{path}: {line}" for line in lines]
    return Checked(len(jobs), tuple(dict.fromkeys(problems)))


def _know(folder: Path) -> None:
    """Lets the names in a folder be found, as if ROBO_RL_ENVS listed it."""
    listed = content.own_folders()
    if folder.resolve() not in {own.resolve() for own in listed}:
        os.environ[content.OWN] = os.pathsep.join(map(str, (*listed, folder)))


def _jobs(root: Path) -> Iterator[tuple[Path, Callable[[], Any]]]:
    for kind, load in LOADERS.items():
        for path in sorted((root / kind).glob("*.yaml")):
            yield path, lambda load=load, path=path: load(str(path))
    for path in sorted((root / "envs").glob("*/robot.yaml")):
        yield path, lambda path=path: load_robot(path.parent.name)
    for path in sorted((root / "configs").glob("*.yaml")):
        yield path, lambda path=path: _check_presets(path)


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
