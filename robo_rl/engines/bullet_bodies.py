"""Bullet bodies of a compiled MuJoCo model: links, joints, primitive shapes, inertias, limits.

Bullet has no joint-space inertia: a joint's armature A is a rotor of inertia A / GEAR^2 on the
parent body, geared up GEAR times. That is what a geared motor is, and A as GEAR grows; what is left
over is A / GEAR, coupling the rotor's spin into the parent.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import mujoco
import numpy as np

from robo_rl.errors import UserError


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Hides what C code writes: PyBullet prints its build time when it is imported."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


with _silent_stderr():
    import pybullet

GEAR = 1000.0
UNBOUNDED = 1e9
UPRIGHT = np.array([1.0, 0.0, 0.0, 0.0])  # quaternion w x y z
FREE, BALL, SLIDE = (int(mujoco.mjtJoint(k)) for k in range(3))
HFIELD = int(mujoco.mjtGeom.mjGEOM_HFIELD)
SHAPES = ("PLANE", "HFIELD", "SPHERE", "CAPSULE", "CYLINDER", "BOX")
CALM = {  # Bullet's own losses and bounds, all off
    "linearDamping": 0.0,
    "angularDamping": 0.0,
    "jointDamping": 0.0,
    "maxJointVelocity": UNBOUNDED,
    "restitution": 0.0,
    "rollingFriction": 0.0,
    "spinningFriction": 0.0,
}


class Moving(NamedTuple):
    """A joint of one degree of freedom: where it is in the model and in Bullet."""

    joint: int
    body: int  # Bullet's
    link: int
    rotor: int  # the link that carries the armature; -1 without one


class Floating(NamedTuple):
    """A body with a free joint: where it is in the model and in Bullet."""

    joint: int
    body: int  # Bullet's
    part: int  # MuJoCo's body


@dataclass
class Bodies:
    """What was built: Bullet's handles by the model's indices."""

    ids: list[int] = field(default_factory=list)  # of all that can move
    moving: list[Moving] = field(default_factory=list)
    floating: list[Floating] = field(default_factory=list)
    geoms: dict[int, tuple[int, int]] = field(default_factory=dict)  # to (body, link)
    masses: dict[int, tuple[int, int]] = field(default_factory=dict)  # MuJoCo's body to the same


@dataclass
class _Link:
    """One link of a Bullet multi-body, in the frame of the link before it."""

    parent: int  # 0 is the base, k + 1 is link k
    position: np.ndarray
    quat: np.ndarray
    kind: int
    axis: np.ndarray
    mass: float = 0.0
    inertia: np.ndarray = field(default_factory=lambda: np.zeros(3))
    com: np.ndarray = field(default_factory=lambda: np.zeros(3))
    com_quat: np.ndarray = field(default_factory=lambda: UPRIGHT)
    shape: int = -1


def build(model: mujoco.MjModel, client: int) -> Bodies:
    """The model's bodies in a Bullet client; UserError names an element that Bullet lacks."""
    refuse(model)
    builder = _Builder(model, client)
    for geom in builder.colliding:
        if model.geom_bodyid[geom] == 0:
            builder.add_static(int(geom))
    for root in np.flatnonzero(model.body_parentid == 0)[1:]:
        builder.add_tree(int(root))
    builder.filter_collisions()
    return builder.bodies


