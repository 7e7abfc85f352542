"""The one pure `step`: policy action in, next state out.

With everything that can go wrong in between.

Written for one robot, vmapped once. The order is that of a real machine: actuation injectors,
action map, physics, sensor injectors, observation; reward, cost and end terms see the true signals.
"""

import functools
import math
from dataclasses import dataclass, replace
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from robo_rl import errors
from robo_rl.engines import ENGINES
from robo_rl.engines.base import Array, Engine, Readout, split_sample
from robo_rl.envs import mdp
from robo_rl.envs.state import State, keep, keep_rows
from robo_rl.injection import actuation, sensors
from robo_rl.injection.episode import Injection, longest_latency_s, neutral, plant_at, wrench_over
from robo_rl.registry import load_own
from robo_rl.rewards.layers import RewardFile, Weighted, load_rewards
from robo_rl.robots import slope
from robo_rl.robots.loops import tied
from robo_rl.robots.robot import Robot
from robo_rl.robots.signals import (
    Command,
    Measured,
    Signals,
    Transition,
    from_readout,
    lag,
    measured,
    scanned,
)

# One random stream each: toggling one never moves another.
SENSE, ACT, START, BIAS, EPISODE, GOAL = range(6)


class Randomizer(Protocol):
    """Where an episode's departures from nominal come from."""

    @property
    def initial_limits(self) -> Array | None:
        """The limits a curriculum starts from; None without one."""
        ...

    def __call__(self, key: Array, limits: Array | None = None) -> Injection:
        """The injection of the episode with this key."""
        ...


