"""Robots as people publish them: each kind comes in with the right values, or is refused."""

import mujoco
import numpy as np
import pytest

from robo_rl import errors
from robo_rl.robots import changes
from robo_rl.robots.published import read_published, write_files

INERTIA = '<inertia ixx=".01" iyy=".01" izz=".01" ixy="0" ixz="0" iyz="0"/>'
LEG = """<body name="shin" pos="0 0 -.1"><joint name="knee" axis="0 1 0"/>
<geom name="toe" type="capsule" fromto="0 0 0 0 0 -.2" size=".02" mass=".4"/></body>"""
MOTOR = '<motor name="turn" joint="knee" ctrlrange="-2 2"/>'
TETRAHEDRON = "v 0 0 0\nv .1 0 0\nv 0 .1 0\nv 0 0 .1\nf 1 3 2\nf 1 2 4\nf 2 3 4\nf 3 1 4\n"


def walker(  # noqa: PLR0913
    world='<geom name="floor" type="plane" size="5 5 .1"/>',
    root='<freejoint name="root"/>',
    trunk="",
    actuator=MOTOR,
    head="",
    tail="",
):
    return f"""<mujoco>{head}<worldbody>{world}<body name="trunk" pos="0 0 .7">{root}
    <geom name="hull" type="box" size=".2 .1 .05" mass="2"/>{trunk}{LEG}</body></worldbody>
    <actuator>{actuator}</actuator>{tail}</mujoco>"""


def link(name, mass=1.0):
    return f'<link name="{name}"><inertial><mass value="{mass}"/>{INERTIA}</inertial></link>'


def joint(name, parent, child, kind="revolute", more='<limit lower="-1" upper="1" effort="9"/>'):
    return f"""<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>
    <axis xyz="0 1 0"/>{more}</joint>"""


def dog(legs=2, *extra):
    """A URDF of a 5 kg root link with legs of two joints and 1 kg a link."""
    parts = [link("root", 5.0)]
    for k in range(legs):
        parts += [link(f"thigh{k}"), link(f"shank{k}"), joint(f"hip{k}", "root", f"thigh{k}")]
        knee = '<limit lower="-2" upper="-.5" effort="9" velocity="7"/>'
        parts += [joint(f"knee{k}", f"thigh{k}", f"shank{k}", more=knee)]
    return f'<robot name="dog">{"".join(parts)}{"".join(extra)}</robot>'


def write(tmp_path, text, name="model.xml"):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def stored(published, folder):
    """The model as it is loaded again from the files that are kept of it."""
    write_files(published, folder)
    spec = mujoco.MjSpec.from_file(str(folder / published.main))
    changes.apply(spec, published.changes, "stored")
    return spec.compile()


def test_the_stored_files_compile_to_the_same_model_to_the_last_bit(tmp_path):
    odd = walker().replace('mass="2"', 'mass="2.0000000123"')  # to_xml would round it
    published = read_published(write(tmp_path, odd))
    model = stored(published, tmp_path / "kept")
    assert model.body_mass[1] == 2.0000000123
    for name in ("qpos0", "body_inertia", "geom_size", "actuator_ctrlrange", "jnt_range"):
        np.testing.assert_array_equal(getattr(model, name), getattr(published.model, name))
    assert (tmp_path / "kept" / "model.xml").read_bytes() == (tmp_path / "model.xml").read_bytes()


def test_the_ground_is_the_level_plane_below_and_the_base_the_jointed_tree(tmp_path):
    world = """<geom name="wall" type="plane" size="3 3 .1" pos="3 0 0" zaxis="-1 0 0"/>
    <geom name="shelf" type="plane" size="3 3 .1" pos="0 0 4"/>
    <geom name="hall" type="plane" size="5 5 .1" pos="0 0 .1"/>
    <body name="tracker" mocap="true" pos="1 0 1"><geom size=".05" mass="9"/></body>"""
    published = read_published(write(tmp_path, walker(world)))
    assert (published.ground, published.ground_m) == ("hall", 0.1)
    assert published.base_body == "trunk"
    assert published.home.qpos[2] == pytest.approx(0.1 + 0.32)  # leg: .1 + .2 and its radius .02
    assert "total mass: 2.4 kg of 2 bodies" in published.assumed


