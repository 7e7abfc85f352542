"""What a model's own actuators are to its joints, for drives that take their place."""

from typing import NamedTuple

import mujoco
import numpy as np

from robo_rl.errors import UserError


class Motor(NamedTuple):
    """What a model's own actuator is to its joint."""

    servo: bool
    stiffness: float
    damping: float
    limit: float | None
    low: float  # of its control
    high: float


def motor_of(model: mujoco.MjModel, joint: str, *, limit_said: bool) -> Motor | None:
    """What the model's own actuator of a joint does, if it has one.

    limit_said: whether a mapping says the largest force. Raises UserError for what a drive of ours
    would silently leave out.
    """
    index = model.joint(joint).id
    acts = [
        i
        for i in range(model.nu)
        if model.actuator_trntype[i] == int(mujoco.mjtTrn.mjTRN_JOINT)
        and model.actuator_trnid[i, 0] == index
    ]
    limit = None
    if model.jnt_actfrclimited[index]:
        limit = float(np.abs(model.jnt_actfrcrange[index]).max())
    if not acts:
        return Motor(False, 0.0, 0.0, limit, -np.inf, np.inf) if limit else None
    act = acts[0]
    _demand_plain(model, joint, acts, limit_said=limit_said)
    gain, bias = float(model.actuator_gainprm[act, 0]), model.actuator_biasprm[act]
    gear = float(model.actuator_gear[act, 0])
    servo = bool(bias[1] < 0 and np.isclose(bias[1], -gain))
    if model.actuator_forcelimited[act]:
        own = float(np.abs(model.actuator_forcerange[act]).max()) * abs(gear)
        limit = own if limit is None else min(limit, own)
    low, high = -np.inf, np.inf
    if model.actuator_ctrllimited[act]:
        low, high = (float(v) for v in model.actuator_ctrlrange[act])
        if not servo:
            own = max(abs(low), abs(high)) * abs(gain * gear)
            limit = own if limit is None else min(limit, own)
    if servo:
        if gear != 1.0:
            raise UserError(f"actuator of joint {joint!r}: a servo with gear {gear:g}.")
        return Motor(True, gain, float(abs(bias[2])), limit, low, high)
    return Motor(False, 0.0, 0.0, limit, low, high)


def _demand_plain(model: mujoco.MjModel, joint: str, acts: list[int], *, limit_said: bool) -> None:
    """Raises UserError for what a drive of ours would silently leave out."""
    act = acts[0]
    low, high = model.actuator_forcerange[act]
    why = {
        "several actuators act on it": len(acts) > 1,
        "its actuator has dynamics (dyntype) of its own": int(model.actuator_dyntype[act]) != 0,
        "its actuator has a constant bias": model.actuator_biasprm[act, 0] != 0.0,
        f"its force range [{low:g}, {high:g}] is not symmetric: give drives.limit": bool(
            model.actuator_forcelimited[act] and not np.isclose(low, -high) and not limit_said
        ),
    }
    for reason, holds in why.items():
        if holds:
            raise UserError(f"joint {joint!r}: {reason}; that is not carried over.")
