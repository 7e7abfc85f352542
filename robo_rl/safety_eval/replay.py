"""Replay bundles: a failing episode in one file that reproduces it bit for bit."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from robo_rl import content, files, trees
from robo_rl.envs.step import Environment, State, make
from robo_rl.errors import UserError
from robo_rl.policy.contract import model_digest, processor, versions
from robo_rl.report.rendering import Camera
from robo_rl.rollouts.play import Recorded, Trajectories, replay_in_block

FORMAT = "robo_rl.replay/5"
GIF_FPS = 25


class Replayed(NamedTuple):
    """What a replay showed."""

    meta: dict[str, Any]
    start: State  # [1]
    track: Trajectories  # one episode
    env: Environment
    same_state: bool  # final physics state equal to the last bit
    same_rewards: bool  # every step's reward equal to the last bit
    first_difference: int | None  # step of the first differing reward
    largest_difference: float  # of a reward
    same_outcome: bool  # it ended at the same step, in the same way

    @property
    def elsewhere(self) -> str:
        """How this processor differs from the one it was recorded on; "" where it does not."""
        then, now = self.meta.get("processor"), processor()
        return "" if then == now else f"recorded with {then}, replayed with {now}"

    @property
    def same_bits(self) -> bool:
        """Equal to the last bit, rewards included."""
        return self.same_state and self.same_rewards

    @property
    def reproduced(self) -> bool:
        """The same bits; on another kind of processor, the same outcome."""
        return self.same_bits or bool(self.elsewhere and self.same_outcome)


def write_bundles(
    folder: Path, env: Environment, recorded: Recorded, about: Sequence[dict[str, Any]]
) -> list[str]:
    """One bundle per recorded episode, [N], named <scenario>-<episode>.npz; returns the names.

    A bundle holds the first state with every injection, the actions, and what comes out when they
    are run open loop in a block of rows, which is how it will be replayed.
    """
    length, names = recorded.track.length, []
    for rows in _groups(recorded.place):
        start = jax.tree.map(lambda leaf, rows=rows: leaf[rows], recorded.start)
        actions = recorded.track.action[:, rows]
        again = replay_in_block(env, start, actions, recorded.place[rows])
        for k, row in enumerate(rows):
            steps = int(length[row])
            name = f"{about[row]['scenario']}-{about[row]['episode']:03d}.npz"
            alike = np.array_equal(
                again.finish.physics_state[k], recorded.track.finish.physics_state[row]
            )
            meta = {"as_judged": bool(alike), "place": int(recorded.place[row]), **about[row]}
            _write(folder / name, env, trees.row(start, k), again, k, steps, actions[:, k], meta)
            names.append(name)
    return sorted(names)


def _groups(places: np.ndarray) -> Iterator[np.ndarray]:
    """Episodes in groups within which no two have the same place."""
    order: dict[int, list[int]] = {}
    for row, place in enumerate(places.tolist()):
        order.setdefault(place, []).append(row)
    depth = max(map(len, order.values()), default=0)
    for layer in range(depth):
        yield np.array([rows[layer] for rows in order.values() if len(rows) > layer])


def _write(
    path: Path,
    env: Environment,
    start: State,
    again: Trajectories,
    index: int,
    steps: int,
    actions: np.ndarray,
    about: dict[str, Any],
) -> None:
    meta: dict[str, Any] = {
        "format": FORMAT,
        **about,
        "env": env.name,
        "reward": env.layer,
        "history_s": env.history_s,
        "ended": _ending(again, index),
        "model_sha256": model_digest(env.robot.model),
        "processor": processor(),
        "versions": versions(),
    }
    arrays = {f"start{name}": leaf for name, leaf in trees.to_arrays(start).items()}
    arrays |= {
        "actions": actions[:steps],
        "rewards": again.reward[:steps, index],
        "final_bits": np.asarray(again.finish.physics_state[index]),
    }
    meta = files.plain(meta)
    meta["contents_sha256"] = contents_digest(meta, arrays)
    files.write_arrays(path, {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8), **arrays})


def contents_digest(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over what a bundle says of its episode, and over the episode itself."""
    said = {key: value for key, value in meta.items() if key != "contents_sha256"}
    return files.digest_of(said, arrays)


def _ending(track: Trajectories, index: int) -> str:
    """After how many steps an episode was over, and how."""
    how = "fell" if track.fell[index] else "crashed" if track.crashed[index] else "ran on"
    return f"{how} after {int(track.length[index])} steps"


def read_meta(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a bundle says of itself, and its arrays; a foreign file is refused."""
    arrays = files.read_arrays(path)
    try:
        meta = json.loads(arrays.pop("meta").tobytes())
        valid = meta["format"] == FORMAT
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path}: not a replay bundle of robo_rl.") from error
    if not valid:
        raise UserError(f"{path}: format {meta['format']!r} found, {FORMAT!r} expected.")
    if meta.get("contents_sha256") != contents_digest(meta, arrays):
        raise UserError(
            f"{path}: it is not what was recorded: what it says of its episode, or the episode, was"
            " changed since."
        )
    return meta, arrays


def bundles(path: Path) -> list[Path]:
    """The bundle at a path, or those in the folder there."""
    found = sorted(path.glob("*.npz")) if path.is_dir() else [path]
    if not found:
        raise UserError(f"{path}: no replay bundle (*.npz) in this folder.")
    return found


def replay(path: Path) -> Replayed:
    """Runs a bundle again and compares it with what was recorded."""
    meta, arrays = read_meta(path)
    content.open_run_around(path, str(meta["env"]))
    env = make(meta["env"], meta["reward"], history_s=meta["history_s"])
    if model_digest(env.robot.model) != meta["model_sha256"]:
        raise UserError(
            f"{path}: the model of {meta['env']!r} has changed since; it cannot be replayed."
        )
    like = jax.eval_shape(
        lambda k: env.reset_batch(k, _batched(env)), jax.random.split(jax.random.key(0), 1)
    )
    stored = {name[len("start") :]: a for name, a in arrays.items() if name.startswith("start")}
    start = trees.from_arrays(stored, like, path)
    actions, place = arrays["actions"][:, None], np.array([int(meta["place"])])
    track = replay_in_block(env, jax.tree.map(jnp.asarray, start), actions, place)
    rewards = np.asarray(track.reward)[: len(actions), 0]
    different = np.flatnonzero(rewards != arrays["rewards"])
    return Replayed(
        meta=meta,
        start=start,
        track=track,
        env=env,
        same_state=bool(
            np.array_equal(np.asarray(track.finish.physics_state[0]), arrays["final_bits"])
        ),
        same_rewards=not different.size,
        first_difference=int(different[0]) if different.size else None,
        largest_difference=float(np.abs(rewards - arrays["rewards"]).max(initial=0.0)),
        same_outcome=_ending(track, 0) == meta["ended"],
    )


def write_gif(done: Replayed, path: Path) -> Path:
    """A replayed episode as an animated GIF."""
    import imageio.v3 as imageio

    env, camera = done.env, Camera(done.env, 320, 240)
    step, state = jax.jit(env.step_batch), done.start
    every = max(1, round(1.0 / (GIF_FPS * env.control_s)))
    frames = []
    for k in range(int(done.track.length[0])):
        state = step(state, done.track.action[k])
        if k % every == 0:
            frames.append(camera.picture(state, 0))
    camera.close()
    imageio.imwrite(path, np.stack(frames), duration=1000 * every * env.control_s, loop=0)
    return path


def _batched(env: Environment) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[None], env.neutral())