@pytest.mark.parametrize(
    "drive",
    [
        '<motor joint="knee" ctrlrange="-1 1"/>',
        '<motor tendon="cord" ctrlrange="-1 1"/>',
        '<adhesion body="shin" ctrlrange="0 1" gain="2"/>',
        '<motor site="nozzle" gear="0 0 1 0 0 0" ctrlrange="0 1"/>',
    ],
)
def test_the_base_is_what_the_actuators_move_and_not_the_heaviest_or_first(tmp_path, drive):
    crane = """<body name="crane" pos="3 0 2"><joint name="a" axis="0 1 0"/>
    <geom size=".2" mass="90"/><body name="jib" pos="0 0 -.4"><joint name="b" axis="1 0 0"/>
    <geom size=".1" mass="9"/></body>
    </body>"""
    cord = '<tendon><fixed name="cord"><joint joint="knee" coef="2"/></fixed></tendon>'
    trunk = '<site name="nozzle" pos="0 0 -.1"/>'
    text = walker(crane, root="", trunk=trunk, actuator=drive, tail=cord)
    text = text.replace(
        '<body name="trunk" pos="0 0 .7">', '<body name="trunk" pos="0 0 .7"><joint/>'
    )
    published = read_published(write(tmp_path, text))
    assert published.base_body == "trunk"
    assert "crane" in published.assumed[1]  # what else could have been meant


def test_a_floating_robot_without_ground_gets_one_and_stands_on_it(tmp_path):
    published = read_published(write(tmp_path, walker(world="")))
    assert published.ground == "floor"
    assert published.home.qpos[2] == pytest.approx(0.32)
    assert stored(published, tmp_path / "kept").geom("floor").type[0] == mujoco.mjtGeom.mjGEOM_PLANE


def test_a_box_below_is_a_ground_where_there_is_no_plane(tmp_path):
    world = '<geom name="slab" type="box" size="3 3 .2" pos="0 0 -.2"/>'
    assert read_published(write(tmp_path, walker(world))).ground == "slab"


@pytest.mark.parametrize(
    ("joint_range", "actuator", "ctrlrange"),
    [
        ("", '<motor name="m" joint="knee" gear="4" forcerange="-5 7"/>', (-5, 7)),
        ('actuatorfrcrange="-60 60"', '<motor name="m" joint="knee" gear="-4"/>', (-15, 15)),
        ('actuatorfrcrange="-60 60"', '<motor name="m" joint="knee"/>', (-60, 60)),
        ('range="-30 60"', '<position name="m" joint="knee" kp="9"/>', (-np.pi / 6, np.pi / 3)),
    ],
)
def test_a_missing_control_range_follows_from_the_limits(
    tmp_path, joint_range, actuator, ctrlrange
):
    text = walker(actuator=actuator).replace('name="knee"', f'name="knee" {joint_range}')
    published = read_published(write(tmp_path, text))
    assert not published.undriven
    np.testing.assert_allclose(published.model.actuator("m").ctrlrange, ctrlrange)
    np.testing.assert_allclose(stored(published, tmp_path / "k").actuator("m").ctrlrange, ctrlrange)


def test_an_actuator_without_any_limit_is_named(tmp_path):
    bare = read_published(write(tmp_path, walker(actuator='<motor name="m" joint="knee"/>')))
    assert "actuator 'm'" in bare.undriven[0]
    assert "actuatorfrcrange" in bare.undriven[0]


VISUAL = '<asset><mesh name="shell" file="shell.obj"/></asset>'


def test_a_missing_visual_mesh_is_left_out_with_a_warning(tmp_path):
    geom = '<geom name="skin" type="mesh" mesh="shell" contype="0" conaffinity="0" density="0"/>'
    published = read_published(write(tmp_path, walker(trunk=geom, head=VISUAL)))
    assert "mesh 'shell'" in published.warnings[0]
    assert published.model.nmesh == 0
    assert "skin" not in [g.name for g in published.spec.geoms]
    assert stored(published, tmp_path / "kept").body("trunk").mass[0] == 2.0


@pytest.mark.parametrize(
    ("geom", "lost"),
    [
        ('<geom type="mesh" mesh="shell"/>', "body 'trunk' would lose its contact"),
        (
            '<geom type="mesh" mesh="shell" contype="0" conaffinity="0"/>',
            "body 'trunk' would lose its inertia",
        ),
    ],
)
def test_a_missing_mesh_that_physics_needs_is_an_error(tmp_path, geom, lost):
    with pytest.raises(errors.UserError, match=f"mesh 'shell': its file shell.obj.*{lost}"):
        read_published(write(tmp_path, walker(trunk=geom, head=VISUAL)))


