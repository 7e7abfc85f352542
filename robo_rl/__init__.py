"""The suite that decides whether a learned controller may go on a machine.

Importing it registers the environments with Gymnasium; it loads neither JAX nor torch. Without a
display, and where EGL is installed, it makes EGL MuJoCo's renderer: MuJoCo decides at its import.
"""

import ctypes.util
import os

from robo_rl.interop.registration import register_all
from robo_rl.policy.stored import Policy, load_policy

__version__ = "0.1.0"
__all__ = ["Policy", "__version__", "load_policy"]

if (
    not os.environ.get("DISPLAY")
    and "MUJOCO_GL" not in os.environ
    and ctypes.util.find_library("EGL")
):
    os.environ["MUJOCO_GL"] = "egl"

register_all()
