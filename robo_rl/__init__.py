"""The suite that decides whether a learned controller may go on a machine.

Importing it registers the environments with Gymnasium, where that is installed; it loads neither
JAX nor torch, and what it offers is loaded when it is first used. Without a display, and where EGL
is installed, it makes EGL MuJoCo's renderer: MuJoCo decides at its import.
"""

import ctypes.util
import os
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from robo_rl import extras
from robo_rl.errors import UserError
from robo_rl.policy.stored import Policy, load_policy, save_policy

if TYPE_CHECKING:
    from robo_rl.api import (
        Mdp,
        checklist,
        compare,
        gap,
        make,
        register,
        rollout,
        safety,
        train,
    )

__version__ = "0.1.0"
__all__ = [
    "Mdp",
    "Policy",
    "UserError",
    "__version__",
    "checklist",
    "compare",
    "gap",
    "load_policy",
    "make",
    "register",
    "rollout",
    "safety",
    "save_policy",
    "train",
]

if (
    not os.environ.get("DISPLAY")
    and "MUJOCO_GL" not in os.environ
    and ctypes.util.find_library("EGL")
):
    os.environ["MUJOCO_GL"] = "egl"

if find_spec("gymnasium"):
    from robo_rl.interop.registration import register_all

    register_all()


def __getattr__(name: str) -> Any:
    if name in __all__:
        try:
            return getattr(import_module("robo_rl.api"), name)
        except ModuleNotFoundError as error:
            raise ImportError(extras.help_for(error) or str(error)) from error
    raise AttributeError(f"module 'robo_rl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
