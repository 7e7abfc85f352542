"""Which part of a model is what: the base, the ground, the home, what is tied to what."""

from collections.abc import Iterable
from typing import Any

import mujoco
import numpy as np

from robo_rl.robots.loops import CLOSED, NEWTON_STEPS, close_loops

FREE, BALL = int(mujoco.mjtJoint.mjJNT_FREE), int(mujoco.mjtJoint.mjJNT_BALL)
SCALAR = (int(mujoco.mjtJoint.mjJNT_SLIDE), int(mujoco.mjtJoint.mjJNT_HINGE))
PLANE = int(mujoco.mjtGeom.mjGEOM_PLANE)
JOINT_EQUALITY = int(mujoco.mjtEq.mjEQ_JOINT)
HOMES = ("home", "stand", "standing", "default")  # names of keyframes, the first found is home
LEVEL = 1e-3  # of a plane's normal from the vertical, below which it is horizontal
REACH_M = 100.0


def base_body(model: mujoco.MjModel) -> int:
    """The root of the jointed tree that the actuators act on; of several, that of most mass."""
    driven = _driven_bodies(model)
    trees = {b: set(_subtree(model, b)) for b in roots(model)}
    return max(trees, key=lambda b: (len(driven & trees[b]), model.body_subtreemass[b], -b))


def roots(model: mujoco.MjModel) -> list[int]:
    """Bodies that are jointed to the world, or to what does not move."""
    static = model.body_weldid[model.body_parentid] == 0
    return [int(b) for b in np.flatnonzero((model.body_jntnum > 0) & static)]


def _subtree(model: mujoco.MjModel, root: int) -> Iterable[int]:
    inside = {root}
    for body in range(root + 1, model.nbody):
        if int(model.body_parentid[body]) in inside:
            inside.add(body)
    return inside


def own_bodies(model: mujoco.MjModel, base_body: int) -> list[int]:
    """Every body of the robot: all but those of the mocap and those that float on their own."""
    loose = {int(b) for j, b in enumerate(model.jnt_bodyid) if int(model.jnt_type[j]) == FREE}
    loose |= {int(b) for b in np.flatnonzero(model.body_mocapid >= 0)}
    others = {b for root in loose - {base_body} for b in _subtree(model, root)}
    return [b for b in range(1, model.nbody) if b not in others]


def _driven_bodies(model: mujoco.MjModel) -> set[int]:
    """Bodies that an actuator acts on, through whatever; every jointed one if there is none."""
    kinds, found = mujoco.mjtTrn, set()
    for number, target in zip(model.actuator_trntype, model.actuator_trnid[:, 0], strict=True):
        kind = kinds(int(number))
        if kind in (kinds.mjTRN_JOINT, kinds.mjTRN_JOINTINPARENT):
            found.add(int(model.jnt_bodyid[target]))
        elif kind in (kinds.mjTRN_SITE, kinds.mjTRN_SLIDERCRANK):
            found.add(int(model.site_bodyid[target]))
        elif kind == kinds.mjTRN_BODY:
            found.add(int(target))
        elif kind == kinds.mjTRN_TENDON:
            found |= _tendon_bodies(model, int(target))
    return found or {int(b) for b in model.jnt_bodyid}


def _tendon_bodies(model: mujoco.MjModel, tendon: int) -> set[int]:
    start, count = model.tendon_adr[tendon], model.tendon_num[tendon]
    owner = {
        int(mujoco.mjtWrap.mjWRAP_JOINT): model.jnt_bodyid,
        int(mujoco.mjtWrap.mjWRAP_SITE): model.site_bodyid,
    }
    wraps = range(int(start), int(start + count))
    pairs = [(int(model.wrap_type[w]), int(model.wrap_objid[w])) for w in wraps]
    return {int(owner[kind][index]) for kind, index in pairs if kind in owner}


def base_joint(model: mujoco.MjModel, base_body: int) -> int | None:
    """The free joint of the base body; None where it has none."""
    joint = int(model.body_jntadr[base_body])
    return joint if joint >= 0 and int(model.jnt_type[joint]) == FREE else None


