"""Replay bundles: a failing episode in one file that reproduces it bit for bit."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from robo_rl import files, trees
from robo_rl.content import UserError
from robo_rl.contract import model_digest, versions
from robo_rl.envs.step import Environment, State, make
from robo_rl.rendering import Camera
from robo_rl.safety_eval.rollout import Track, replay_from

FORMAT = "robo_rl.replay/1"
GIF_FPS = 25


class Replayed(NamedTuple):
    """What a replay showed."""

    meta: dict[str, Any]
    start: State
    track: Track
    env: Environment
    same_state: bool  # final physics state equal to the last bit
    same_rewards: bool  # every step's reward equal to the last bit
    first_difference: int | None  # step of the first differing reward


def write_bundle(
    path: Path, env: Environment, start: State, track: Track, index: int, about: dict[str, Any]
) -> None:
    """Stores episode `index`: first state with every injection, actions, and what must come out."""
    length = int(track.length[index])
    meta = {
        "format": FORMAT,
        **about,
        "env": env.name,
        "reward": env.layer,
        "history_s": env.history_s,
        "model_sha256": model_digest(env.robot.model),
        "versions": versions(),
    }
    arrays = {
        f"start{name}": leaf for name, leaf in trees.to_arrays(trees.row(start, index)).items()
    }
    arrays |= {
        "meta": np.frombuffer(json.dumps(files.plain(meta)).encode(), np.uint8),
        "actions": track.action[:length, index],
        "rewards": track.reward[:length, index],
        "final_bits": np.asarray(track.finish.bits[index]),
    }
    files.write_arrays(path, arrays)


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
    return meta, arrays


def replay(path: Path) -> Replayed:
    """Runs a bundle again and compares it with what was recorded."""
    meta, arrays = read_meta(path)
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
    track = replay_from(env, start, arrays["actions"][:, None])
    rewards = np.asarray(track.reward)[:, 0]
    different = np.flatnonzero(rewards != arrays["rewards"])
    return Replayed(
        meta=meta,
        start=start,
        track=track,
        env=env,
        same_state=bool(np.array_equal(np.asarray(track.finish.bits[0]), arrays["final_bits"])),
        same_rewards=not different.size,
        first_difference=int(different[0]) if different.size else None,
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
            frames.append(
                camera.picture(np.asarray(state.bits[0]), np.asarray(state.signals.goal[0]))
            )
    camera.close()
    imageio.imwrite(path, np.stack(frames), duration=1000 * every * env.control_s, loop=0)
    return path


def _batched(env: Environment) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[None], env.neutral())