def refuse(model: mujoco.MjModel) -> None:
    """Raises UserError for what this engine would otherwise leave out."""
    kinds = {int(getattr(mujoco.mjtGeom, f"mjGEOM_{name}")) for name in SHAPES}
    colliding = np.flatnonzero(model.geom_contype | model.geom_conaffinity)
    accelerations = model.sensor_needstage == int(mujoco.mjtStage.mjSTAGE_ACC)
    accelerations &= model.sensor_type != int(mujoco.mjtSensor.mjSENS_CONTACT)
    free = np.flatnonzero(model.jnt_type == FREE)
    heavy = [j for j in free if model.dof_armature[model.jnt_dofadr[j]] > 0]
    filters = int(mujoco.mjtDyn.mjDYN_FILTEREXACT)
    tendons = (model.tendon_limited != 0) | (model.tendon_frictionloss > 0)
    unsupported = {
        ("geom", f"it collides and is none of {', '.join(SHAPES).lower()}"): [
            g for g in colliding if int(model.geom_type[g]) not in kinds
        ],
        ("joint", "it is a ball joint"): np.flatnonzero(model.jnt_type == BALL),
        ("joint", "it is free and has armature"): heavy,
        ("equality", "it is an equality constraint"): np.arange(model.neq),
        ("tendon", "it has a limit or friction"): np.flatnonzero(tendons),
        ("sensor", "it reads accelerations or forces"): np.flatnonzero(accelerations),
        ("actuator", "it has a delay"): np.flatnonzero(model.actuator_history[:, 0]),
        ("sensor", "it has a delay"): np.flatnonzero(model.sensor_history[:, 0]),
        ("actuator", "its activation is no filter"): np.flatnonzero(
            model.actuator_dyntype > filters
        ),
    }
    for (kind, why), found in unsupported.items():
        for index in found:
            name = getattr(model, kind)(int(index)).name or f"number {index}"
            raise UserError(f"engine bullet cannot run this model: {kind} {name!r}: {why}.")


def matrix(quat: np.ndarray) -> np.ndarray:
    """Rotation matrix [3, 3] of a unit quaternion (w, x, y, z)."""
    flat = np.zeros(9)
    mujoco.mju_quat2Mat(flat, np.asarray(quat, np.float64))
    return flat.reshape(3, 3)


def xyzw(quat: np.ndarray) -> list[float]:
    """A quaternion (w, x, y, z) in Bullet's order."""
    return np.roll(quat, -1).tolist()


