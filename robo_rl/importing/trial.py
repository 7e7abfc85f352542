"""What an imported policy does on its robot: undisturbed, per command, against golden data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import mujoco
import numpy as np

from robo_rl import files
from robo_rl.envs.step import Environment, make
from robo_rl.envs.tasks import declared
from robo_rl.errors import UserError
from robo_rl.injection.episode import Injection, ask
from robo_rl.policy.networks import begin
from robo_rl.policy.stored import AnyNetwork, Policy
from robo_rl.policy.wiring import WiredProgram
from robo_rl.robots import offered
from robo_rl.rollouts.play import Trajectories, episode_keys, rollout
from robo_rl.scenarios.schema import stack

TRIAL_S = 20.0
SETTLE_SHARE = 0.2  # of an episode, before its means begin
LEVELS = 9  # of commands, an axis
FOLLOWED = 0.5  # share of a command that counts as followed
GOLDEN_STEPS, GOLDEN_TOLERANCE, LEAST_GOLDEN = 50, 1e-4, 10
GOLDEN_ARRAYS = ("observation", "action", "qpos", "qvel")
AXES = ("forward", "sideways", "turn")
UNITS = ("m/s", "m/s", "rad/s")
Command = tuple[float, float, float]
Ranges = tuple[tuple[float, float], ...]


class Trial(NamedTuple):
    """20 s at one command, undisturbed, from home."""

    command: Command
    seconds: float
    fell: bool
    crashed: bool  # numbers that are not finite
    velocity_b_mps: tuple[float, float]
    yaw_rate_radps: float

    def said(self) -> dict[str, Any]:
        """As import.json has it."""
        return {
            "command": list(self.command),
            "seconds": self.seconds,
            "fell": self.fell,
            "crashed": self.crashed,
            "velocity_b_mps": list(self.velocity_b_mps),
            "yaw_rate_radps": self.yaw_rate_radps,
        }


class Response(NamedTuple):
    """What comes of a command along one axis, the others at zero."""

    axis: str
    unit: str
    asked: np.ndarray  # [levels]
    given: np.ndarray  # [levels] mean after the first fifth; NaN where it fell
    fell: np.ndarray  # [levels] bool
    least_followed: float | None  # smallest size from which FOLLOWED of it comes, on both sides

    def said(self) -> dict[str, Any]:
        """As import.json has it."""
        return {
            "axis": self.axis,
            "unit": self.unit,
            "asked": self.asked.tolist(),
            "given": self.given.tolist(),
            "fell": self.fell.tolist(),
            "least_followed": self.least_followed,
        }


class Golden(NamedTuple):
    """The largest differences from golden data over the first control steps."""

    steps: int
    observation: float  # in closed loop from the first state, in double precision
    action: float
    network: float  # of the stored network, fed with the golden observations
    worst: str  # entry of the observation that differs most

    @property
    def equal(self) -> bool:
        """Whether nothing differs by more than GOLDEN_TOLERANCE."""
        return bool(np.max([self.observation, self.action, self.network]) <= GOLDEN_TOLERANCE)

    def said(self) -> dict[str, Any]:
        """As import.json has it."""
        return {**self._asdict(), "tolerance": GOLDEN_TOLERANCE, "equal": self.equal}


def undisturbed(env: Environment, command: Command | None) -> Injection:
    """No departure, no noise at the start, and one command all along."""
    nominal = env.neutral()
    still = nominal._replace(start=nominal.start._replace(noise_scale=np.float32(0.0)))
    return still if command is None else ask(still, command)


def trial(
    env: Environment,
    policy: Policy,
    command: Command,
    ranges: Ranges,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Trial, tuple[Response, ...]]:
    """What the policy does undisturbed: at one command, and at commands along each axis.

    All in one batch of TRIAL_S. Velocities are means after the first fifth of what was run.
    """
    commands = np.concatenate([[command], _along_axes(ranges)])
    long = make(env.name, env.layer, episode_s=TRIAL_S)
    batch = stack([undisturbed(long, (x, y, turn)) for x, y, turn in commands.tolist()])
    track = rollout(long, policy, episode_keys(0, len(commands)), batch, on_progress)
    means = _means(track, commands)
    fell = np.asarray(track.fell | track.crashed)
    forward, sideways, turn = means[0].tolist()
    seconds = round(int(track.length[0]) * long.control_s, 6)
    first = Trial(
        command, seconds, bool(fell[0]), bool(track.crashed[0]), (forward, sideways), turn
    )
    responses = []
    for axis, name in enumerate(AXES):
        rows = slice(1 + axis * LEVELS, 1 + (axis + 1) * LEVELS)
        asked, given = commands[rows, axis], np.where(fell[rows], np.nan, means[rows, axis])
        least = least_followed(asked, given)
        responses.append(Response(name, UNITS[axis], asked, given, fell[rows], least))
    return first, tuple(responses)


def _along_axes(ranges: Ranges) -> np.ndarray:
    """Commands along each axis of its range, the others at zero, [axes * LEVELS, 3]."""
    found = np.zeros((len(AXES) * LEVELS, len(AXES)))
    for axis, (low, high) in enumerate(ranges):
        found[axis * LEVELS : (axis + 1) * LEVELS, axis] = np.linspace(low, high, LEVELS)
    return found


def _means(track: Trajectories, commands: np.ndarray) -> np.ndarray:
    """Mean velocity in the base's frame and yaw rate of each episode, [N, 3]."""
    moving = track.velocity_error + commands
    step = np.arange(len(track.alive))[:, None]
    counted = track.alive & (step >= SETTLE_SHARE * track.length)
    return (
        np.where(counted[..., None], moving, 0.0).sum(axis=0)
        / np.maximum(counted.sum(axis=0), 1)[:, None]
    )


