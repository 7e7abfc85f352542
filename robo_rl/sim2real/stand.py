"""Short tests with the robot on a stand, and what each would read off under a wiring.

The robot hangs still in its default pose; nothing moves but what the tester moves. What is read off
is computed by the policy's own program, so whether a test shows a mistake is worked out.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import mujoco
import numpy as np

from robo_rl.envs.step import Environment
from robo_rl.envs.tasks import declared
from robo_rl.policy.networks import begin
from robo_rl.policy.stored import Policy
from robo_rl.policy.wiring import WiredProgram, Wiring
from robo_rl.robots import offered

BY_HAND = 0.3  # rad and rad/s by which a joint is moved
TILT_RAD, SPIN_RADPS, SPEED_MPS = 0.35, 0.5, 0.5
ASKED = (0.4, 0.2, 0.3)  # m/s, m/s, rad/s
LOGGED_STEPS, LOGGED_OUTPUT = 3, 1.5
SEEN = 0.05  # of a reading, in its own unit, that somebody at a stand would notice


class StandTest(NamedTuple):
    """Something that is done with the robot on a stand, and what is read off."""

    name: str
    reads: Callable[[Wiring], np.ndarray]

    def shows(self, wrong: Wiring, right: np.ndarray) -> bool:
        """Whether a reading differs by more than SEEN from that of the right wiring."""
        return bool(np.abs(self.reads(wrong) - right).max(initial=0.0) > SEEN)


def stand_tests(policy: Policy, env: Environment) -> tuple[StandTest, ...]:
    """Every test that this robot can be put to, the simplest first."""
    stand = _Stand(policy, env)
    tests = [
        StandTest(
            "read the observation at rest in the default pose",
            lambda w: stand.read(w, [stand.frame()]),
        ),
        StandTest(
            "move each joint by hand and read the observation",
            lambda w: stand.read(w, stand.each_joint()),
        ),
    ]
    if offered.QUATERNION in stand.sizes:
        tests += stand.of_the_base()
    return (
        *tests,
        StandTest("send a small action to each joint and see which moves where", stand.targets),
        StandTest("log three steps on the stand and compare with the source", stand.log),
    )


class _Stand:
    """A robot that hangs still, and what the policy's wiring makes of what is done to it."""

    def __init__(self, policy: Policy, env: Environment):
        program = policy.program
        assert isinstance(program, WiredProgram)
        self.program, self.env = program, env
        self.sizes = dict(program.layout.frame)
        self.joints = declared.joint_names(env.robot)

    def frame(self, **changes: Sequence[float] | np.ndarray) -> np.ndarray:
        """The robot's signals at rest at home, [1, frame]; changes: entries that differ."""
        model, home = self.env.robot.model, self.env.robot.qpos0
        still = {name: np.zeros(size) for name, size in self.sizes.items()}
        still[offered.POSITION] = np.array([home[model.joint(j).qposadr[0]] for j in self.joints])
        if offered.QUATERNION in self.sizes:
            still[offered.QUATERNION] = _turned((0, 0, 1), 0.0)
            still[offered.HEIGHT] = np.array([home[2]])
        for name, value in changes.items():
            still[name.replace("_", " ")] = np.asarray(value, float)
        if offered.SENSORS in self.sizes:
            still[offered.SENSORS] = self._sensors(still)[: self.sizes[offered.SENSORS]]
        return np.concatenate([still[name] for name in self.sizes])[None]

    def _sensors(self, still: dict[str, np.ndarray]) -> np.ndarray:
        """What the model's own sensors read of a robot that is held so."""
        model = self.env.robot.model
        data = mujoco.MjData(model)
        data.qpos[:] = self.env.robot.qpos0
        for name, angle, speed in zip(
            self.joints, still[offered.POSITION], still[offered.VELOCITY], strict=True
        ):
            joint = model.joint(name)
            data.qpos[joint.qposadr[0]], data.qvel[joint.dofadr[0]] = angle, speed
        if offered.QUATERNION in self.sizes:
            data.qpos[3:7] = still[offered.QUATERNION]
            data.qvel[:6] = [*still[offered.LINEAR], *still[offered.ANGULAR]]
        mujoco.mj_forward(model, data)
        return np.array(data.sensordata)

    def read(self, wiring: Wiring, frames: list[np.ndarray]) -> np.ndarray:
        """The observation of each frame, one after another."""
        memory = begin(np, self.program, (1,))
        return np.concatenate([self.program.observe(np, wiring, memory, f)[0][0] for f in frames])

    def each_joint(self) -> list[np.ndarray]:
        """Each joint moved, then each joint moving."""
        home = self.frame()[0]
        found = []
        for what in (offered.POSITION, offered.VELOCITY):
            start, size = self._start(what), self.sizes[what]
            for by_hand in BY_HAND * np.eye(size):
                found.append(
                    self.frame(**{what.replace(" ", "_"): home[start : start + size] + by_hand})
                )
        return found

    def of_the_base(self) -> list[StandTest]:
        """What is done to the base as a whole, and the command."""
        axes = np.eye(3)
        tilted = [self.frame(base_quaternion=_turned(axis, TILT_RAD)) for axis in axes[:2]]
        spun = [self.frame(base_angular_velocity=SPIN_RADPS * axis) for axis in axes]
        away = [
            self.frame(
                base_quaternion=_turned((0, 0, 1), np.pi / 2),
                base_angular_velocity=SPIN_RADPS * axes[0],
                base_linear_velocity=SPEED_MPS * axes[0],
            )
        ]
        asked = [self.frame(command=ASKED)]
        listed = {
            "tilt the base by 20 degrees about each axis and read gravity": tilted,
            "turn the base about each axis and read the gyro": spun,
            "turn the base by 90 degrees, then move and turn it": away,
            "give a command and read the observation": asked,
        }
        return [
            StandTest(name, lambda w, frames=frames: self.read(w, frames))
            for name, frames in listed.items()
        ]

    def targets(self, wiring: Wiring) -> np.ndarray:
        """Targets of every drive at no output, and at an output of one of each, rad."""
        low, high = self.env.robot.model.actuator_ctrlrange.T
        outputs = self.program.layout.outputs
        given = np.concatenate([np.zeros((1, outputs + 1)), np.eye(outputs + 1)[:outputs]])
        commands = given[:, wiring.output] * wiring.gain + wiring.offset
        return ((low + high) / 2 + commands * (high - low) / 2).ravel()

    def log(self, wiring: Wiring) -> np.ndarray:
        """What is seen in three steps, a joint moving and the last output not zero."""
        memory, found = begin(np, self.program, (1,)), []
        for k in range(LOGGED_STEPS):
            memory["action"] = memory["action"] + LOGGED_OUTPUT
            entry = self.frame()
            entry[0, self._start(offered.POSITION)] += k * BY_HAND
            observed, memory["frames"] = self.program.observe(np, wiring, memory, entry)
            memory["step"] = memory["step"] + 1
            found.append(observed[0])
        return np.concatenate(found)

    def _start(self, entry: str) -> int:
        names = list(self.sizes)
        return sum(self.sizes[name] for name in names[: names.index(entry)])


def _turned(axis: Any, angle_rad: float) -> np.ndarray:
    """The quaternion (w, x, y, z) of a turn about an axis."""
    return np.append(np.cos(angle_rad / 2), np.sin(angle_rad / 2) * np.asarray(axis, float))
