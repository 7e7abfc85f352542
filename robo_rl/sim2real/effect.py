"""Whether a departure acts on a robot at all: an undisturbed episode's actions, played under it."""

import jax
import numpy as np
from numpy.typing import NDArray

from robo_rl.envs.state import State
from robo_rl.envs.step import Environment
from robo_rl.injection.injectors import neutral_of
from robo_rl.rollouts.play import BLOCK, Trajectories, open_loop_in_block, reset_all
from robo_rl.scenarios.schema import stack
from robo_rl.sim2real.departures import Departure

EPISODES = 4  # of each departure
SAME = 1e-5  # of an observation: what float32 may differ by between rows of a batch


def without_effect(
    env: Environment, parts: tuple[Departure, ...], keys: jax.Array, nominal: Trajectories
) -> dict[str, str]:
    """Departures under which no state and no observation differs, and how that was seen.

    keys and nominal: EPISODES undisturbed episodes, whose actions are played open loop under each
    departure at its largest.
    """
    per_block = BLOCK // EPISODES - 1
    found = {}
    for at in range(0, len(parts), per_block):
        some = parts[at : at + per_block]
        for part, differs in zip(some, _differs(env, some, keys, nominal.action), strict=True):
            if not differs:
                unit = part.row.unit if part.row else "x real"
                found[part.name] = (
                    f"no effect: at {part.largest:g} {unit} no state and no observation differs"
                )
    return found


def _differs(
    env: Environment, parts: tuple[Departure, ...], keys: jax.Array, actions: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Of each departure, whether anything ever differs from the undisturbed twin, [parts]."""
    made = [neutral_of(env.robot)] * EPISODES
    made += [part.make(part.largest, e) for part in parts for e in range(EPISODES)]
    made += [neutral_of(env.robot)] * (BLOCK - len(made))
    twin = np.arange(BLOCK) % EPISODES
    start = reset_all(env, keys[twin], stack(made))
    differs = _unlike(start, twin)
    for state in open_loop_in_block(env, start, np.asarray(actions[:, twin], np.float32)):
        differs |= _unlike(state, twin)
        if bool(state.done.all()):
            break
    each = differs[EPISODES : EPISODES * (len(parts) + 1)]
    return np.asarray(each.reshape(len(parts), EPISODES).any(axis=1), bool)


def _unlike(state: State, twin: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows differ from the undisturbed one of the same episode."""
    bits, seen = np.asarray(state.physics_state), np.asarray(state.observation)
    moved = (bits != bits[twin]).reshape(BLOCK, -1).any(axis=1)
    gap = np.abs(seen - seen[twin]) > SAME * (1.0 + np.abs(seen[twin]))
    return np.asarray(moved | gap.reshape(BLOCK, -1).any(axis=1), bool)
