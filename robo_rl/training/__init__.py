"""Training loops of ours over brax.training's parts, and SB3 as the second trainer."""

import contextlib
import io

with contextlib.redirect_stdout(io.StringIO()):  # it prints that the optional warp is missing
    import mujoco.mjx  # noqa: F401