@dataclass(frozen=True, eq=False)
class Environment:
    """An MDP on an engine with a reward layer; pure methods for one robot, `*_batch` for many."""

    name: str
    mdp: mdp.Mdp
    robot: Robot
    engine: Engine
    rewards: RewardFile
    layer: str
    history_s: float
    draw: Randomizer | None
    recipe: tuple[Any, ...]  # the arguments of _make()

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """Pickles and copies as its recipe; within one process that is the same environment."""
        return _make, self.recipe

    @property
    def substep_s(self) -> float:
        """Physics time step, s."""
        return float(self.robot.model.opt.timestep)

    @property
    def control_s(self) -> float:
        """Control period, s."""
        return self.substep_s * self.engine.substeps

    @property
    def weighted(self) -> tuple[Weighted, ...]:
        """The reward terms in force."""
        return self.rewards.terms_through(self.layer)

    @property
    def action_size(self) -> int:
        """Number of actions."""
        return int(self.robot.model.nu)

    @property
    def observation_size(self) -> int:
        """Number of observations."""
        return sum(self.observation_sizes)

    @functools.cached_property
    def observation_sizes(self) -> tuple[int, ...]:
        """Number of values of each entry of the observation, in the order the MDP declares."""

        def entries(key: Array) -> list[Array]:
            reading = jnp.zeros(len(self.robot.channels))
            lagged, action = split_sample(self.robot.model, reading)[3], jnp.zeros(self.action_size)
            command = self._command(key, jnp.float32(0.0), None)
            known = measured(self.robot, reading, lagged, action, command)
            return [entry.read(self.robot, known) for entry in self.mdp.observe]

        found = jax.eval_shape(entries, jax.random.key(0))
        return tuple(int(entry.shape[0]) for entry in found)

    def reset(
        self,
        key: Array,
        injection: Injection | None = None,
        active: Array | bool = True,
        limits: Array | None = None,
    ) -> State:
        """A fresh episode: state, plant, injections and noise are all drawn from the key.

        limits: of a curriculum, share of each row's range; its initial ones if left out.
        """
        if injection is None and self.draw is not None:
            limits = self.draw.initial_limits if limits is None else limits
            injection = self.draw(key, limits)
        scale = jnp.float32(1.0) if injection is None else injection.start.noise_scale
        qpos, qvel = self.mdp.reset.draw(self.robot, jax.random.fold_in(key, START), scale)
        if injection is not None:
            qpos, qvel = qpos + injection.start.qpos_offset, qvel + injection.start.qvel_offset
        qpos, qvel = tied(self.robot.model, qpos, qvel, jnp.asarray(active))
        physics_state, readout = self.engine.reset(
            qpos, qvel, plant_at(injection, jnp.float32(0.0)), jnp.asarray(active)
        )
        return self.begin(key, injection, physics_state, readout)._replace(limits=limits)

    def begin(
        self, key: Array, injection: Injection | None, physics_state: Array, readout: Readout
    ) -> State:
        """The first state of an episode whose physics has been set."""
        injection = jax.tree.map(jnp.asarray, injection)
        start_s = jnp.float32(0.0)
        command = self._command(key, start_s, injection)
        readout, signals = self._look(readout, key, start_s, command, injection)
        sensing, driving = self._memories(key, injection, readout)
        sensing, reading = self._sense(key, jnp.int32(-1), injection, sensing, readout.samples)
        lagged = split_sample(self.robot.model, reading)[3]
        nothing, off = jnp.float32(0.0), jnp.bool_(False)
        return State(
            physics_state=physics_state,
            signals=signals,
            command=command,
            sensing=sensing,
            driving=driving,
            lagged=lagged,
            injection=injection,
            limits=None,
            key=key,
            step=jnp.int32(0),
            observation=self.observe(
                measured(self.robot, reading, lagged, signals.action, command)
            ),
            reward=nothing,
            terms={w.name: nothing for w in self.weighted},
            costs={c.name: nothing for c in self.rewards.costs},
            cost=nothing,
            terminated=off,
            truncated=off,
            error=off,
            episode_return=nothing,
            episode_cost=nothing,
        )

    def step(self, state: State, action: Array, active: Array | bool = True) -> State:
        """One control step.

        If anything is not finite, sets `error`, terminates, and keeps the last finite values.
        """
        time_s = state.step * self.control_s
        sound = jnp.all(jnp.isfinite(action))  # physics is never handed anything else
        wanted = jnp.where(sound, jnp.clip(action, -1.0, 1.0), 0.0)
        driving, commands = self._drive(state, wanted)
        ctrl = self.to_ctrl(commands)
        if state.sensing is not None:  # a servo brings what its encoder reads to its target
            gear, channel = self.robot.servos
            ctrl = ctrl - gear * state.sensing.bias[channel]
        wrench = wrench_over(state.injection, time_s, self.control_s, self.robot.model.nbody)
        plant = plant_at(state.injection, time_s)
        physics_state, readout = self.engine.step(
            state.physics_state, ctrl, wrench, plant, jnp.asarray(active)
        )
        end_s = time_s + self.control_s
        readout, reached = self._look(readout, state.key, end_s, state.command, state.injection)
        broken = ~(_all_finite(readout) & sound)
        after = keep(broken, state.signals, reached._replace(action=wanted))
        command = self._command(state.key, end_s, state.injection)
        sensing, reading = self._sense(
            state.key, state.step, state.injection, state.sensing, readout.samples
        )
        seen = measured(self.robot, reading, state.lagged, wanted, command)
        lagged = lag(self.robot, state.lagged, reading, self.control_s)
        terminated = broken | self._ended(after)
        t = Transition(
            robot=self.robot,
            command=state.command,
            before=state.signals,
            after=after,
            action=wanted,
            previous_action=state.signals.action,
            terminated=terminated,
        )
        terms = {w.name: jnp.where(broken, 0.0, w.weight * w(t)) for w in self.weighted}
        costs = {c.name: jnp.where(broken, 0.0, c(t)) for c in self.rewards.costs}
        reward, cost = sum(terms.values(), jnp.float32(0.0)), sum(costs.values(), jnp.float32(0.0))
        step = state.step + 1
        return State(
            physics_state=jnp.where(broken, state.physics_state, physics_state),
            signals=after,
            command=keep(broken, state.command, command),
            sensing=keep(broken, state.sensing, sensing),
            driving=keep(broken, state.driving, driving),
            lagged=keep(broken, state.lagged, lagged),
            injection=state.injection,
            limits=state.limits,
            key=state.key,
            step=step,
            observation=jnp.where(broken, state.observation, self.observe(seen)),
            reward=reward,
            terms=terms,
            costs=costs,
            cost=cost,
            terminated=terminated,
            truncated=(step >= self.mdp.episode_steps) & ~terminated,
            error=state.error | broken,
            episode_return=state.episode_return + reward,
            episode_cost=state.episode_cost + cost,
        )

    def observe(self, known: Measured) -> Array:
        """The observation vector, entries in the order the MDP declares."""
        return jnp.concatenate([entry.read(self.robot, known) for entry in self.mdp.observe])

    def to_ctrl(self, command: Array) -> Array:
        """Commands in [-1, 1] mapped onto the actuators' control ranges; 0 is home's control."""
        low, high = self.robot.model.actuator_ctrlrange.T.astype(np.float32)
        home = self.robot.ctrl0
        if home is None:
            return (low + high) / 2 + command * ((high - low) / 2)
        down, up = np.abs(self.robot.model.actuator_ctrlrange.T - home).astype(np.float32)
        return home.astype(np.float32) + command * jnp.where(command > 0, up, down)

    def reset_batch(self, keys: Array, injection: Injection | None = None) -> State:
        """One fresh episode per key; injection, if given, has the same leading axis."""
        if injection is None:
            return jax.vmap(self.reset)(keys)
        return jax.vmap(self.reset)(keys, injection)

    def step_batch(self, state: State, action: Array) -> State:
        """One control step of every robot; finished episodes are neither advanced nor reset."""
        return jax.vmap(self.step)(state, action)

    def step_unless_done(self, state: State, action: Array) -> State:
        """One control step of the episodes that are not over; the others cost no physics."""
        stepped = jax.vmap(self.step)(state, action, ~state.done)
        return keep_rows(state.done, state, stepped)

    def step_autoreset(self, state: State, action: Array) -> tuple[State, State]:
        """Step all robots and restart the finished ones.

        Returns the next state, and the state before the restart, with the terminal observation.
        """
        outcome = self.step_batch(state, action)
        done = outcome.done

        def restart(outcome: State) -> State:
            keys = jax.vmap(lambda key: jax.random.fold_in(key, EPISODE))(outcome.key)
            fresh = jax.vmap(lambda key, active, limits: self.reset(key, None, active, limits))(
                keys, done, outcome.limits
            )
            return keep_rows(~done, outcome, fresh)

        return jax.lax.cond(jnp.any(done), restart, lambda same: same, outcome), outcome

    def check(self, injection: Injection) -> Injection:
        """The injection; raises UserError where a latency is longer than the memory."""
        longest_s = max(longest_latency_s(injection))
        if longest_s > self.history_s * (1 + 1e-6) + 1e-9:  # single precision
            raise errors.UserError(
                f"{self.name}: a latency of {1e3 * longest_s:g} ms was asked for, but this"
                f" environment remembers {1e3 * self.history_s:g} ms. Build it with make(...,"
                f" history_s={longest_s:g})."
            )
        return injection

    def neutral(self) -> Injection:
        """The injection under which an episode is the nominal MDP."""
        return neutral(self.robot.model, len(self.robot.channels))

    def _memories(
        self, key: Array, injection: Injection | None, readout: Readout
    ) -> tuple[sensors.SensorMemory | None, actuation.ActuationMemory | None]:
        if injection is None:
            return None, None
        samples, commands = self._capacity()
        bias_key = jax.random.fold_in(key, BIAS)
        sensing = sensors.begin(injection.sensors, readout.samples, samples, bias_key)
        return sensing, actuation.begin(self.action_size, commands)

    def _sense(
        self,
        key: Array,
        step: Array,
        injection: Injection | None,
        memory: sensors.SensorMemory | None,
        samples: Array,
    ) -> tuple[sensors.SensorMemory | None, Array]:
        if injection is None or memory is None:
            return None, samples[-1]
        stream = self._stream(key, step, SENSE)
        return sensors.measure(injection.sensors, memory, samples, self.substep_s, stream)

    def _drive(self, state: State, wanted: Array) -> tuple[actuation.ActuationMemory | None, Array]:
        substeps = self.engine.substeps
        if state.injection is None or state.driving is None:
            return None, jnp.broadcast_to(wanted, (substeps, self.action_size))
        stream = self._stream(state.key, state.step, ACT)
        return actuation.actuate(
            state.injection.actuation, state.driving, wanted, substeps, self.substep_s, stream
        )

    def _command(self, key: Array, time_s: Array, injection: Injection | None) -> Command:
        if self.mdp.goal is None:
            return Command()
        drawn = self.mdp.goal.at(self.robot, jax.random.fold_in(key, GOAL), time_s)
        if injection is None or drawn.velocity_b_mps is None:
            return drawn
        asked, active = injection.asked, injection.asked.active > 0
        return drawn._replace(
            velocity_b_mps=jnp.where(active, asked.velocity_b_mps, drawn.velocity_b_mps),
            yaw_rate_radps=jnp.where(active, asked.yaw_rate_radps, drawn.yaw_rate_radps),
        )

    def _look(
        self,
        readout: Readout,
        key: Array,
        time_s: Array,
        followed: Command,
        injection: Injection | None,
    ) -> tuple[Readout, Signals]:
        """The readout as sensors give it, a lidar and a slope included, and the true signals."""
        around, goal = None, self.mdp.goal
        if self.robot.lidar and self.mdp.surroundings:
            circles = self.mdp.surroundings.circles(jax.random.fold_in(key, GOAL), time_s)
            readout, around = scanned(
                self.robot, readout, circles, self.mdp.surroundings.half_width_m
            )
        signals = from_readout(self.robot, readout)._replace(around=around)
        if injection is not None:
            up_w = slope.up(self.robot, injection.plant.gravity_offset_mps2)
            samples = slope.levelled(self.robot, readout.samples, up_w)
            readout, signals = readout._replace(samples=samples), signals._replace(up_w=up_w)
        if goal is None:
            return readout, signals
        return readout, signals._replace(goal_error=goal.error(self.robot, signals, followed))

    def _ended(self, after: Signals) -> Array:
        met = [end.met(self.robot, after) for end in self.mdp.terminate]
        return jnp.any(jnp.stack(met)) if met else jnp.bool_(False)

    def _capacity(self) -> tuple[int, int]:
        if self.history_s <= 0:
            return 0, 0
        return (
            math.ceil(self.history_s / self.substep_s) + 2,
            math.ceil(self.history_s / self.control_s) + 1,
        )

    def _stream(self, key: Array, step: Array, stream: int) -> Array:
        return jax.random.fold_in(jax.random.fold_in(key, stream), step)


