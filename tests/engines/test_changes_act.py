"""A change acts on the element that carries the magnitude, as the same change made by hand does."""

import mujoco
import numpy as np
import pytest

from robo_rl.engines.base import Tracking, nominal_force_limit, nominal_plant
from robo_rl.engines.callback import flat_plant
from robo_rl.engines.mujoco import MujocoEngine

LINK = "<body pos='0 0 1' {body}><joint name='j' axis='0 1 0' armature='.05' damping='.2' {joint}/>"
LINK += "<geom type='capsule' fromto='0 0 0 .4 0 0' size='.02' mass='1.5'/>{site}</body>"
HEAD = "<mujoco><compiler angle='radian'/><option timestep='.002'/>"
ROOM = HEAD + "<worldbody>{world}</worldbody>{more}</mujoco>"


def servo(joint="", body="", motor="<position joint='j' kp='60' kv='2' ctrlrange='-3 3'/>"):
    world = LINK.format(joint=joint, body=body, site="")
    return ROOM.format(world=world, more=f"<actuator>{motor}</actuator>")


SLIDING = ROOM.format(
    world="<geom name='floor' type='plane' size='5 5 1' contype='0' conaffinity='0'/>"
    "<body pos='0 0 .1'><freejoint/><geom name='box' type='box' size='.2 .1 .1' mass='3'"
    " contype='0' conaffinity='0'/></body>",
    more="<contact><pair geom1='floor' geom2='box' condim='3' friction='.8 .8 .005 .0001 .0001'/>"
    "</contact>",
)
PULLING = ROOM.format(
    world=LINK.format(joint="", body="", site="<site name='a' pos='.2 0 .03'/>")
    + "<site name='o' pos='.1 0 1.3'/>",
    more="<tendon><spatial name='t'><site site='o'/><site site='a'/></spatial></tendon><actuator>"
    "<position tendon='t' kp='800' kv='5' ctrlrange='.1 .4' forcerange='-40 0'/></actuator>",
)
MUSCLE = servo(motor="<muscle joint='j' force='8' gear='1' lengthrange='-2 2' ctrlrange='0 1'/>")


def by_hand(**changes):
    """The change of each field of the compiled model."""

    def change(model):
        for name, new in changes.items():
            getattr(model, name)[:] = new(getattr(model, name).copy())

    return change


def columns(*numbers, scale):
    def new(values):
        values[:, list(numbers)] *= scale
        return values

    return new


# model, its plant, the same by hand, command, speed at the start
CASES = {
    "friction of a pair": (
        SLIDING,
        {"friction_scale": 0.25},
        by_hand(pair_friction=columns(0, 1, scale=0.25)),
        [],
        1.0,
    ),
    "torque limit that the joint has": (
        servo(joint="actuatorfrcrange='-6 6'"),
        {"force_limit_scale": 0.5},
        by_hand(jnt_actfrcrange=columns(0, 1, scale=0.5)),
        [2.0],
        0.0,
    ),
    "torque limit of one sign": (
        PULLING,
        {"force_limit_scale": 0.5},
        by_hand(actuator_forcerange=columns(0, 1, scale=0.5)),
        [0.15],
        0.0,
    ),
    "gravity compensation knows the nominal mass": (
        servo(body="gravcomp='1'"),
        {"mass_scale": 1.5},
        by_hand(
            body_mass=lambda v: v * 1.5,
            body_inertia=lambda v: v * 1.5,
            body_gravcomp=lambda v: v / 1.5,
        ),
        [0.0],
        0.0,
    ),
    "strength of a muscle is its peak force": (
        MUSCLE,
        {"gain_scale": 0.5},
        by_hand(actuator_gainprm=columns(2, scale=0.5), actuator_biasprm=columns(2, scale=0.5)),
        [1.0],
        0.0,
    ),
}
STEPS, SUBSTEPS = 60, 5


def played(model, command, speed, plant=None):
    """qpos after STEPS control steps of the engine, [nq]."""
    engine = MujocoEngine(model, SUBSTEPS, Tracking(1))
    active, nothing = np.ones(1, bool), np.zeros((1, 0))
    flat = nothing if plant is None else np.asarray(flat_plant(plant))[None]
    qvel = np.full((1, model.nv), 0.0)
    qvel[:, 0] = speed
    state, _ = engine.reset_rows(active, model.qpos0[None].copy(), qvel, flat)
    ctrl = np.tile(np.asarray(command, np.float32), (1, SUBSTEPS, 1))
    for _ in range(STEPS):
        state, _ = engine.step_rows(active, state, ctrl, nothing, flat)
    return engine.unpack(state)[0][0]


@pytest.mark.parametrize("case", CASES)
def test_a_change_of_the_plant_is_the_change_made_by_hand(case):
    xml, fields, change, command, speed = CASES[case]
    model, other = (mujoco.MjModel.from_xml_string(xml) for _ in range(2))
    change(other)
    mujoco.mj_setConst(other, mujoco.MjData(other))
    nominal = nominal_plant(model)
    given = {k: np.full_like(getattr(nominal, k), np.float32(v)) for k, v in fields.items()}
    ours = played(model, command, speed, nominal._replace(**given))
    right, before = played(other, command, speed), played(model, command, speed)
    assert np.abs(right - before).max() > 0.01  # the change is one
    np.testing.assert_allclose(ours, right, rtol=0.01, atol=1e-5)


def test_a_rope_that_is_weaker_still_does_not_push():
    model = mujoco.MjModel.from_xml_string(PULLING)
    engine = MujocoEngine(model, SUBSTEPS, Tracking(1))
    plant = nominal_plant(model)._replace(force_limit_scale=np.full(1, 0.9, np.float32))
    flat, active = np.asarray(flat_plant(plant))[None], np.ones(1, bool)
    state, _ = engine.reset_rows(active, model.qpos0[None].copy(), np.zeros((1, 1)), flat)
    slack = np.full((1, SUBSTEPS, 1), 0.4, np.float32)  # longer than the rope is
    _, readout = engine.step_rows(active, state, slack, np.zeros((1, 0)), flat)
    force = readout[0, -SUBSTEPS - 1]  # actuator force, before the power of every substep
    assert force == 0.0


@pytest.mark.parametrize(
    ("xml", "limit"),
    [
        (servo(joint="actuatorfrcrange='-6 6'"), 6.0),
        (
            servo(
                joint="actuatorfrcrange='-6 6'",
                motor="<motor joint='j' gear='2' ctrlrange='-9 9'/>",
            ),
            3.0,
        ),
        (servo(motor="<motor joint='j' gear='2' ctrlrange='-9 9'/>"), 9.0),
        (servo(), 180.0),
        (MUSCLE, 8.0),
        (PULLING, 40.0),
    ],
)
def test_the_largest_force_is_what_can_really_come(xml, limit):
    """Worked out by hand, before the gear."""
    model = mujoco.MjModel.from_xml_string(xml)
    assert nominal_force_limit(model)[0] == pytest.approx(limit)
