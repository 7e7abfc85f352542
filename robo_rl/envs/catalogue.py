"""All environments there are: the suite's, and those in the folders of ROBO_RL_ENVS."""

import functools
import importlib.util
import sys
from pathlib import Path

from robo_rl import content, errors
from robo_rl.envs.tasks import arm, biped, classic, locomotion, quadrotor, quadruped, rover  # noqa: F401


def load() -> None:
    """Registers the users' own environments by importing their modules; the suite's are."""
    for folder in content.own_folders():
        if not folder.is_dir():
            raise errors.UserError(f"{content.OWN}: {folder} is no folder.")
        for path in sorted(folder.glob("*.py")):
            _import(path.resolve())


@functools.cache
def _import(path: Path) -> None:
    """Runs a user's module once; what goes wrong in it is reported with its file."""
    name = f"robo_rl_own_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise errors.UserError(f"{path}: {type(error).__name__}: {error}") from error