def test_files_are_found_as_mujoco_finds_them(tmp_path):
    head = """<compiler meshdir="../meshes" texturedir="pictures"/><include file="parts/more.xml"/>
    <asset><mesh name="stone" file="stone.obj"/></asset>"""
    more = """<mujoco><asset><mesh name="inner" file="inner.obj"/></asset>
    <default><default class="seen"><geom contype="0" conaffinity="0" density="0"/></default>
    </default></mujoco>"""
    trunk = '<geom type="mesh" mesh="stone"/><geom class="seen" type="mesh" mesh="inner"/>'
    write(tmp_path, more, "robot/parts/more.xml")
    write(tmp_path, TETRAHEDRON, "meshes/stone.obj")
    write(tmp_path, TETRAHEDRON, "meshes/inner.obj")
    path = write(tmp_path, walker(head=head, trunk=trunk), "robot/scene.xml")
    published = read_published(path)
    assert set(published.files) == {
        "robot/scene.xml",
        "robot/parts/more.xml",
        "meshes/stone.obj",
        "meshes/inner.obj",
    }
    assert published.main == "robot/scene.xml"
    assert stored(published, tmp_path / "elsewhere").nmesh == 2


def test_an_include_beside_its_own_assets_in_a_subfolder(tmp_path, monkeypatch):
    more = '<mujoco><asset><mesh name="stone" file="assets/stone.obj"/></asset></mujoco>'
    write(tmp_path, more, "sub/more.xml")
    write(tmp_path, TETRAHEDRON, "sub/assets/stone.obj")
    head = '<include file="sub/more.xml"/>'
    write(tmp_path, walker(head=head, trunk='<geom type="mesh" mesh="stone"/>'))
    monkeypatch.chdir(tmp_path.parent)
    published = read_published(tmp_path.relative_to(tmp_path.parent) / "model.xml")
    assert stored(published, tmp_path / "kept").nmesh == 1


def test_mesh_feet_torque_motors_and_an_attached_hand_come_in(tmp_path):
    head = """<compiler meshdir="meshes"/><default><motor gear="2"/></default>
    <asset><mesh name="foot" file="foot.obj"/><model name="hand" file="hand/hand.xml"/></asset>"""
    trunk = '<body name="sole" pos="0 0 -.1"><geom type="mesh" mesh="foot"/></body>'
    trunk += '<body name="wrist" pos=".2 0 0"><attach model="hand" body="palm" prefix="h_"/></body>'
    hand = """<mujoco><compiler meshdir="stl"/><asset><mesh name="palm" file="palm.obj"/></asset>
    <worldbody><body name="palm"><joint name="grip" axis="1 0 0"/><geom type="mesh" mesh="palm"/>
    </body></worldbody></mujoco>"""
    write(tmp_path, TETRAHEDRON, "meshes/foot.obj")
    write(tmp_path, TETRAHEDRON, "hand/stl/palm.obj")
    write(tmp_path, hand, "hand/hand.xml")
    text = walker(trunk=trunk, head=head, actuator='<motor name="m" joint="knee"/>')
    text = text.replace('name="knee"', 'name="knee" actuatorfrcrange="-88 88"')
    published = read_published(write(tmp_path, text))
    np.testing.assert_allclose(published.model.actuator("m").ctrlrange, [-44, 44])
    model = stored(published, tmp_path / "kept")
    assert model.nmesh == 2
    assert "sole_geom" in [model.geom(i).name for i in range(model.ngeom)]
    assert "h_grip" in [model.joint(i).name for i in range(model.njnt)]


def test_a_missing_include_or_height_field_is_an_error(tmp_path):
    field = '<asset><hfield name="hills" file="hills.png" size="1 1 .1 .1"/></asset>'
    with pytest.raises(errors.UserError, match=r"hfield 'hills': its file hills\.png is missing"):
        read_published(write(tmp_path, walker(head=field)))
    with pytest.raises(errors.UserError, match=r"more\.xml"):
        read_published(write(tmp_path, walker(head='<include file="more.xml"/>')))


