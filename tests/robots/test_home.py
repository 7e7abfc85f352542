"""Home is the whole state a robot starts in, and zero action leaves it as plain MuJoCo does."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from robo_rl import content, errors
from robo_rl.engines import ENGINES
from robo_rl.envs.authoring import new
from robo_rl.envs.step import make
from robo_rl.robots.signals import tilt_rad

FLOOR = '<geom name="floor" type="plane" size="9 9 .1"/>'
BOX = '<geom name="hull" type="box" size=".2 .1 .05" mass="3"/>'
PENDULUM = """<body name="link" pos="0 0 1"><joint name="j" axis="0 1 0" range="-170 170"
armature=".05" damping=".5"/><geom name="rod" type="capsule" fromto="0 0 0 .3 0 0" size=".02"
mass=".5"/></body>"""
FLAP = """<body name="flap" pos="0 0 .1"><joint name="flap" axis="0 1 0" damping="1"/>
<geom name="fin" type="capsule" fromto="0 0 0 .2 0 0" size=".01" mass=".1"/></body>"""
SLOW = '<position name="m" joint="j" kp="20" kv="2" ctrlrange="-3 3" {}/>'
LATE = SLOW.format('delay=".03" nsample="16" interp="zoh"')
MOTOR = '<motor name="m" joint="flap" ctrlrange="-1 1"/>'
STANDS = """<body name="trunk" pos="0 0 .5"><freejoint name="root"/>
<geom name="hull" type="box" size=".05 .2 .1" mass="3"/>{}</body>""".format(
    "".join(
        f"""<body name="leg{k}" pos="-.05 {y} 0"><joint name="j{k}" axis="0 0 1" range="-60 60"
        damping="1"/><geom name="foot{k}" type="capsule" fromto="0 0 0 -.3 0 0" size=".03"
        mass=".3"/></body>"""
        for k, y in ((1, 0.2), (2, -0.2))
    )
)
SERVOS = "".join(f'<position joint="j{k}" kp="20" kv="1" ctrlrange="-1 1"/>' for k in (1, 2))
PITCHED = '<keyframe><key name="home" qpos="0 0 .4 .70710678 0 -.70710678 0 0 0"/></keyframe>'
LOOP = """<body name="a" pos="-.2 0 1"><joint name="ja" axis="0 1 0" damping=".05"/>
<geom type="capsule" fromto="0 0 0 0 0 .3" size=".015" mass=".2" contype="0" conaffinity="0"/>
<body name="c" pos="0 0 .3"><joint name="jc" axis="0 1 0" damping=".05"/><geom type="capsule"
fromto="0 0 0 .4 0 0" size=".015" mass=".2" contype="0" conaffinity="0"/></body></body>
<body name="b" pos=".2 0 1"><joint name="jb" axis="0 1 0" damping=".05"/><geom type="capsule"
fromto="0 0 0 0 0 .3" size=".015" mass=".2" contype="0" conaffinity="0"/></body>"""
CLOSED = """<equality><connect body1="c" body2="b" anchor=".4 0 0" solref=".005 1"/></equality>"""
GRIPPER = """<body name="palm" pos="0 0 1"><joint name="lift" type="slide" axis="0 0 1" range="0 .5"
damping="20"/><geom type="box" size=".05 .05 .02" mass=".5"/>
<body name="l" pos="0 .03 -.05"><joint name="left" type="slide" axis="0 1 0" range="0 .04"
damping="5"/><geom type="box" size=".01 .01 .03" mass=".05" contype="0" conaffinity="0"/></body>
<body name="r" pos="0 -.03 -.05"><joint name="right" type="slide" axis="0 -1 0" range="0 .04"
damping="5"/><geom type="box" size=".01 .01 .03" mass=".05" contype="0" conaffinity="0"/></body>
</body>"""
MIRRORED = '<equality><joint joint1="right" joint2="left" polycoef="0 1 0 0 0"/></equality>'
GRIP = """<position joint="lift" kp="400" ctrlrange="0 .5"/>
<position joint="left" kp="200" ctrlrange="0 .04"/>"""


def model(bodies, actuator, more="", head=""):
    return f"""<mujoco>{head}<worldbody>{bodies}</worldbody><actuator>{actuator}</actuator>{more}
    </mujoco>"""


@pytest.fixture
def bring(tmp_path, monkeypatch):
    """Brings a model in as an environment of its own; a number keeps their names apart."""

    def one(name, text, edits=()):
        source = tmp_path / f"{name}.xml"
        source.write_text(text)
        new.create(name, source, tmp_path / "robots")
        described = tmp_path / "robots" / "envs" / name / "robot.yaml"
        described.write_text(described.read_text() + "".join(f"{line}\n" for line in edits))
        monkeypatch.setenv(content.OWN, str(tmp_path / "robots"))
        return make(name, "safety")

    return one


def at_home(env):
    """The engine's payload with the robot at home, no noise."""
    return env.engine.place(env.robot.qpos0, np.zeros(env.robot.model.nv))