def followers(model: mujoco.MjModel) -> set[int]:
    """Joints that an equality makes follow another joint."""
    ties = np.flatnonzero(model.eq_type == JOINT_EQUALITY)
    return {int(model.eq_obj1id[e]) for e in ties if model.eq_obj2id[e] >= 0}


def settle(model: mujoco.MjModel, home: np.ndarray) -> np.ndarray:
    """The pose moved into the joints' ranges; if that moves any, with its loops closed again."""
    settled = _clipped(model, home)
    _close_ties(model, settled)
    if np.array_equal(settled, home):
        return settled
    for _ in range(NEWTON_STEPS):
        settled = close_loops(model, settled, np.zeros(model.nv))[0]
        inside = _clipped(model, settled)
        if np.allclose(inside, settled, atol=CLOSED):
            break
        settled = inside
    return settled


def _clipped(model: mujoco.MjModel, pose: np.ndarray) -> np.ndarray:
    clipped = pose.copy()
    for joint in np.flatnonzero(model.jnt_limited.astype(bool) & np.isin(model.jnt_type, SCALAR)):
        at = model.jnt_qposadr[joint]
        clipped[at] = np.clip(pose[at], *model.jnt_range[joint])
    return clipped


def _close_ties(model: mujoco.MjModel, home: np.ndarray) -> None:
    """Puts every joint that follows another where the equality has it."""
    for tie in np.flatnonzero(model.eq_type == JOINT_EQUALITY):
        leader, follower = int(model.eq_obj2id[tie]), int(model.eq_obj1id[tie])
        if leader < 0 or not model.eq_active0[tie]:
            continue
        at, led = model.jnt_qposadr[leader], model.jnt_qposadr[follower]
        ahead = home[at] - model.qpos0[at]
        home[led] = model.qpos0[led] + np.polyval(model.eq_data[tie, :5][::-1], ahead)


def control_range(model: mujoco.MjModel, index: int) -> tuple[float, float] | str:
    """The control range that an actuator's own limits imply, or why there is none."""
    gain, bias = float(model.actuator_gainprm[index, 0]), model.actuator_biasprm[index, :3]
    fixed = model.actuator_gaintype[index] == int(mujoco.mjtGain.mjGAIN_FIXED)
    joint, gear = _driven_joint(model, index), float(model.actuator_gear[index, 0])
    if fixed and gain and not model.actuator_dyntype[index] and not bias.any():
        if model.actuator_forcelimited[index]:
            low, high = model.actuator_forcerange[index] / gain
        elif joint is not None and model.jnt_actfrclimited[joint] and gear:
            low, high = sorted(model.jnt_actfrcrange[joint] / (gain * gear))
        else:
            return (
                f"it has no ctrlrange, no forcerange, and its joint no actuatorfrcrange (gear"
                f" {gear:g}): give one of them."
            )
        return min(low, high), max(low, high)
    servo = fixed and gain and bias[1] == -gain
    if servo and joint is not None and model.jnt_limited[joint] and gear == 1.0:
        return tuple(model.jnt_range[joint])
    return "it needs a ctrlrange: actions in [-1, 1] are mapped onto it."


def _driven_joint(model: mujoco.MjModel, actuator: int) -> int | None:
    kinds = (int(mujoco.mjtTrn.mjTRN_JOINT), int(mujoco.mjtTrn.mjTRN_JOINTINPARENT))
    return (
        int(model.actuator_trnid[actuator, 0])
        if model.actuator_trntype[actuator] in kinds
        else None
    )


def level_planes(model: mujoco.MjModel, below_m: float) -> list[tuple[int, float]]:
    """Horizontal planes of the world at most this high, (geom, height), the highest first."""
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    found = [
        (int(g), float(data.geom_xpos[g, 2]))
        for g in np.flatnonzero(model.geom_type == PLANE)
        if model.body_weldid[model.geom_bodyid[g]] == 0
        and data.geom_xmat[g, 8] > 1 - LEVEL
        and data.geom_xpos[g, 2] <= below_m
    ]
    return sorted(found, key=lambda pair: -pair[1])