def test_missing_pictures_are_left_out(tmp_path):
    head = """<asset><texture name="sky" type="cube" fileright="r.png" fileleft="l.png"/>
    <texture name="wood" type="2d" file="wood.png"/><material name="m" texture="wood"/></asset>"""
    tail = '<deformable><skin name="cloth" file="cloth.skn"/></deformable>'
    published = read_published(write(tmp_path, walker(head=head, tail=tail)))
    assert published.model.ntex == published.model.nskin == 0
    assert all(any(n in w for w in published.warnings) for n in ("'sky'", "'wood'", "'cloth'"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('<robot xmlns:xacro="http://x"><xacro:include filename="b"/></robot>', "It is xacro"),
        (walker(head='<size nuserdata="2147483647"/>'), "size nuserdata=2147483647"),
        ("<mujoco><worldbody><geom/></worldbody>", "MuJoCo cannot read it"),
        ("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>", "no joint"),
        (walker().replace('mass=".4"', 'mass="0"'), "MuJoCo cannot compile it.*shin"),
    ],
)
def test_what_cannot_be_read_is_a_user_error(tmp_path, text, named):
    with pytest.raises(errors.UserError, match=f"(?s){named}"):
        read_published(write(tmp_path, text))


def test_unnamed_parts_get_names_and_keep_them_when_loaded_again(tmp_path):
    text = walker().replace(' name="root"', "").replace(' name="toe"', "")
    text = text.replace(' name="trunk"', "").replace(' name="knee"', ' name="knee"')
    published = read_published(write(tmp_path, text))
    model = published.model
    assert published.base_body == "body1"
    assert [model.joint(i).name for i in range(model.njnt)] == ["root", "knee"]
    assert "shin_geom" in [model.geom(i).name for i in range(model.ngeom)]
    assert stored(published, tmp_path / "kept").names == model.names


def test_a_base_is_freed_or_fixed_as_asked_and_keyframes_keep_their_meaning(tmp_path):
    key = '<keyframe><key name="home" qpos="{}.3"/></keyframe>'
    fixed = write(tmp_path, walker(root="", tail=key.format("")), "fixed.xml")
    freed = read_published(fixed, "free")
    np.testing.assert_allclose(freed.home.qpos, [0, 0, 0.7, 1, 0, 0, 0, 0.3])
    floating = write(tmp_path, walker(tail=key.format("0 0 .5 1 0 0 0 ")), "free.xml")
    np.testing.assert_allclose(read_published(floating, "fixed").home.qpos, [0.3])
    assert stored(read_published(floating, "fixed"), tmp_path / "kept").nq == 1


def test_the_home_keyframe_is_taken_whole(tmp_path):
    keys = """<keyframe><key name="lying" qpos="0 0 .1 1 0 0 0 0"/>
    <key name="home" qpos="0 0 .9 0 0 1 0 .2" act=".4" ctrl=".6"/></keyframe>"""
    servo = '<intvelocity name="servo" joint="knee" kp="9" ctrlrange="-1 1" actrange="-2 2"/>'
    home = read_published(write(tmp_path, walker(actuator=servo, tail=keys))).home
    np.testing.assert_array_equal(home.qpos, [0, 0, 0.9, 0, 0, 1, 0, 0.2])
    np.testing.assert_array_equal(home.act, [0.4])
    np.testing.assert_array_equal(home.ctrl, [0.6])


def test_a_keyframe_stands_where_it_stands_and_is_remarked_upon(tmp_path):
    key = '<keyframe><key name="home" qpos="0 0 {} 1 0 0 0 0"/></keyframe>'
    hovering = read_published(write(tmp_path, walker(tail=key.format(2))))
    assert hovering.home.qpos[2] == 2.0
    assert "1.68 m above the ground" in hovering.assumed[-1]
    sunk = read_published(write(tmp_path, walker(tail=key.format(0.3))))
    assert sunk.home.qpos[2] == 0.3
    assert "0.02 m in the ground" in sunk.warnings[0]
    on_ours = read_published(write(tmp_path, walker(world="", tail=key.format(0))))
    assert on_ours.home.qpos[2] == pytest.approx(0.32)


def test_a_loop_that_a_range_moves_is_closed_again(tmp_path):
    trunk = """<body name="a" pos=".1 0 0"><joint name="a" axis="0 1 0" range="10 40"/><geom
    type="capsule" fromto="0 0 0 0 0 .1" size=".01" mass=".1"/></body>"""
    tie = '<equality><joint joint1="knee" joint2="a" polycoef="0 -1 0 0 0"/></equality>'
    home = read_published(write(tmp_path, walker(trunk=trunk, tail=tie))).home.qpos
    np.testing.assert_allclose(home[7:], [np.radians(10), -np.radians(10)], atol=1e-6)