def drive(env, seconds, action=0.0):
    """Qpos of every control step under a constant action from home, and the last readout."""
    step = jax.jit(
        lambda physics_state, ctrl: env.engine.step(
            physics_state, ctrl, None, None, jnp.bool_(True)
        )
    )
    command = jnp.full((env.engine.substeps, env.action_size), action)
    ctrl, (physics_state, readout), track = env.to_ctrl(command), at_home(env), []
    for _ in range(round(seconds / env.control_s)):
        physics_state, readout = step(jnp.asarray(physics_state), ctrl)
        track.append(env.engine.unpack(np.asarray(physics_state))[0])
    return np.array(track), readout


KEY = '<keyframe><key name="home" qpos="{}" {}/></keyframe>'
ROTORS = "".join(f'<site name="r{k}" pos="{x} {y} .01"/>' for k, x, y in
                 ((1, -.1, -.1), (2, -.1, .1), (3, .1, .1), (4, .1, -.1)))  # fmt: skip
DRONE = f"""<body name="x2" pos="0 0 .1"><freejoint/><geom type="box" size=".1 .1 .02" mass="1.2"/>
{ROTORS}</body>"""
THRUST = "".join(f'<motor name="thrust{k}" site="r{k}" gear="0 0 1 0 0 {s}.02" ctrlrange="0 13"/>'
                 for k, s in ((1, "-"), (2, ""), (3, "-"), (4, "")))  # fmt: skip
