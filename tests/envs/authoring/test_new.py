"""A robot of one's own: what is written works, what cannot serve is refused by name."""

import io
import subprocess
import sys

import jax
import pytest
from rich.console import Console

from robo_rl import content, errors
from robo_rl.envs.authoring import new
from robo_rl.envs.step import make

LIMIT = '<limit lower="-2" upper="2" effort="{effort}" velocity="5"/>'
INERTIA = 'ixx=".01" iyy=".01" izz=".01" ixy="0" ixz="0" iyz="0"'
MASS = f'<inertial><mass value="1"/><inertia {INERTIA}/></inertial>'
URDF = f"""<robot name="r"><link name="base"/><link name="arm">{MASS}</link>
<joint name="hip" type="revolute"><parent link="base"/><child link="arm"/><axis xyz="0 1 0"/>
{LIMIT}<dynamics damping="0.5"/></joint></robot>"""
CART = """<mujoco><worldbody>{world}<body name="cart" pos="0 0 {height}">{joint}
<geom name="box" type="box" size=".2 .1 .05" mass="2"/><body name="arm"><joint name="arm"
axis="0 1 0" damping=".1"/><geom type="capsule" size=".02" fromto="0 0 .1 0 0 .4" mass=".3"/>
</body></body></worldbody><actuator>{actuator}</actuator></mujoco>"""
MOTOR = '<motor name="turn" joint="arm" ctrlrange="-1 1" ctrllimited="true"/>'
FREE = '<freejoint name="root"/>'


def write(tmp_path, text, name="mine.xml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def cart(world="", joint=FREE, actuator=MOTOR, height=1.0):
    return CART.format(world=world, joint=joint, actuator=actuator, height=height)


@pytest.mark.parametrize(
    ("text", "file"),
    [(URDF.format(effort=3), "one.urdf"), (cart(), "one.xml")],
)
def test_what_is_written_passes_the_contract_in_a_fresh_process(tmp_path, text, file):
    folder = tmp_path / "robots"
    written = new.create("my-robot", write(tmp_path, text, file), folder)
    assert all(path.is_file() for path in written)
    done = subprocess.run(
        [sys.executable, "-m", "robo_rl", "envs", "check", "my-robot", "steps=10"],
        env={"ROBO_RL_ENVS": str(folder), "PATH": "", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAIL" not in done.stdout


def test_a_floating_robot_is_set_down_on_a_floor_that_was_missing(tmp_path):
    folder = tmp_path / "robots"
    new.create("my-cart", write(tmp_path, cart(height=1.0)), folder)
    home = content.read_yaml(folder / "envs" / "my-cart" / "robot.yaml")["initial_qpos"]
    assert home[2] == pytest.approx(0.05)  # half the box's height
    described = content.read_yaml(folder / "envs" / "my-cart" / "robot.yaml")
    assert described["ground"] == "floor"
    assert {"add_ground": {"name": "floor", "height_m": 0.0}} in described["changes"]


@pytest.mark.parametrize(
    ("text", "file", "named"),
    [
        (URDF.format(effort=0), "r.urdf", "joint 'hip': its limit has no effort.*effort=N"),
        (cart(actuator=""), "r.xml", "joint 'arm': its limit has no effort.*effort=N"),
        (cart(actuator='<motor name="m" joint="arm"/>'), "r.xml", "actuator 'm': it has no ctrlr"),
        ("<mujoco><worldbody><geom/></worldbody>", "r.xml", "MuJoCo cannot read it"),
        (
            cart(actuator='<motor name="m" joint="arm" ctrlrange="-1e9 1e9" ctrllimited="true"/>'),
            "r.xml",
            "joint 'arm': the simulation diverges",
        ),
    ],
)
def test_a_model_that_cannot_serve_is_refused_by_its_element(tmp_path, text, file, named):
    with pytest.raises(errors.UserError, match=named):
        new.create("my-robot", write(tmp_path, text, file), tmp_path / "robots")
    assert not (tmp_path / "robots").exists()


def test_the_command_loads_what_it_wrote_and_prints_what_was_assumed_and_the_mdp(tmp_path):
    console = Console(record=True, width=200, file=io.StringIO())
    new.run("loaded-cart", write(tmp_path, cart()), None, None, tmp_path / "robots", console)
    said = console.export_text()
    for line in (
        "total mass: 2.3 kg of 2 bodies",
        "ground: 'floor'",
        "base at 0.05 m",
        "tilt > 1 rad",
    ):
        assert line in said, line


def test_a_loose_thing_beside_the_robot_is_not_observed(tmp_path, monkeypatch):
    toy = '<body name="toy" pos="1 0 .1"><freejoint/><geom size=".1"/></body>'
    text = cart().replace("</worldbody>", f"{toy}</worldbody>")
    new.create("toy-cart", write(tmp_path, text), tmp_path / "robots")
    monkeypatch.setenv(content.OWN, str(tmp_path / "robots"))
    env = make("toy-cart")
    sizes = {o.name: o for o in env.mdp.observe}
    signals = jax.jit(env.reset)(jax.random.key(0)).signals
    assert env.robot.model.nq == 7 + 1 + 7
    for name in ("qpos[7:] - home", "joint velocities"):
        assert sizes[name].read(env.robot, signals).shape == (1,)


def test_a_robot_that_cannot_be_loaded_leaves_nothing_behind(tmp_path, monkeypatch):
    render = new._render
    monkeypatch.setattr(
        new, "_render", lambda t, v: render(t, v).replace("forward_velocity_of_base", "forwards")
    )
    console = Console(file=io.StringIO())
    with pytest.raises(errors.UserError, match="forwards"):
        new.run("odd-cart", write(tmp_path, cart()), None, None, tmp_path / "robots", console)
    assert not [p for p in (tmp_path / "robots").rglob("*") if p.is_file()]


def test_a_base_that_is_neither_free_nor_fixed_is_refused(tmp_path):
    with pytest.raises(errors.UserError, match="base=loose: free or fixed"):
        new.run("my-cart", write(tmp_path, cart()), "loose", None, tmp_path, Console())


def test_a_taken_name_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(errors.UserError, match="'hopper' is taken"):
        new.create("hopper", write(tmp_path, cart()), tmp_path / "robots")
    with pytest.raises(errors.UserError, match=r"nothing\.xml: no such file"):
        new.create("my-robot", tmp_path / "nothing.xml", tmp_path / "robots")