def test_a_massless_frame_and_a_ball_joint_on_a_loose_part_come_in(tmp_path):
    trunk = """<body name="frame" pos="0 0 .1"/><body name="tether" pos="0 0 .1">
    <joint name="swivel" type="ball"/><geom size=".02" mass=".1" pos="0 0 .1"/></body>"""
    assert read_published(write(tmp_path, walker(trunk=trunk))).base_body == "trunk"


def test_a_urdf_keeps_the_mass_of_every_link_and_starts_within_its_ranges(tmp_path):
    path = write(tmp_path, dog(2), "dog.urdf")
    published = read_published(path, "free", motors=True)
    assert published.base_body == "root"
    assert published.model.body_subtreemass[published.model.body("root").id] == pytest.approx(9.0)
    assert published.model.nu == 4
    np.testing.assert_allclose(published.home.qpos[7:], [0, -0.5, 0, -0.5])
    assert "knee0 7" in published.warnings[0]
    assert stored(published, tmp_path / "kept").nq == 11
    assert read_published(path, "fixed", motors=True).model.nq == 4


def test_a_urdf_that_does_not_say_whether_it_floats_is_asked(tmp_path):
    with pytest.raises(errors.UserError, match="base=free or base=fixed"):
        read_published(write(tmp_path, dog(2), "dog.urdf"))
    arm = read_published(write(tmp_path, dog(1), "arm.urdf"))
    assert "base: fixed to the world" in " ".join(arm.assumed)
    said = dog(2, '<link name="world"/>', joint("floor", "world", "root", "fixed", ""))
    assert read_published(write(tmp_path, said, "said.urdf")).model.nq == 4
    floats = said.replace('type="fixed"', 'type="floating"')
    assert read_published(write(tmp_path, floats, "floats.urdf")).model.nq == 11


def test_a_mimic_joint_is_an_equality_without_a_motor(tmp_path):
    finger = '<limit lower="0" upper=".04" effort="20" velocity=".2"/>'
    mimic = '<mimic joint="one" multiplier="-2" offset=".01"/>'
    urdf = f"""<robot name="grip">{link("palm")}{link("a", 0.1)}{link("b", 0.1)}
    {joint("one", "palm", "a", "prismatic", finger)}
    {joint("two", "palm", "b", "prismatic", finger.replace('"0"', '"-.1"') + mimic)}</robot>"""
    published = read_published(write(tmp_path, urdf, "grip.urdf"), "fixed", motors=True)
    model = published.model
    assert [model.actuator(i).name for i in range(model.nu)] == ["one"]
    assert model.neq == 1
    np.testing.assert_allclose(model.eq_data[0, :3], [0.01, -2, 0])
    np.testing.assert_allclose(published.home.qpos, [0, 0.01])  # the follower where it is held
    assert "one 0.2" in published.warnings[0]


def test_package_paths_are_found_above_the_urdf_and_stored_relative(tmp_path):
    shape = """<collision><geometry><mesh filename="package://dog_description/meshes/hull.obj"/>
    </geometry></collision></link>"""
    text = dog(1).replace("</link>", shape, 1)
    path = write(tmp_path, text, "dog_description/urdf/dog.urdf")
    with pytest.raises(errors.UserError, match="mesh 'hull'.*body 'root' would lose its contact"):
        read_published(path)
    write(tmp_path, TETRAHEDRON, "dog_description/meshes/hull.obj")
    published = read_published(path)
    assert set(published.files) == {"urdf/dog.urdf", "meshes/hull.obj"}
    assert stored(published, tmp_path / "kept").nmesh == 1


def test_a_joint_without_effort_asks_for_one(tmp_path):
    path = write(tmp_path, dog(1).replace('effort="9"', 'effort="0"'), "dog.urdf")
    with pytest.raises(errors.UserError, match="joint 'hip0'.*effort=N"):
        read_published(path, motors=True)
    given = read_published(path, motors=True, effort=30.0)
    np.testing.assert_allclose(given.model.actuator_gear[:, 0], 30.0)


def test_an_unknown_change_is_named():
    with pytest.raises(errors.UserError, match="no change named 'drop_mash'.*drop_mesh"):
        changes.apply(mujoco.MjSpec(), [{"drop_mash": {"name": "x"}}], "robot.yaml")
    with pytest.raises(errors.UserError, match=r"drop_mesh.*nothing is named 'x'"):
        changes.apply(mujoco.MjSpec(), [{"drop_mesh": {"name": "x"}}], "robot.yaml")
