"""An environment is an MDP over named signals: its declaration, and the registry of all of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from robo_rl import content
from robo_rl.engines.base import Array
from robo_rl.registry import Registry
from robo_rl.robots.robot import Robot, load_robot
from robo_rl.robots.signals import Command, Measured, Signals
from robo_rl.robots.surroundings import Surroundings
from robo_rl.robots.terrain import Terrain


class ObservationTerm(NamedTuple):
    """One entry of the observation: where it comes from, in which order, in which unit."""

    name: str
    unit: str
    read: Callable[[Robot, Measured], Array]


class Termination(NamedTuple):
    """A condition on the true signals that terminates the episode."""

    name: str
    met: Callable[[Robot, Signals], Array]


class Reset(NamedTuple):
    """How an episode starts: a description and a draw of (qpos, qvel) with a noise scale."""

    name: str
    draw: Callable[[Robot, Array, Array], tuple[Array, Array]]


SETTLED, MEAN = "settled_goal_error", "mean_goal_error"  # at the end, over the episode
SUSTAINED = "sustained_velocity_error"  # over the episode, of the velocity averaged over a second


class Goal(NamedTuple):
    """What an episode asks for: a pure function of its key and of time; nothing is stored."""

    name: str
    at: Callable[[Robot, Array, Array], Command]  # (robot, key of the episode, time s)
    error: Callable[[Robot, Signals, Command], Array]  # how far the robot is from it, >= 0
    error_unit: str
    tolerance: float  # in the error's unit: an episode within it has done the task
    judged_by: str  # the metric of the error that is held against it
    met_by_drives: bool = False  # no action does it too: that it is met says nothing of a policy
    settled_s: float = 1.0  # how long before the end the error counts as settled
    # what an episode is judged by where the error that is learnt from leaves something out
    judged: Callable[[Robot, Signals, Command], Array] | None = None


@dataclass(frozen=True)
class Mdp:
    """State, action, reward, termination and constraints of a task, declared.

    >>> from dataclasses import replace
    >>> from robo_rl.envs.tasks.classic import inverted_pendulum
    >>> longer = replace(inverted_pendulum(), episode_s=60.0)
    >>> longer.episode_steps
    1500
    """

    robot: str
    control_hz: float
    episode_s: float
    observe: tuple[ObservationTerm, ...]
    rewards: str
    terminate: tuple[Termination, ...]
    reset: Reset
    gymnasium_id: str | None = None
    goal: Goal | None = None
    surroundings: Surroundings | None = None  # for a robot with a lidar
    terrain: Terrain | None = None  # None is the ground of the robot's model
    not_for: Mapping[str, str] = field(
        default_factory=dict
    )  # of a suite's criteria and scenarios: why

    @property
    def episode_steps(self) -> int:
        """Control steps until the time limit truncates the episode."""
        return round(self.episode_s * self.control_hz)

    def load_robot(self) -> Robot:
        """The robot of the task, on its ground."""
        return load_robot(self.robot, self.terrain)


Maker = Callable[[], Mdp]


class Entry(NamedTuple):
    """A registered MDP: its factory and its tags."""

    make: Maker
    tags: frozenset[str]


ENTRIES: Registry[Entry] = Registry("environment", "robo_rl.envs.tasks")


def register(name: str, *tags: str) -> Callable[[Maker], Maker]:
    """Add a factory under `name`; a name that another module has registered is refused.

    >>> from robo_rl.envs.tasks.classic import inverted_pendulum
    >>> @robo_rl.register("pole-of-mine", "balance")
    ... def pole_of_mine() -> robo_rl.Mdp:
    ...     return inverted_pendulum()
    >>> robo_rl.make("pole-of-mine").mdp.rewards
    'inverted-pendulum'
    """

    def add(make: Maker) -> Maker:
        ENTRIES.add(name, Entry(make, frozenset(tags)), make.__module__)
        return make

    return add


def names(tag: str | None = None) -> tuple[str, ...]:
    """Registered MDPs, all or those with a tag, sorted."""
    return tuple(sorted(n for n, entry in ENTRIES.items() if tag is None or tag in entry.tags))


def get(name: str) -> Mdp:
    """The MDP registered under a name; a miss says what is close."""
    return ENTRIES.lookup(name, f"environments ({content.OWN} adds your own)").make()