def least_followed(asked: np.ndarray, given: np.ndarray) -> float | None:
    """The smallest size of command from which on FOLLOWED of what is asked comes, either side.

    None where the largest one is not followed; NaN, a fall, follows nothing.
    """
    sizes = np.abs(asked)
    follows = np.where(sizes > 1e-9, given / np.where(sizes > 1e-9, asked, 1.0) >= FOLLOWED, True)
    least = None
    for size in sorted({float(s) for s in sizes if s > 1e-9}, reverse=True):
        if not follows[np.isclose(sizes, size)].all():
            return least
        least = size
    return least


def against_golden(env: Environment, policy: Policy, path: Path, given: AnyNetwork) -> Golden:
    """Observation and action step by step against those of the source, from the same state.

    path: an .npz with observation [T, n] and action [T, m], and qpos and qvel [T, ...] of the
    state that each observation was made from. given: the network as its own runtime runs it. The
    loop starts in the first state and is closed in double precision by plain MuJoCo: walking
    amplifies the last bit of single precision beyond any tolerance within a second.
    """
    data = files.read_arrays(path)
    for key in GOLDEN_ARRAYS:
        if key not in data:
            raise UserError(f"{path}: no array named {key!r}; it holds {', '.join(data)}.")
    program = policy.program
    if not isinstance(program, WiredProgram) or policy.wired is None:
        raise UserError(f"golden={path}: for a policy on a robot of its own only.")
    model = env.robot.model
    if data["qpos"].shape[1:] != (model.nq,) or data["qvel"].shape[1:] != (model.nv,):
        raise UserError(
            f"{path}: qpos {data['qpos'].shape} and qvel {data['qvel'].shape}; the model has"
            f" {model.nq} and {model.nv} numbers."
        )
    steps = min(GOLDEN_STEPS, *(len(data[key]) for key in GOLDEN_ARRAYS))
    if steps < LEAST_GOLDEN:
        raise UserError(f"{path}: {steps} control steps: at least {LEAST_GOLDEN} show anything.")
    outputs = program.layout.outputs
    if data["action"].shape[1:] != (outputs,) or data["observation"].ndim != 2:
        raise UserError(f"{path}: action {data['action'].shape}: [T, {outputs}] was expected.")
    if data["observation"].shape[1] != len(policy.wired.wiring.place):
        raise UserError(
            f"{path}: observations of {data['observation'].shape[1]} numbers; the mapping makes"
            f" {len(policy.wired.wiring.place)}."
        )
    exact = Policy(given, policy.contract, policy.wired)
    seen, done = _closed_loop(env, exact, data, steps, _command_of(policy, data))
    difference = np.abs(seen - data["observation"][:steps])
    worst = int(difference.max(axis=0).argmax())
    return Golden(
        steps,
        float(difference.max()),
        float(np.abs(done - data["action"][:steps]).max()),
        _network_difference(policy.network, data, steps),
        f"number {worst} of {difference.shape[1]}, step {int(difference[:, worst].argmax())}",
    )


