"""What an imported policy does on its robot: undisturbed, per command, against golden data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from robo_rl import files
from robo_rl.envs.step import Environment, make
from robo_rl.errors import UserError
from robo_rl.injection.episode import Injection, ask
from robo_rl.policy.stored import Policy
from robo_rl.policy.wiring import WiredProgram
from robo_rl.rollouts.play import Track, episode_keys, rollout
from robo_rl.scenarios.schema import stack

TRIAL_S = 20.0
SETTLE_SHARE = 0.2  # of an episode, before its means begin
LEVELS = 9  # of commands, an axis
FOLLOWED = 0.5  # share of a command that counts as followed
GOLDEN_STEPS, GOLDEN_TOLERANCE = 50, 1e-4
AXES = ("forward", "sideways", "turn")
UNITS = ("m/s", "m/s", "rad/s")
Command = tuple[float, float, float]
Ranges = tuple[tuple[float, float], ...]


class Trial(NamedTuple):
    """20 s at one command, undisturbed, from home."""

    command: Command
    seconds: float
    fell: bool
    velocity_b_mps: tuple[float, float]
    yaw_rate_radps: float

    def said(self) -> dict[str, Any]:
        """As import.json has it."""
        return {
            "command": list(self.command),
            "seconds": self.seconds,
            "fell": self.fell,
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
    observation: float
    action: float
    worst: str  # entry of the observation that differs most

    @property
    def equal(self) -> bool:
        """Whether nothing differs by more than GOLDEN_TOLERANCE."""
        return max(self.observation, self.action) <= GOLDEN_TOLERANCE

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
    first = Trial(command, seconds, bool(fell[0]), (forward, sideways), turn)
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


def _means(track: Track, commands: np.ndarray) -> np.ndarray:
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


def against_golden(env: Environment, policy: Policy, path: Path) -> Golden:
    """Observation and action step by step against those of the source, from the same state.

    path: an .npz with observation [T, n] and action [T, m], and qpos and qvel [T, ...] of the
    state that each observation was made from. The run starts in the first state.
    """
    data = files.read_arrays(path)
    for key in ("observation", "action", "qpos", "qvel"):
        if key not in data:
            raise UserError(f"{path}: no array named {key!r}; it holds {', '.join(data)}.")
    program = policy.program
    if not isinstance(program, WiredProgram):
        raise UserError(f"golden={path}: for a policy on a robot of its own only.")
    model = env.robot.model
    if data["qpos"].shape[1:] != (model.nq,) or data["qvel"].shape[1:] != (model.nv,):
        raise UserError(
            f"{path}: qpos {data['qpos'].shape} and qvel {data['qvel'].shape}; the model has"
            f" {model.nq} and {model.nv} numbers."
        )
    steps = min(GOLDEN_STEPS, len(data["action"]))
    command = _command_of(policy, data)
    state = _placed(env, data["qpos"][0], data["qvel"][0], command)
    advance = jax.jit(env.step)
    memory = {k: v[None] for k, v in policy.begin().items()}
    seen, done = [], []
    for _ in range(steps):
        frame = np.asarray(state.observation, np.float32)[None]
        observation, _ = program.observe(np, policy.parameters["wiring"], memory, frame)
        action, memory = program.act(np, policy.parameters, memory, frame)
        seen.append(observation[0])
        done.append(memory["action"][0])
        state = advance(state, jnp.asarray(action[0]))
    difference = np.abs(np.array(seen) - data["observation"][:steps])
    worst = int(difference.max(axis=0).argmax())
    return Golden(
        steps,
        float(difference.max()),
        float(np.abs(np.array(done) - data["action"][:steps]).max()),
        f"number {worst} of {difference.shape[1]}, step {int(difference[:, worst].argmax())}",
    )


def _command_of(policy: Policy, data: dict[str, np.ndarray]) -> Command:
    """The command under which golden data was recorded: `command` in it, else the initial one."""
    said = data.get("command")
    if said is None:
        said = policy.contract["mapping"].get("command", {}).get("initial", [0.0, 0.0, 0.0])
    forward, sideways, turn = (float(v) for v in np.ravel(said)[:3])
    return forward, sideways, turn


def _placed(env: Environment, qpos: np.ndarray, qvel: np.ndarray, command: Command) -> Any:
    """The first state of an undisturbed episode in a state of the robot, to the last bit."""
    bits, readout = env.engine.place(qpos, qvel)
    start = env.begin(jax.random.key(0), undisturbed(env, command), jnp.asarray(bits), readout)
    return start