class _Builder:
    def __init__(self, model: mujoco.MjModel, client: int):
        self.model, self.bodies = model, Bodies()
        self.client = {"physicsClientId": client}
        self.colliding = np.flatnonzero(model.geom_contype | model.geom_conaffinity)
        ground = self.colliding[model.geom_bodyid[self.colliding] == 0]
        self.ground_friction = float(model.geom_friction[ground, 0].max(initial=0.0))
        self.ground_condim = int(model.geom_condim[ground].max(initial=1))
        self.ground_priority = int(model.geom_priority[ground].max(initial=0))
        self.margin_m = float(model.geom_margin[self.colliding].max(initial=0.0))

    def add_static(self, geom: int) -> None:
        """A geom of the world; raised by the margin at which MuJoCo's contacts begin to push."""
        model, turn = self.model, self.model.geom_quat[geom]
        up_m = self.margin_m
        if model.geom_type[geom] == HFIELD:  # Bullet's is centred on the middle of its heights
            up_m += model.hfield_size[model.geom_dataid[geom], 2] / 2
        raised = model.geom_pos[geom] + up_m * matrix(turn)[:, 2]
        body = pybullet.createMultiBody(
            0.0, self._shape(geom), -1, raised.tolist(), xyzw(turn), **self.client
        )
        pybullet.changeDynamics(body, -1, lateralFriction=1.0, **self.client)
        self.bodies.geoms[geom] = (body, -1)

    def add_tree(self, root: int) -> None:
        """One multi-body of all that hangs on a child of the world."""
        model = self.model
        free = model.body_jntnum[root] > 0 and model.jnt_type[model.body_jntadr[root]] == FREE
        links: list[_Link] = []
        pivots = {0: np.zeros(3)}  # of MuJoCo's bodies: origin of their last link, in their frame
        last = {0: -1}  # and that link
        driven: list[tuple[int, int, int]] = []
        shaped: list[tuple[int, int]] = []
        for body in np.flatnonzero(model.body_rootid == root).tolist():
            if free and body == root:
                pivots[body], last[body] = np.zeros(3), -1
            else:
                parent = int(model.body_parentid[body])
                joints = self._links_of(body, last[parent], pivots[parent], links)
                driven += joints
                pivots[body] = model.jnt_pos[joints[-1][0]] if joints else np.zeros(3)
                last[body] = len(links) - 1
                self._give_mass(links[-1], body, pivots[body])
            for geom in self.colliding[model.geom_bodyid[self.colliding] == body].tolist():
                at = model.geom_pos[geom] - pivots[body]
                link = _Link(last[body] + 1, at, model.geom_quat[geom], *_fixed())
                link.shape = self._shape(geom)
                links.append(link)
                shaped.append((geom, len(links) - 1))
        body = self._create(links, root if free else None)
        self.bodies.ids.append(body)
        for index in np.flatnonzero(model.body_rootid == root).tolist():
            self.bodies.masses[index] = (body, last[index])
        for geom, link in shaped:
            self._set_friction(geom, body, link)
        for joint, link, rotor in driven:
            self._set_joint(Moving(joint, body, link, rotor))
        if free:
            self.bodies.floating.append(Floating(int(model.body_jntadr[root]), body, root))

    def _links_of(
        self, body: int, parent: int, pivot: np.ndarray, links: list[_Link]
    ) -> list[tuple[int, int, int]]:
        """Appends a link per joint of a body, or a fixed one; (joint, link, rotor) of each."""
        model = self.model
        at, quat = model.body_pos[body] - pivot, model.body_quat[body]
        first = int(model.body_jntadr[body])
        joints = range(first, first + int(model.body_jntnum[body]))
        if not joints:
            links.append(_Link(parent + 1, at, quat, *_fixed()))
            return []
        made, before = [], np.zeros(3)
        for joint in joints:
            where = at + matrix(quat) @ (model.jnt_pos[joint] - before)
            axis = model.jnt_axis[joint]
            armature, rotor = model.dof_armature[model.jnt_dofadr[joint]], -1
            if armature > 0:
                rotor = len(links)
                links.append(_Link(parent + 1, where, quat, pybullet.JOINT_REVOLUTE, axis))
                links[-1].inertia = np.full(3, armature / GEAR**2)
            slides = model.jnt_type[joint] == SLIDE
            kind = pybullet.JOINT_PRISMATIC if slides else pybullet.JOINT_REVOLUTE
            links.append(_Link(parent + 1, where, quat, kind, axis))
            parent = len(links) - 1
            made.append((joint, parent, rotor))
            at, quat, before = np.zeros(3), UPRIGHT, model.jnt_pos[joint]
        return made

    def _give_mass(self, link: _Link, body: int, pivot: np.ndarray) -> None:
        model = self.model
        link.mass, link.inertia = float(model.body_mass[body]), model.body_inertia[body]
        link.com, link.com_quat = model.body_ipos[body] - pivot, model.body_iquat[body]

    def _create(self, links: list[_Link], root: int | None) -> int:
        """The multi-body; root is the floating base, None stands for the world."""
        base = _Link(0, np.zeros(3), UPRIGHT, *_fixed())
        if root is not None:
            self._give_mass(base, root, np.zeros(3))
        body = pybullet.createMultiBody(
            baseMass=base.mass,
            baseInertialFramePosition=base.com.tolist(),
            baseInertialFrameOrientation=xyzw(base.com_quat),
            linkMasses=[link.mass for link in links],
            linkCollisionShapeIndices=[link.shape for link in links],
            linkVisualShapeIndices=[-1] * len(links),
            linkPositions=[link.position.tolist() for link in links],
            linkOrientations=[xyzw(link.quat) for link in links],
            linkInertialFramePositions=[link.com.tolist() for link in links],
            linkInertialFrameOrientations=[xyzw(link.com_quat) for link in links],
            linkParentIndices=[link.parent for link in links],
            linkJointTypes=[link.kind for link in links],
            linkJointAxis=[link.axis.tolist() for link in links],
            flags=pybullet.URDF_USE_SELF_COLLISION,
            **self.client,
        )
        for index, link in enumerate([base, *links], start=-1):
            inertia = {"mass": link.mass, "localInertiaDiagonal": link.inertia.tolist()}
            pybullet.changeDynamics(body, index, **inertia, **self.client)
            pybullet.changeDynamics(body, index, **CALM, **self.client)
        return body

    def _set_friction(self, geom: int, body: int, link: int) -> None:
        """MuJoCo takes the larger friction of two geoms, Bullet the product; the ground has 1.

        A geom of higher priority than the ground's decides alone.
        """
        model = self.model
        alone = model.geom_priority[geom] > self.ground_priority
        friction, condim = float(model.geom_friction[geom, 0]), int(model.geom_condim[geom])
        if not alone:
            friction = max(friction, self.ground_friction)
            condim = max(condim, self.ground_condim)
        friction = 0.0 if condim == 1 else friction
        pybullet.changeDynamics(body, link, lateralFriction=friction, **self.client)
        self.bodies.geoms[geom] = (body, link)

    def _set_joint(self, moving: Moving) -> None:
        """Dry friction, rotor and limits of a joint."""
        model, (joint, body, link, rotor) = self.model, moving
        hold = pybullet.VELOCITY_CONTROL
        friction = float(model.dof_frictionloss[model.jnt_dofadr[joint]])
        pybullet.setJointMotorControl2(body, link, hold, force=friction, **self.client)
        if rotor >= 0:
            pybullet.setJointMotorControl2(body, rotor, hold, force=0.0, **self.client)
            axes = [0, 0, 1], [0, 0, 0], [0, 0, 0]
            gear = pybullet.createConstraint(
                body, link, body, rotor, pybullet.JOINT_GEAR, *axes, **self.client
            )
            pybullet.changeConstraint(
                gear, gearRatio=-1.0 / GEAR, maxForce=UNBOUNDED, erp=0.0, **self.client
            )
        if model.jnt_limited[joint]:
            low, high = model.jnt_range[joint] - model.qpos0[model.jnt_qposadr[joint]]
            limits = {"jointLowerLimit": low, "jointUpperLimit": high, "jointLimitForce": UNBOUNDED}
            pybullet.changeDynamics(body, link, **limits, **self.client)
        self.bodies.moving.append(moving)

    def _shape(self, geom: int) -> int:
        size = self.model.geom_size[geom]
        kinds = {int(getattr(mujoco.mjtGeom, f"mjGEOM_{name}")): name for name in SHAPES}
        kind = kinds[int(self.model.geom_type[geom])]
        if kind == "HFIELD":
            field = self._heights(int(self.model.geom_dataid[geom]))
            return pybullet.createCollisionShape(pybullet.GEOM_HEIGHTFIELD, **field, **self.client)
        dimensions = {
            "PLANE": {"planeNormal": [0, 0, 1]},
            "SPHERE": {"radius": size[0]},
            "CAPSULE": {"radius": size[0], "height": 2 * size[1]},
            "CYLINDER": {"radius": size[0], "height": 2 * size[1]},
            "BOX": {"halfExtents": size.tolist()},
        }
        shape = getattr(pybullet, f"GEOM_{kind}")
        return pybullet.createCollisionShape(shape, **dimensions[kind], **self.client)

    def _heights(self, field: int) -> dict[str, object]:
        """A height field of the model, rows along y in both; Bullet spans columns along x."""
        model = self.model
        rows, columns = int(model.hfield_nrow[field]), int(model.hfield_ncol[field])
        half_x, half_y, top, _ = model.hfield_size[field]
        start = int(model.hfield_adr[field])
        share = model.hfield_data[start : start + rows * columns]
        return {
            "meshScale": [2 * half_x / (columns - 1), 2 * half_y / (rows - 1), 1.0],
            "heightfieldData": (top * share).tolist(),
            "numHeightfieldRows": columns,
            "numHeightfieldColumns": rows,
        }

    def filter_collisions(self) -> None:
        """Lets those geoms collide that MuJoCo lets collide."""
        for k, geom in enumerate(self.colliding):
            for other in self.colliding[k + 1 :]:
                (a, i), (b, j) = self.bodies.geoms[int(geom)], self.bodies.geoms[int(other)]
                meet = int(_collide(self.model, int(geom), int(other)))
                pybullet.setCollisionFilterPair(a, b, i, j, meet, **self.client)


def _fixed() -> tuple[int, np.ndarray]:
    return pybullet.JOINT_FIXED, np.array([0.0, 0.0, 1.0])


def _collide(model: mujoco.MjModel, geom: int, other: int) -> bool:
    """MuJoCo's rule: types match; not one rigid part; not parent and child, the world excepted."""
    types = (model.geom_contype[geom] & model.geom_conaffinity[other]) | (
        model.geom_contype[other] & model.geom_conaffinity[geom]
    )
    bodies = [int(model.geom_bodyid[g]) for g in (geom, other)]
    a, b = (int(model.body_weldid[body]) for body in bodies)
    above_a, above_b = (int(model.body_weldid[model.body_parentid[part]]) for part in (a, b))
    related = a and b and (a == above_b or b == above_a)
    excluded = (min(bodies) << 16) + max(bodies) in model.exclude_signature
    return bool(types) and a != b and not related and not excluded