def _closed_loop(
    env: Environment, policy: Policy, data: dict[str, np.ndarray], steps: int, command: Command
) -> tuple[np.ndarray, np.ndarray]:
    """Observations and outputs of the network, step by step, in plain MuJoCo."""
    program, model, joints = policy.program, env.robot.model, declared.joint_names(env.robot)
    assert isinstance(program, WiredProgram)
    sim = mujoco.MjData(model)
    home = env.robot.ctrl0
    low, high = model.actuator_ctrlrange.T
    centre = (low + high) / 2 if home is None else np.asarray(env.robot.file.initial_ctrl)
    sim.qpos[:], sim.qvel[:], sim.ctrl[:] = data["qpos"][0], data["qvel"][0], centre
    mujoco.mj_forward(model, sim)
    at = [model.joint(name) for name in joints]
    memory = {name: value[None] for name, value in policy.begin().items()}
    parameters, seen, done = policy.parameters, [], []
    for _ in range(steps):
        parts = {
            offered.POSITION: [sim.qpos[j.qposadr[0]] for j in at],
            offered.VELOCITY: [sim.qvel[j.dofadr[0]] for j in at],
            offered.QUATERNION: sim.qpos[3:7],
            offered.LINEAR: sim.qvel[:3],
            offered.ANGULAR: sim.qvel[3:6],
            offered.HEIGHT: sim.qpos[2:3],
            offered.COMMAND: command,
            offered.SENSORS: sim.sensordata,
        }
        sizes = dict(program.layout.frame)
        frame = np.concatenate([np.asarray(parts[n], float)[:k] for n, k in sizes.items()])[None]
        observation, _ = program.observe(np, parameters["wiring"], memory, frame)
        action, memory = program.act(np, parameters, memory, frame)
        seen.append(observation[0].astype(np.float32))
        done.append(memory["action"][0])
        sim.ctrl[:] = centre + action[0] * np.where(action[0] > 0, high - centre, centre - low)
        for _ in range(env.engine.substeps):
            mujoco.mj_step(model, sim)
    return np.array(seen), np.array(done)


def _network_difference(network: AnyNetwork, data: dict[str, np.ndarray], steps: int) -> float:
    """How far the stored network is from the golden actions on the golden observations."""
    program = network.program
    memory, differences = begin(np, program, (1,)), []
    for k in range(steps):
        row = np.asarray(data["observation"][k], np.float32)[None]
        output, memory = program.act(np, network.parameters, memory, row)
        differences.append(float(np.abs(output[0] - data["action"][k]).max()))
    return max(differences)


def _command_of(policy: Policy, data: dict[str, np.ndarray]) -> Command:
    """The command under which golden data was recorded: `command` in it, else the initial one."""
    said = data.get("command")
    if said is None:
        said = policy.contract["mapping"].get("command", {}).get("initial", [0.0, 0.0, 0.0])
    forward, sideways, turn = (float(v) for v in np.ravel(said)[:3])
    return forward, sideways, turn
