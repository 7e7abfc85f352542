"""Robots: named parts, channels with units, and models that mean what their cards say."""

import mujoco
import numpy as np
import pytest

from robo_rl.envs import mdp
from robo_rl.errors import UserError
from robo_rl.robots.channels import group_mask
from robo_rl.robots.robot import load_robot

ROBOTS = sorted({mdp.get(name).robot for name in mdp.names()})
WEIGHTS = {"biped": 16.1, "quadruped": 13.0, "rover": 9.0, "quadrotor": 0.027}  # kg
PHYSICAL = ("quadruped", "biped", "arm", "quadrotor", "rover")


@pytest.mark.parametrize("name", ROBOTS)
def test_a_sample_has_a_channel_for_every_number(name):
    robot = load_robot(name)
    model = robot.model
    lidar = sum(robot.lidar.sizes.values()) if robot.lidar else 0
    sensors = model.nsensordata + 3 * len(robot.file.frames) + lidar
    assert len(robot.channels) == model.nq + 2 * model.nv + sensors
    assert len({c.name for c in robot.channels}) == len(robot.channels)
    assert all(c.unit for c in robot.channels)


@pytest.mark.parametrize("name", ROBOTS)
def test_every_sensor_lies_within_the_sensors_and_none_overlaps(name):
    robot = load_robot(name)
    taken = [i for s in robot._sensors.values() for i in range(s.start, s.stop)]
    assert len(taken) == len(set(taken))
    first = robot.model.nq + 2 * robot.model.nv
    assert sorted(taken) == list(range(len(robot.channels) - first))


def test_a_free_base_is_split_into_position_and_orientation():
    channels = load_robot("quadruped").channels
    place = group_mask(channels, "base_position", "m")
    turn = group_mask(channels, "base_orientation", "rad")
    joints = group_mask(channels, "joint_position", "rad")
    assert (place.sum(), np.count_nonzero(turn), joints.sum()) == (3, 4, 12)
    assert set(turn) == {0.0, 0.5}  # an angle of a is a quaternion's change of a / 2
    assert not (place * turn).any() and not (turn * joints).any()


@pytest.mark.parametrize("name", PHYSICAL)
def test_a_physical_robot_has_limits_and_inertia_everywhere(name):
    model = load_robot(name).model
    assert (model.actuator_ctrlrange[:, 0] < model.actuator_ctrlrange[:, 1]).all()
    moved = np.diag(mass_matrix(model))
    assert (moved > 1e-7).all()
    assert np.linalg.cond(mass_matrix(model)) < 1e8


def mass_matrix(model):
    data, full = mujoco.MjData(model), np.zeros((model.nv, model.nv))
    mujoco.mj_forward(model, data)
    mujoco.mj_fullM(model, data, full)
    return full


@pytest.mark.parametrize(
    ("name", "mass_kg"),
    [("biped", 16.1), ("quadruped", 13.0), ("rover", 9.0), ("quadrotor", 0.027)],
)
def test_a_robot_weighs_what_its_card_says(name, mass_kg):
    assert load_robot(name).mass_kg == pytest.approx(mass_kg, rel=0.05)


def test_the_left_leg_of_the_biped_mirrors_the_right():
    model = load_robot("biped").model
    for i in range(model.nbody):
        name = model.body(i).name
        if not name.startswith("left_"):
            continue
        other = model.body(name.replace("left_", "right_"))
        np.testing.assert_allclose(model.body_pos[i], other.pos * [1, -1, 1])
        assert model.body_mass[i] == other.mass[0]
        np.testing.assert_allclose(model.body_inertia[i], other.inertia)


def test_legs_touch_each_other_and_not_themselves():
    model = load_robot("biped").model

    def meet(a, b):
        a, b = model.geom(a), model.geom(b)
        one, other = (int(x.contype[0]) & int(y.conaffinity[0]) for x, y in ((a, b), (b, a)))
        return bool(one | other)

    assert meet("left_shank", "right_shank") and meet("left_foot", "floor")
    assert not meet("left_thigh", "left_foot")


def test_the_home_pose_stands_on_the_ground():
    for name in ("quadruped", "biped"):
        robot = load_robot(name)
        data = mujoco.MjData(robot.model)
        data.qpos[:] = robot.qpos0
        mujoco.mj_forward(robot.model, data)
        low = min(data.geom(g).xpos[2] - robot.model.geom(g).size.min() for g in robot.file.feet)
        assert -0.005 < low < 0.02, name


def test_an_unknown_robot_names_the_near_miss():
    with pytest.raises(UserError, match="bipd.*Did you mean 'biped'"):
        load_robot("bipd")
