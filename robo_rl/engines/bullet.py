"""PyBullet as the second opinion: another integrator, contact solver and joint-limit model.

Bullet moves the bodies and solves contacts, dry friction and limits. Actuators, springs, dampers
and drag are the model's own: MuJoCo evaluates them at every step and Bullet is handed the forces.
Contacts and limits are hard here and soft in MuJoCo; friction of two moving geoms is the product.
"""

import copy
import threading
from collections import OrderedDict

import mujoco
import numpy as np

from robo_rl.engines.base import Tracking, partners, plant_fields, rest, subtract
from robo_rl.engines.bullet_bodies import GEAR, Floating, build, matrix, pybullet, xyzw
from robo_rl.engines.callback import CallbackEngine, plant_from

LONGEST_STEP_S = 0.0025  # Bullet's integrator is of first order: longer MuJoCo steps are split
SOLVER_ITERATIONS = 50
FAR_M = 1000.0  # where nothing touches
WORLDS = 128  # kept at a time; a client of Bullet's for each different plant
FORCE = 1 << int(mujoco.mjtConDataField.mjCONDATA_FORCE)


class BulletEngine(CallbackEngine):
    """The `bullet` engine for one model; one robot after the other, in one thread.

    A step is a pure function of the payload: no contact is remembered from one call to the next.
    """

    def __init__(self, model: mujoco.MjModel, substeps: int, tracking: Tracking):
        super().__init__(model, substeps, tracking, model.nq + model.nv + model.na + 3)
        self._rest = rest(model)
        self._worlds: OrderedDict[bytes, _World] = OrderedDict()
        self._lock = threading.Lock()
        self._world(np.zeros(0, np.float32))  # refuses the model now, not at the first step

    def reset_rows(
        self, active: np.ndarray, qpos: np.ndarray, qvel: np.ndarray, plant: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """See CallbackEngine. Contact forces read zero until the first step."""
        physics_state, flat = self._blank(active.size)
        with self._lock:
            for row in np.flatnonzero(active):
                world = self._world(plant[row])
                world.place(qpos[row], qvel[row], self._rest.act)
                world.data.ctrl[:] = self._rest.ctrl
                mujoco.mj_forward(world.model, world.data)
                sample = world.sample(np.zeros(self.model.nv), touching=False)
                samples = np.tile(sample, (self.substeps, 1))
                still = np.zeros((self.substeps, self.model.nu))
                rate = np.zeros(self.model.nq)
                flat[row] = world.readout(samples, rate, np.zeros(3), still)
                physics_state[row] = world.payload()
        return physics_state.view(np.uint32), flat

    def step_rows(
        self,
        active: np.ndarray,
        physics_state: np.ndarray,
        ctrl: np.ndarray,
        wrench: np.ndarray,
        plant: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """See CallbackEngine."""
        before = np.ascontiguousarray(physics_state).view(np.float64)
        after, flat = self._blank(active.size)
        after[:] = before
        cuts = np.cumsum([self.model.nq, self.model.nv, self.model.na])
        period_s = self.model.opt.timestep * self.substeps
        none = np.zeros((self.model.nbody, 6))
        with self._lock:
            for row in np.flatnonzero(active):
                qpos, qvel, act, base = np.split(before[row], cuts)
                world = self._world(plant[row])
                world.place(qpos, qvel, act)
                samples, power = [], []
                for control in ctrl[row]:
                    force = world.advance(control, wrench[row] if wrench.size else none)
                    samples.append(world.sample(force, touching=True))
                    power.append(world.data.actuator_force * world.data.actuator_velocity)
                rate = (world.data.qpos - qpos) / period_s
                velocity = (world.moving_point() - base) / period_s
                flat[row] = world.readout(np.array(samples), rate, velocity, np.array(power))
                after[row] = world.payload()
        return after.view(np.uint32), flat

    def _blank(self, robots: int) -> tuple[np.ndarray, np.ndarray]:
        width = sum(int(np.prod(shape)) for shape in self._readout)
        return np.zeros((robots, self._words)), np.zeros((robots, width), np.float32)

    def _world(self, plant: np.ndarray) -> "_World":
        """The world of a plant; the one unused for longest makes room."""
        key = plant.tobytes()
        if key not in self._worlds:
            if len(self._worlds) >= WORLDS:
                self._worlds.popitem(last=False)[1].close()
            self._worlds[key] = _World(_with_plant(self.model, plant), self.tracking)
        self._worlds.move_to_end(key)
        return self._worlds[key]


class _World:
    """One model in a Bullet client of its own, and its twin in MuJoCo for all smooth forces."""

    def __init__(self, model: mujoco.MjModel, tracking: Tracking):
        self.tracking = tracking
        self.client = pybullet.connect(pybullet.DIRECT)
        self.split = int(np.ceil(model.opt.timestep / LONGEST_STEP_S - 1e-9))
        self.step_s = model.opt.timestep / self.split
        pybullet.setPhysicsEngineParameter(
            fixedTimeStep=self.step_s,
            numSolverIterations=SOLVER_ITERATIONS,
            solverResidualThreshold=0.0,
            deterministicOverlappingPairs=1,
            physicsClientId=self.client,
        )
        pybullet.setGravity(*model.opt.gravity, physicsClientId=self.client)
        self.bodies = build(model, self.client)
        self.contacts = _contact_sensors(model)
        self.model = copy.copy(model)
        self.model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONSTRAINT)
        self.data = mujoco.MjData(self.model)
        joints = np.array([m.joint for m in self.bodies.moving], int)
        self._angles = model.jnt_qposadr[joints]
        self._rates = model.jnt_dofadr[joints]

    def close(self) -> None:
        """Frees the Bullet client."""
        pybullet.disconnect(physicsClientId=self.client)

    def place(self, qpos: np.ndarray, qvel: np.ndarray, act: np.ndarray) -> None:
        """Sets the state; nothing that was simulated before has an influence."""
        client = {"physicsClientId": self.client}
        self.data.qpos[:], self.data.qvel[:], self.data.act[:] = qpos, qvel, act
        for body in self.bodies.ids:  # contacts are forgotten where nothing touches
            pybullet.resetBasePositionAndOrientation(body, (0, 0, FAR_M), (0, 0, 0, 1), **client)
        pybullet.performCollisionDetection(**client)
        for body in self.bodies.ids:
            pybullet.resetBasePositionAndOrientation(body, (0, 0, 0), (0, 0, 0, 1), **client)
        for f in self.bodies.floating:
            self._write_base(f)
        for k, m in enumerate(self.bodies.moving):
            at, rate = self._angles[k], qvel[self._rates[k]]
            pybullet.resetJointState(
                m.body, m.link, qpos[at] - self.model.qpos0[at], rate, **client
            )
            if m.rotor >= 0:
                pybullet.resetJointState(m.body, m.rotor, 0.0, GEAR * rate, **client)

    def advance(self, ctrl: np.ndarray, wrench: np.ndarray) -> np.ndarray:
        """One MuJoCo time step. Returns the mean force that constraints exerted, [nv]."""
        data, model = self.data, self.model
        data.ctrl[:], data.xfrc_applied[:] = ctrl, wrench
        constraint, momentum = np.zeros(model.nv), np.zeros(model.nv)
        for _ in range(self.split):
            mujoco.mj_forward(model, data)
            before, smooth = data.qvel.copy(), data.qfrc_smooth
            self._push(data.qfrc_passive + data.qfrc_actuator, wrench)
            pybullet.stepSimulation(physicsClientId=self.client)
            self._read()
            mujoco.mj_mulM(model, data, momentum, (data.qvel - before) / self.step_s)
            constraint += (momentum - smooth) / self.split
            data.act[:] += self._activation_change()
        return constraint

    def sample(self, constraint: np.ndarray, touching: bool) -> np.ndarray:
        """Qpos, qvel, constraint force, sensors of the step; contacts only where touching."""
        readings = self.data.sensordata.copy()
        for at, (geom, others, as_force) in self.contacts.items() if touching else ():
            found = np.concatenate([self._forces_between(geom, other) for other in others])
            readings[at : at + (3 if as_force else 1)] = (
                found.sum(axis=0) if as_force else len(found)
            )
        frames = {"body": self.data.xpos, "site": self.data.site_xpos}
        places = [frames[kind][index] for kind, index in self.tracking.frames]
        places += subtract(self.tracking.differences, readings)
        return np.concatenate([self.data.qpos, self.data.qvel, constraint, readings, *places])

    def readout(
        self, samples: np.ndarray, rate: np.ndarray, velocity: np.ndarray, power: np.ndarray
    ) -> np.ndarray:
        """The fields of a Readout, flat."""
        base, data = self.tracking.base_body, self.data
        pose = data.xpos[base], data.xmat[base]
        parts = (samples.ravel(), rate, *pose, velocity, data.actuator_force, power.ravel())
        return np.concatenate(parts)

    def payload(self) -> np.ndarray:
        """What the next step needs."""
        data = self.data
        return np.concatenate([data.qpos, data.qvel, data.act, self.moving_point()])

    def moving_point(self) -> np.ndarray:
        """The point whose displacement is the base velocity, world frame, m."""
        base = self.tracking.base_body
        return (self.data.subtree_com if self.tracking.from_com else self.data.xpos)[base].copy()

    def _push(self, force: np.ndarray, wrench: np.ndarray) -> None:
        """Hands Bullet the generalised force of every joint and the wrenches on bodies."""
        for body in self.bodies.ids:
            links = [m.link for m in self.bodies.moving if m.body == body]
            rows = [k for k, m in enumerate(self.bodies.moving) if m.body == body]
            if links:
                forces = force[self._rates[rows]].tolist()
                pybullet.setJointMotorControlArray(
                    body, links, pybullet.TORQUE_CONTROL, forces=forces, physicsClientId=self.client
                )
        for f in self.bodies.floating:
            dof = self.model.jnt_dofadr[f.joint]
            torque = self.data.xmat[f.part].reshape(3, 3) @ force[dof + 3 : dof + 6]
            self._apply((f.body, -1), force[dof : dof + 3], torque, self.data.xpos[f.part])
        for index in np.flatnonzero(wrench.any(axis=1)).tolist():
            if index:  # the world itself cannot be pushed
                part, at = self.bodies.masses[index], self.data.xipos[index]
                self._apply(part, wrench[index, :3], wrench[index, 3:], at)

    def _apply(
        self, part: tuple[int, int], force: np.ndarray, torque: np.ndarray, at: np.ndarray
    ) -> None:
        """A force at a point and a torque on a link, all in the world frame."""
        world = {"flags": pybullet.WORLD_FRAME, "physicsClientId": self.client}
        pybullet.applyExternalForce(*part, force.tolist(), at.tolist(), **world)
        pybullet.applyExternalTorque(*part, torque.tolist(), **world)

    def _read(self) -> None:
        """Bullet's state in the model's coordinates."""
        for body in self.bodies.ids:
            rows = [k for k, m in enumerate(self.bodies.moving) if m.body == body]
            if rows:
                links = [self.bodies.moving[k].link for k in rows]
                states = pybullet.getJointStates(body, links, physicsClientId=self.client)
                angles, rates = zip(*(state[:2] for state in states), strict=True)
                at = self._angles[rows]
                self.data.qpos[at] = np.array(angles) + self.model.qpos0[at]
                self.data.qvel[self._rates[rows]] = rates
        for f in self.bodies.floating:
            self._read_base(f)

    def _write_base(self, f: Floating) -> None:
        """Bullet holds the inertial frame's pose and the velocity of the centre of mass."""
        client = {"physicsClientId": self.client}
        at, dof = self.model.jnt_qposadr[f.joint], self.model.jnt_dofadr[f.joint]
        qpos, qvel = self.data.qpos, self.data.qvel
        quat = qpos[at + 3 : at + 7] / np.linalg.norm(qpos[at + 3 : at + 7])
        rotation = matrix(quat)
        arm, angular = rotation @ self.model.body_ipos[f.part], rotation @ qvel[dof + 3 : dof + 6]
        turn = xyzw(_product(quat, self.model.body_iquat[f.part]))
        position, linear = qpos[at : at + 3] + arm, qvel[dof : dof + 3] + np.cross(angular, arm)
        pybullet.resetBasePositionAndOrientation(f.body, position.tolist(), turn, **client)
        pybullet.resetBaseVelocity(f.body, linear.tolist(), angular.tolist(), **client)

    def _read_base(self, f: Floating) -> None:
        client = {"physicsClientId": self.client}
        at, dof = self.model.jnt_qposadr[f.joint], self.model.jnt_dofadr[f.joint]
        position, turn = pybullet.getBasePositionAndOrientation(f.body, **client)
        linear, angular = pybullet.getBaseVelocity(f.body, **client)
        quat = _product(np.roll(turn, 1), self.model.body_iquat[f.part] * [1, -1, -1, -1])
        rotation = matrix(quat)
        arm = rotation @ self.model.body_ipos[f.part]
        self.data.qpos[at : at + 3] = position - arm
        self.data.qpos[at + 3 : at + 7] = quat
        self.data.qvel[dof : dof + 3] = linear - np.cross(angular, arm)
        self.data.qvel[dof + 3 : dof + 6] = rotation.T @ np.array(angular)

    def _activation_change(self) -> np.ndarray:
        """Of every activation over one step; a filter of MuJoCo's exact kind decays exactly."""
        model, rate = self.model, self.data.act_dot
        change = self.step_s * rate
        for i in np.flatnonzero(model.actuator_dyntype == int(mujoco.mjtDyn.mjDYN_FILTEREXACT)):
            at, tau_s = model.actuator_actadr[i], model.actuator_dynprm[i, 0]
            change[at] = rate[at] * tau_s * -np.expm1(-self.step_s / tau_s)
        return change

    def _forces_between(self, geom: int, other: int) -> np.ndarray:
        """The force of each contact that the first geom exerts, world frame, N, [contacts, 3]."""
        if geom not in self.bodies.geoms or other not in self.bodies.geoms:
            return np.zeros((0, 3))
        (body, link), (body_b, link_b) = self.bodies.geoms[geom], self.bodies.geoms[other]
        points = pybullet.getContactPoints(body, body_b, link, link_b, physicsClientId=self.client)
        forces = [
            -(p[9] * np.array(p[7]) + p[10] * np.array(p[11]) + p[12] * np.array(p[13]))
            for p in points
            if p[9] > 0
        ]
        return np.array(forces).reshape(-1, 3)


def _with_plant(model: mujoco.MjModel, plant: np.ndarray) -> mujoco.MjModel:
    """The model as a plant has it; derived constants recomputed."""
    if not plant.size:
        return model
    changed = copy.copy(model)
    for name, value in plant_fields(model, plant_from(model, plant)).items():
        holder, _, attribute = name.rpartition(".")
        getattr(changed.opt if holder else changed, attribute)[:] = value
    mujoco.mj_setConst(changed, mujoco.MjData(changed))
    return changed


def _contact_sensors(model: mujoco.MjModel) -> dict[int, tuple[int, list[int], bool]]:
    """Of each contact sensor: where it writes, its geom, what that touches, and if as a force."""
    contact = model.sensor_type == int(mujoco.mjtSensor.mjSENS_CONTACT)
    return {
        int(model.sensor_adr[i]): (
            int(model.sensor_objid[i]),
            [int(g) for g in partners(model, int(i))],
            bool(model.sensor_intprm[i, 0] & FORCE),
        )
        for i in np.flatnonzero(contact)
    }


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    product = np.zeros(4)
    mujoco.mju_mulQuat(product, np.asarray(a, np.float64), np.asarray(b, np.float64))
    return product
