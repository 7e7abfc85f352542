"""What a model's own sensors read is known, so that noise on the IMU reaches them."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from robo_rl import content
from robo_rl.envs.authoring import new
from robo_rl.envs.mdp import ObservationTerm
from robo_rl.envs.step import make
from robo_rl.injection.injectors import inject
from robo_rl.robots.channels import describe_channels, group_mask, known

TURTLE = """<mujoco><compiler angle="radian"/><worldbody>
<geom name="floor" type="plane" size="5 5 .1"/>
<body name="trunk" pos="0 0 .3"><freejoint name="root"/><geom type="box" size=".2 .1 .05" mass="3"/>
<body name="head" pos=".2 0 0"><site name="imu" quat="0 1 0 0"/></body>
<body name="leg" pos="0 0 -.05"><joint name="j" axis="0 1 0" range="-1 1" damping="1"/>
<geom type="box" size=".2 .1 .05" pos="0 0 -.1" mass="1"/><site name="foot"/>
<body name="tail"><joint name="s" type="slide" axis="1 0 0" range="0 .1"/>
<geom size=".01" mass=".1"/></body></body></body>
<body name="toy" pos="1 0 .1"><freejoint name="toy"/><geom size=".1" mass="1"/>
<body name="string" pos="0 0 .2"><joint name="swivel" type="ball"/>
<geom size=".02" mass=".1"/></body></body></worldbody>
<actuator><position name="servo" joint="j" kp="20" kv="1" ctrlrange="-1 1"/>
<motor name="geared" joint="s" gear="9" ctrlrange="-1 1"/></actuator>
<sensor><gyro name="turn" site="imu"/><accelerometer name="push" site="imu"/>
<velocimeter name="speed" site="imu"/><framequat name="lean" objtype="site" objname="imu"/>
<framezaxis name="up" objtype="site" objname="imu"/>
<framelinvel name="drift" objtype="xbody" objname="trunk"/>
<framelinvel name="swing" objtype="site" objname="foot"/><gyro name="kick" site="foot"/>
<jointpos name="angle" joint="j"/><jointvel name="rate" joint="s"/>
<actuatorpos name="turned" actuator="servo"/><actuatorpos name="cable" actuator="geared"/>
<touch name="press" site="foot"/></sensor></mujoco>"""

READ = {
    "turn[0]": ("base_angular_velocity", "rad/s", 1.0),
    "push[2]": ("base_linear_acceleration", "m/s2", 1.0),
    "speed[1]": ("base_linear_velocity", "m/s", 1.0),
    "lean[3]": ("base_orientation", "rad", 0.5),
    "up[0]": ("base_orientation", "rad", 1.0),
    "drift[0]": ("base_linear_velocity", "m/s", 1.0),
    "swing[0]": ("sensor", "as declared", 1.0),  # of a foot, which no IMU reads
    "kick[0]": ("base_angular_velocity", "rad/s", 1.0),  # a gyro, wherever it is
    "angle": ("joint_position", "rad", 1.0),
    "rate": ("joint_velocity", "m/s", 1.0),
    "turned": ("joint_position", "rad", 1.0),
    "cable": ("sensor", "as declared", 1.0),  # nine times the joint's travel
    "press": ("sensor", "as declared", 1.0),
    "root.qw.pos": ("base_orientation", "rad", 0.5),
    "root.wx.vel": ("base_angular_velocity", "rad/s", 1.0),
    "toy.x.pos": ("sensor", "as declared", 1.0),
    "swivel.qw.pos": ("sensor", "as declared", 0.5),
    "swivel.wz.vel": ("sensor", "as declared", 1.0),
}


@pytest.fixture(scope="module")
def turtle():
    return mujoco.MjModel.from_xml_string(TURTLE)


def test_every_number_of_a_sample_has_a_channel(turtle):
    channels = describe_channels(turtle, (), base_body=1)
    assert len(channels) == turtle.nq + 2 * turtle.nv + turtle.nsensordata


@pytest.mark.parametrize("name", READ)
def test_a_channel_has_the_group_and_unit_of_what_it_reads(turtle, name):
    found = {c.name: c for c in describe_channels(turtle, (), base_body=1)}[name]
    assert (found.group, found.unit, found.share) == READ[name]
    assert found.group == "sensor" or f"{found.group} {found.unit}" in known()


def test_noise_on_the_imu_reaches_an_observation_of_the_models_own_gyro(tmp_path, monkeypatch):
    path = tmp_path / "turtle.xml"
    path.write_text(TURTLE)
    new.create("noisy-turtle", path, tmp_path / "robots")
    monkeypatch.setenv(content.OWN, str(tmp_path / "robots"))
    env = make("noisy-turtle")
    own = ObservationTerm("gyro", "rad/s", lambda robot, seen: seen.sensors[robot.sensor("turn")])
    env = replace(env, mdp=replace(env.mdp, observe=(own,)))
    channel = "base_angular_velocity rad/s"
    rng = np.random.default_rng(0)
    noisy = inject(env.neutral(), env.robot, "sensor_noise", 0.5, rng, "noise", channel=channel)
    many = jax.tree.map(lambda x: jnp.broadcast_to(x, (512, *np.shape(x))), noisy)
    state = jax.jit(env.reset_batch)(jax.random.split(jax.random.key(0), 512), many)
    true = np.asarray(state.signals.sensors)[:, env.robot.sensor("turn")]
    assert np.std(np.asarray(state.observation) - true) == pytest.approx(0.5, rel=0.05)
    assert group_mask(env.robot.channels, "base_angular_velocity", "rad/s").sum() == 9