AT_REST = {
    "drone": (
        FLOOR + DRONE,
        THRUST,
        '<keyframe><key name="hover" qpos="0 0 .3 1 0 0 0" ctrl="2.943 2.943 2.943 2.943"/>'
        "</keyframe>",
    ),
    "integrating-servo": (
        PENDULUM,
        '<intvelocity name="m" joint="j" kp="200" kv="10" ctrlrange="-1 1" actrange="-3 3"/>',
        KEY.format("1.2", 'act="1.2"'),
    ),
    "filtered-motor": (
        PENDULUM,
        '<general name="m" joint="j" dyntype="filterexact" dynprm=".5" ctrlrange="-2 4"/>',
        KEY.format(".3", 'act="1" ctrl="2"'),
    ),
    "held-by-its-control": (PENDULUM, SLOW.format(""), KEY.format("1", 'ctrl="1.1"')),
    "late": (PENDULUM, LATE, KEY.format("1", 'ctrl="1.1"')),
    "pitched": (FLOOR + STANDS, SERVOS, PITCHED),
    "loop": (LOOP, '<motor joint="ja" ctrlrange="-2 2"/>', CLOSED),
    "mirrored": (GRIPPER, GRIP, MIRRORED + KEY.format(".2 .03 .03", "")),
    "free-flap": (FLOOR + BOX.join(['<body name="t" pos="0 0 .3"><freejoint/>', FLAP + "</body>"]),
                  MOTOR, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", AT_REST)
def test_zero_action_from_home_leaves_the_robot_as_plain_mujoco_leaves_it(bring, tmp_path, name):
    bodies, actuator, more = AT_REST[name]
    env = bring(f"rest-{name}", model(bodies, actuator, more))
    plain = mujoco.MjModel.from_xml_path(str(tmp_path / f"rest-{name}.xml"))
    data = mujoco.MjData(plain)
    if plain.nkey:
        mujoco.mj_resetDataKeyframe(plain, data, 0)
    data.qpos[:] = env.robot.qpos0
    if "ctrl=" not in more:
        data.ctrl[:] = plain.actuator_ctrlrange.mean(axis=1)
    for actuator_id in np.flatnonzero(plain.actuator_history[:, 0]):
        held = np.full((plain.actuator_history[actuator_id, 0], 1), data.ctrl[actuator_id])
        mujoco.mj_initCtrlHistory(plain, data, actuator_id, None, held)
    data.ctrl[:] = np.float32(data.ctrl)
    track, _ = drive(env, 0.5)
    for row in track:
        mujoco.mj_step(plain, data, env.engine.substeps)
        np.testing.assert_allclose(row, data.qpos, atol=1e-12, rtol=0)


def test_an_integrating_servo_stays_where_its_activation_holds_it(bring):
    bodies, actuator, more = AT_REST["integrating-servo"]
    track, _ = drive(bring("stays", model(bodies, actuator, more)), 1.0)
    assert abs(track[-1, 0] - 1.2) < 0.02  # sags by its own weight only


def test_a_drone_hovers_where_its_keyframe_has_it(bring):
    bodies, actuator, more = AT_REST["drone"]
    env = bring("hovers", model(bodies, actuator, more))
    track, _ = drive(env, 1.0)
    np.testing.assert_allclose(track[-1, :3], [0, 0, 0.3], atol=1e-4)
    command = jnp.array([-1.0, -0.5, 0.5, 1.0])
    np.testing.assert_allclose(
        env.to_ctrl(command), [0, 2.943 / 2, (2.943 + 13) / 2, 13], rtol=1e-6
    )


def test_the_clock_is_part_of_the_state_where_a_sensor_reads_it(bring):
    clock = '<sensor><clock name="now"/></sensor>'
    env = bring("clocked", model(PENDULUM, SLOW.format(""), clock))
    for _ in range(2):
        _, readout = drive(env, 0.2)
        assert float(readout.samples[-1, -1]) == pytest.approx(0.2, abs=0.0021)


def test_a_delay_is_part_of_the_state(bring):
    env = bring("delayed", model(PENDULUM, LATE))
    first = drive(env, 0.2, action=0.5)[0]
    drive(env, 0.5, action=-1.0)  # another episode in the same simulation
    np.testing.assert_array_equal(drive(env, 0.2, action=0.5)[0], first)
    assert (
        abs(
            first[0, 0]
            - drive(bring("prompt", model(PENDULUM, SLOW.format(""))), 0.02, 0.5)[0][0, 0]
        )
        > 1e-3
    )


@pytest.mark.parametrize("engine", ["mjx", "bullet"])
def test_an_engine_that_knows_no_delay_refuses_it(bring, engine):
    env = bring(f"no-{engine}", model(PENDULUM, LATE))
    with pytest.raises(errors.UserError, match=r"actuator 'm'.*delay"):
        ENGINES[engine](env.robot.model, env.engine.substeps, env.robot.tracking)


def test_the_home_of_a_pitched_base_is_no_tilt(bring):
    env = bring("pitched", model(FLOOR + STANDS, SERVOS, PITCHED))
    states = jax.jit(env.reset_batch)(jax.random.split(jax.random.key(0), 64))
    home = env.robot.qpos0[3:7]
    turned = 2 * np.arccos(np.clip(np.abs(np.asarray(states.signals.qpos)[:, 3:7] @ home), 0, 1))
    assert turned.max() < 0.06  # the noise of the reset: 0.05 rad
    assert turned.max() > 0.01
    tilts = jax.vmap(lambda s: tilt_rad(s, env.robot.upright_b))(states.signals)
    np.testing.assert_allclose(tilts, turned, atol=1e-3)
    physics_state, readout = at_home(env)
    state, step = (
        env.begin(jax.random.key(1), None, jnp.asarray(physics_state), readout),
        jax.jit(env.step),
    )
    for _ in range(20):
        state = step(state, jnp.zeros(env.action_size))
    assert not bool(state.terminated)
    lying = env.engine.place(np.array([0, 0, 0.4, 1.0, 0, 0, 0, 0, 0]), np.zeros(8))[1]
    assert np.arccos(np.clip(lying.base_rotation[2] @ env.robot.upright_b, -1, 1)) == pytest.approx(
        np.pi / 2, abs=1e-3
    )


def loop_gap_m(robot, qpos):
    data = mujoco.MjData(robot.model)
    data.qpos[:] = qpos
    mujoco.mj_fwdPosition(robot.model, data)
    return np.abs(data.efc_pos[: data.ne]).max()


@pytest.mark.parametrize(
    ("name", "bodies", "actuator", "more"),
    [
        ("closed", LOOP, '<motor joint="ja" ctrlrange="-2 2"/>', CLOSED),
        ("twin", GRIPPER, GRIP, MIRRORED + KEY.format(".2 .02 .02", "")),
    ],
)
def test_a_reset_varies_and_keeps_loops_closed(bring, name, bodies, actuator, more):
    env = bring(name, model(bodies, actuator, more))
    states = jax.jit(env.reset_batch)(jax.random.split(jax.random.key(0), 32))
    qpos, qvel = np.asarray(states.signals.qpos, np.float64), np.asarray(states.signals.qvel)
    assert len(np.unique(qpos, axis=0)) == 32
    assert max(loop_gap_m(env.robot, q) for q in qpos) < 1e-5
    assert np.abs(qpos - env.robot.qpos0).max() > 0.003
    assert np.abs(qvel).max() > 1e-3
    off = env.neutral()
    pushed = np.full(env.robot.model.nq, 0.005, np.float32)  # a scenario starts elsewhere
    off = off._replace(start=off.start._replace(qpos_offset=pushed))
    moved = jax.jit(env.reset)(jax.random.key(0), off).signals.qpos
    assert loop_gap_m(env.robot, np.asarray(moved, np.float64)) < 1e-5


def test_a_reset_is_in_each_joints_unit_and_range(bring):
    env = bring("grip", model(GRIPPER, GRIP, KEY.format(".2 .04 0", "")))
    states = jax.jit(env.reset_batch)(jax.random.split(jax.random.key(0), 256))
    fingers = np.asarray(states.signals.qpos)[:, 1:]
    assert fingers.min() >= 0
    assert fingers.max() <= np.float32(0.04)
    assert 0.002 < np.ptp(fingers[:, 0]) <= 0.0041  # a tenth of the range, one-sided
    assert np.ptp(np.asarray(states.signals.qpos)[:, 0]) > 0.008  # +-5 mm


def test_a_control_step_of_seven_physics_steps_is_exactly_that(bring):
    env = bring("odd", model(PENDULUM, SLOW.format(""), head='<option timestep="0.003"/>'))
    assert env.engine.substeps == 7
    video = bring("video", model(PENDULUM, SLOW.format(""), head=f'<option timestep="{1 / 240}"/>'))
    assert video.engine.substeps == 5


STEP = '<geom name="step" type="box" size=".5 .5 .05" pos="2 0 .05"/>'
LEGGED = f"""<body name="trunk" pos="0 0 .3"><freejoint name="root"/>{BOX}
<body name="leg" pos="0 0 -.05"><joint name="j" axis="0 1 0" range="-.5 .5" damping="5"/>
<geom name="sole" type="box" size=".2 .1 .02" pos="0 0 -.08" mass="1"/></body></body>"""
KNEE = '<position joint="j" kp="200" kv="5" ctrlrange="-.5 .5"/>'
WATCHED = ("feet: [sole]", "forbidden_contacts: [hull]")
WEIGHT_N = 4 * 9.81
HILL = """<asset><hfield name="flat" nrow="2" ncol="2" size="3 3 .1 .1"
elevation="0 0 0 0"/></asset>"""
AROUND = {
    "the-floor": (FLOOR, "", (0, 0, 0.15)),
    "a-step-of-the-world": (FLOOR + STEP, "", (2, 0, 0.25)),
    "a-step-that-is-a-body": (FLOOR + f'<body name="stair">{STEP}</body>', "", (2, 0, 0.25)),
    "a-height-field": (
        FLOOR + '<geom name="hills" type="hfield" hfield="flat" pos="5 0 .1"/>',
        HILL,
        (5, 0, 0.25),
    ),
    "a-loose-slab": (
        FLOOR
        + """<body name="slab" pos="2 0 .05"><freejoint/>
        <geom name="slab" type="box" size=".5 .5 .05" mass="20"/></body>""",
        "",
        (2, 0, 0.25),
    ),
}


def watched(bring, name, around, engine="mujoco"):
    world, assets, at = AROUND[around]
    robot_last = "loose" in around
    bodies = LEGGED + world if robot_last else world + LEGGED
    text = f"<mujoco>{assets}<worldbody>{bodies}</worldbody><actuator>{KNEE}</actuator></mujoco>"
    env = bring(f"{name}-{around}", text, WATCHED)
    if engine != "mujoco":
        env = make(env.name, "safety", engine=engine)
    return env, np.array(at, float)


def settled(env, at, turned=(1.0, 0, 0, 0), seconds=1.0):
    qpos = env.robot.qpos0.copy()
    qpos[:3], qpos[3:7] = at, turned
    step = jax.jit(lambda b: env.engine.step(b, env.to_ctrl(still), None, None, jnp.bool_(True)))
    still = jnp.zeros((env.engine.substeps, 1))
    physics_state, readout = env.engine.place(qpos, np.zeros(env.robot.model.nv))
    for _ in range(round(seconds / env.control_s)):
        physics_state, readout = step(jnp.asarray(physics_state))
    m = env.robot.model
    sensors = np.asarray(readout.samples)[-1, m.nq + 2 * m.nv :]
    return sensors[env.robot.sensor("force/sole")], sensors[env.robot.sensor("contact/hull")]


@pytest.mark.parametrize("around", AROUND)
def test_a_foot_and_a_trunk_feel_whatever_is_not_the_robot(bring, around):
    env, at = watched(bring, "on", around)
    force, touching = settled(env, at)
    rattles = (
        0.35 if "field" in around else 0.02
    )  # a box on a field of MuJoCo's never comes to rest
    assert np.linalg.norm(force) == pytest.approx(WEIGHT_N, rel=rattles)
    assert touching == 0
    _, lying = settled(env, at, turned=(0, 1.0, 0, 0))  # on its back
    assert lying > 0


def test_contacts_within_the_robot_do_not_count(bring):
    own = FLOOR + LEGGED.replace("</body></body>", """</body><body name="arm" pos="0 0 .2">
    <joint name="k" axis="0 1 0"/><geom name="mid" size=".01" mass=".01"/><body name="hand">
    <joint name="w" axis="0 1 0"/><geom name="fist" size=".03" pos="0 0 -.13" mass=".5"/></body>
    </body></body>""")  # the fist rests on the hull  # fmt: skip
    loose = '<body name="ball" pos="3 0 .1"><freejoint/><geom size=".1" mass="1"/></body>'
    text = model(own + loose, KNEE)
    env = bring("within", text, WATCHED)
    force, touching = settled(env, (0, 0, 0.15))
    data = mujoco.MjData(env.robot.model)
    data.qpos[:] = env.robot.qpos0
    mujoco.mj_step(env.robot.model, data, 500)
    names = {
        frozenset(env.robot.model.geom(g).name for g in (c.geom1, c.geom2)) for c in data.contact
    }
    assert frozenset(("hull", "fist")) in names  # else this shows nothing
    assert touching == 0
    assert np.linalg.norm(force) == pytest.approx(WEIGHT_N + 0.51 * 9.81, rel=0.02)


@pytest.mark.parametrize("around", ["a-step-of-the-world", "a-step-that-is-a-body"])
def test_mjx_and_bullet_feel_them_too(bring, around):
    for engine in ("mjx", "bullet"):
        env, at = watched(bring, f"{engine}", around, engine)
        force, touching = settled(env, at, seconds=0.3)
        assert np.linalg.norm(force) == pytest.approx(WEIGHT_N, rel=0.1)
        assert touching == 0


def test_one_ground_keeps_its_named_sensor(bring):
    env, _ = watched(bring, "named", "the-floor")
    sensor = env.robot.model.sensor("force/sole")
    assert int(sensor.reftype[0]) == int(mujoco.mjtObj.mjOBJ_GEOM)
    assert env.robot.model.geom(int(sensor.refid[0])).name == "floor"