def ground_below(
    model: mujoco.MjModel, data: mujoco.MjData, base_body: int
) -> tuple[int, float] | None:
    """The first static part under the base, (geom, height where it was met)."""
    start, hit = np.array(data.xpos[base_body]), np.array([-1], np.int32)
    while True:
        far = mujoco.mj_ray(model, data, start, np.array([0.0, 0, -1]), None, 1, -1, hit, None)
        if far < 0 or hit[0] < 0:
            return None
        height = start[2] - far
        if model.body_weldid[model.geom_bodyid[hit[0]]] == 0 and model.geom_contype[hit[0]]:
            return int(hit[0]), float(height)
        start = np.array([start[0], start[1], height - 1e-6])


def colliding_parts(model: mujoco.MjModel, ground: int) -> np.ndarray:
    """Moving geoms that can touch a geom of the world."""
    touches = (model.geom_contype & model.geom_conaffinity[ground]) | (
        model.geom_conaffinity & model.geom_contype[ground]
    )
    paired = np.zeros(model.ngeom, bool)
    for one, other in zip(model.pair_geom1, model.pair_geom2, strict=True):
        if ground in (one, other):
            paired[other if one == ground else one] = True
    moving = model.body_weldid[model.geom_bodyid] > 0
    return np.flatnonzero(((touches != 0) | paired) & moving)


def home_key(model: mujoco.MjModel) -> int | None:
    """The keyframe that is home: the one called so, else the first; None without any."""
    names = [model.key(k).name.lower() for k in range(model.nkey)]
    return next((names.index(n) for n in HOMES if n in names), 0 if names else None)


def at_home_pose(model: mujoco.MjModel) -> mujoco.MjData:
    """The model in its home keyframe, or in its own pose, with every part placed."""
    data, key = mujoco.MjData(model), home_key(model)
    if key is not None:
        data.qpos[:] = model.key_qpos[key]
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    return data


def gap_m(model: mujoco.MjModel, home: np.ndarray, ground: int) -> float:
    """Smallest distance between the ground and what can touch it, negative if it is inside."""
    data = mujoco.MjData(model)
    data.qpos[:] = home
    mujoco.mj_fwdPosition(model, data)
    if model.geom_type[ground] != PLANE:
        depths = [c.dist for c in data.contact if ground in (c.geom1, c.geom2)]
        return min([0.0, *depths])
    touch = np.zeros(6)
    return min(
        (
            mujoco.mj_geomDistance(model, data, int(g), ground, REACH_M, touch)
            for g in colliding_parts(model, ground)
        ),
        default=0.0,
    )


def joints_of(body: Any) -> list[Any]:
    """Every joint of a body of a spec and of those below it."""
    return [*body.joints, *(j for child in body.bodies for j in joints_of(child))]


def bounded(joint: Any) -> bool:
    """Whether a joint of a spec has a range."""
    return joint.range[0] < joint.range[1]


def needs(spec: mujoco.MjSpec, geom: Any) -> str:
    """What a body would lose with a geom; empty if it is only drawn."""
    paired = {name for pair in spec.pairs for name in (pair.geomname1, pair.geomname2)}
    if geom.contype or geom.conaffinity or (geom.name and geom.name in paired):
        return "would lose its contact"
    always = spec.compiler.inertiafromgeom == mujoco.mjtInertiaFromGeom.mjINERTIAFROMGEOM_TRUE
    never = spec.compiler.inertiafromgeom == mujoco.mjtInertiaFromGeom.mjINERTIAFROMGEOM_FALSE
    first, last = spec.compiler.inertiagrouprange
    weighs = geom.density != 0 if np.isnan(geom.mass) else geom.mass != 0
    static = not _jointed(geom.parent)
    if (always or not (never or geom.parent.explicitinertial)) and weighs and not static:
        return "would lose its inertia" if first <= geom.group <= last else ""
    return ""


def _jointed(body: Any) -> bool:
    while body is not None and body.name != "world":
        if body.joints:
            return True
        body = body.parent
    return False
