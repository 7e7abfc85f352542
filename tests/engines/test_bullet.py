"""PyBullet follows MuJoCo where physics is smooth, forgets nothing and remembers nothing."""

import sys

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from robo_rl.engines import ENGINES
from robo_rl.engines.base import Tracking
from robo_rl.engines.bullet import BulletEngine
from robo_rl.engines.bullet_bodies import pybullet
from robo_rl.envs import mdp
from robo_rl.envs.step import make
from robo_rl.errors import UserError
from robo_rl.robots.robot import load_robot
from robo_rl.robots.terrain import Terrain

DRIFT = {  # largest error of a joint position after 20 control steps of small random actions
    "arm-track": 0.03,
    "swimmer": 0.01,
    "quadrotor-hover": 0.01,
    "quadruped-velocity": 0.08,
    "quadruped-rough": 0.08,
    "biped-velocity": 0.08,
    "halfcheetah": 0.15,
    "hopper": 0.05,
}


def world(body, **parts):
    extra = "".join(f"<{name}>{text}</{name}>" for name, text in parts.items())
    floor = '<geom name="floor" type="plane" size="1 1 1"/>'
    xml = f"<mujoco><worldbody>{floor}{body}</worldbody>{extra}</mujoco>"
    return mujoco.MjModel.from_xml_string(xml)


def positions(name, engine, steps=20):
    env = make(name, engine=engine)
    qpos = np.array(env.robot.qpos0)
    if env.robot.terrain:
        qpos[2] += env.robot.terrain.bump_m + 0.01  # above the ground, whatever it is here
    physics_state, readout = env.engine.place(qpos, np.full(env.robot.model.nv, 0.05))
    start = env.begin(jax.random.key(0), None, jnp.asarray(physics_state), readout)
    actions = np.random.default_rng(0).uniform(-0.3, 0.3, (steps, env.action_size))

    def one(state, action):
        state = env.step(state, action)
        return state, state.signals.qpos

    return np.asarray(jax.jit(lambda s: jax.lax.scan(one, s, jnp.float32(actions))[1])(start))


@pytest.mark.parametrize("name", DRIFT)
def test_it_follows_mujoco_for_twenty_control_steps(name):
    apart = np.abs(positions(name, "mujoco") - positions(name, "bullet"))
    assert apart[0].max() < 0.02
    assert apart[-1].max() < DRIFT[name]


def test_a_height_field_is_where_the_terrain_says():
    terrain = Terrain(bump_m=0.06, grain_m=0.2, half_width_m=2.0)
    robot = load_robot("quadruped", terrain)
    engine = BulletEngine(robot.model, 4, robot.tracking)
    (only,) = engine._worlds.values()
    for row, column in ((1, 18), (9, 4), (15, 11)):
        x, y = (0.2 * k - 2.0 + 1e-3 for k in (column, row))
        hit = pybullet.rayTest([x, y, 1.0], [x, y, -1.0], physicsClientId=only.client)[0]
        assert hit[3][2] == pytest.approx(terrain.heights_m[row, column], abs=1e-3)


@pytest.mark.parametrize("name", mdp.names())
def test_a_placed_state_is_read_back(name):
    env = make(name, engine="bullet")
    model, rng = env.robot.model, np.random.default_rng(1)
    qpos, qvel = np.array(env.robot.qpos0), rng.normal(size=model.nv)
    found = env.engine.unpack(env.engine.place(qpos, qvel)[0])
    np.testing.assert_array_equal(found[0], qpos)
    np.testing.assert_array_equal(found[1], qvel)


def test_a_step_is_a_function_of_the_payload_alone():
    env = make("quadruped-velocity", engine="bullet")
    low, high = env.robot.model.actuator_ctrlrange.T
    ctrl = np.tile((low + high) / 2, (1, env.engine.substeps, 1))
    none, on = np.zeros((1, 0)), np.array([True])
    physics_state, _ = env.engine.place(env.robot.qpos0, np.zeros(env.robot.model.nv))
    path = [physics_state[None]]
    for _ in range(8):
        path.append(env.engine.step_rows(on, path[-1], ctrl, none, none)[0])
    again = [env.engine.step_rows(on, before, ctrl, none, none)[0] for before in path[:-1][::-1]]
    np.testing.assert_array_equal(again[::-1], path[1:])


def test_standing_feet_carry_the_weight():
    env = make("quadruped-velocity", engine="bullet")
    state = env.reset(jax.random.key(0))
    step = jax.jit(env.step)
    for _ in range(25):
        state = step(state, jnp.zeros(env.action_size))
    feet = [state.signals.sensors[env.robot.sensor(f"force/{g}")] for g in env.robot.file.feet]
    assert abs(float(np.sum(feet, axis=0)[2])) == pytest.approx(env.robot.mass_kg * 9.81, rel=0.15)


def test_a_push_on_a_body_moves_it_by_its_impulse():
    model = world('<body pos="0 0 1"><freejoint/><geom type="sphere" size=".1" mass="2"/></body>')
    model.opt.gravity[:] = 0
    engine = BulletEngine(model, 10, Tracking(1))
    physics_state, _ = engine.place(model.qpos0, np.zeros(model.nv))
    wrench = np.zeros((1, model.nbody, 6))
    wrench[0, 1] = [3.0, 0, 0, 0, 0, 0.1]
    ctrl, none = np.zeros((1, 10, 0)), np.zeros((1, 0))
    physics_state, _ = engine.step_rows(np.array([True]), physics_state[None], ctrl, wrench, none)
    speed = engine.unpack(physics_state)[1][0]
    duration_s = 10 * model.opt.timestep
    assert speed[0] == pytest.approx(3.0 / 2.0 * duration_s, rel=1e-6)
    assert speed[5] == pytest.approx(0.1 / model.body_inertia[1, 2] * duration_s, rel=1e-6)


BALL = '<body name="b"><joint name="hip" type="ball"/><geom size=".1"/></body>'
EGG = '<body><joint/><geom name="egg" type="ellipsoid" size=".1 .2 .3"/></body>'
HINGE = '<body name="b"><joint name="j"/><geom size=".1"/><site name="s"/></body>'


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (world(BALL), "joint 'hip': it is a ball joint"),
        (world(EGG), "geom 'egg': it collides"),
        (world(HINGE, equality='<joint name="locked" joint1="j"/>'), "equality 'locked'"),
        (world(HINGE, sensor='<accelerometer name="imu" site="s"/>'), "sensor 'imu'"),
    ],
)
def test_what_bullet_lacks_is_refused_by_name(model, named):
    with pytest.raises(UserError, match=named):
        BulletEngine(model, 1, Tracking(1))


def test_without_pybullet_it_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "robo_rl.engines.bullet")
    monkeypatch.setitem(sys.modules, "pybullet", None)
    monkeypatch.delitem(sys.modules, "robo_rl.engines.bullet_bodies")
    with pytest.raises(UserError, match=r"pip install 'robo-rl\[bullet\]'"):
        ENGINES["bullet"](world(HINGE), 1, Tracking(1))