def make(
    name: str,
    reward: str = "task",
    *,
    history_s: float = 0.0,
    episode_s: float | None = None,
    draw: Randomizer | None = None,
    engine: str = "mujoco",
) -> Environment:
    """The environment registered under `name`.

    reward: "task", "energy" or "safety". history_s: the longest latency that can be injected.
    episode_s: another time limit than the MDP's own. draw: the injection of each episode
    from its key; the nominal MDP if left out.

    Raises UserError for an environment, layer or engine that does not exist.

    >>> env = robo_rl.make("inverted-pendulum", "safety")
    >>> env.observation_size, env.action_size, env.control_s
    (4, 1, 0.04)
    """
    return _make(name, reward, history_s, episode_s, draw, engine)


@functools.lru_cache(maxsize=32)
def _make(
    name: str,
    reward: str,
    history_s: float,
    episode_s: float | None,
    draw: Randomizer | None,
    engine: str,
) -> Environment:
    """make(), cached: what was compiled for an environment is compiled once."""
    load_own()
    build = errors.lookup(ENGINES, engine, kind="engine", where=f"make({name!r})")
    declared = mdp.get(name)
    if episode_s is not None:
        declared = replace(declared, episode_s=min(episode_s, declared.episode_s))
    robot = declared.load_robot()
    if (robot.lidar is None) != (declared.surroundings is None):
        raise errors.UserError(f"{name}: a lidar needs surroundings to see, and these a lidar.")
    rewards = load_rewards(declared.rewards)
    rewards.terms_through(reward)
    period_s = 1.0 / (declared.control_hz * robot.model.opt.timestep)
    substeps = round(period_s)
    if abs(substeps - period_s) > 1e-6 or substeps < 1:
        raise errors.UserError(
            f"{name}: control at {declared.control_hz} Hz is no whole number of physics steps."
        )
    return Environment(
        name=name,
        mdp=declared,
        robot=robot,
        engine=build(robot.model, substeps, robot.tracking),
        rewards=rewards,
        layer=reward,
        history_s=history_s,
        draw=draw,
        recipe=(name, reward, history_s, episode_s, draw, engine),
    )


def _all_finite(readout: Readout) -> Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(part)) for part in readout]))
