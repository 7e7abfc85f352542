"""Zips of Stable-Baselines3: tensors and plain text are read, nothing is unpickled."""

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from robo_rl.errors import UserError
from robo_rl.policy.networks import Graph
from robo_rl.policy.readers.torch_files import SIMPLE, Builder, array, stacked, state_of

LARGEST = 2**30  # bytes of a member: more is no policy


def read(path: Path) -> tuple[Graph, str]:
    """The deterministic policy of a zip of PPO, A2C, SAC or TD3, and how its activation was found.

    Raises UserError for another archive, for layers that are not of a multilayer perceptron, and
    for a file with anything but tensors where the weights are.
    """
    state, said = _open(path)
    kind = _kind(path, state)
    name, told = _activation(said, "ReLU" if kind in ("SAC", "TD3") else "Tanh")
    if kind == "PPO":
        inner = stacked(state, "mlp_extractor.policy_net")
        last = array(state["action_net.weight"]), array(state["action_net.bias"])
    elif kind == "SAC":
        inner = stacked(state, "actor.latent_pi")
        last = array(state["actor.mu.weight"]), array(state["actor.mu.bias"])
    else:
        *inner, last = stacked(state, "actor.mu")
    builder = Builder(int((inner or [last])[0][0].shape[1]))
    for weight, bias in inner:
        builder.affine(weight, bias).apply(SIMPLE[name])
    builder.affine(*last)
    if kind != "PPO":
        builder.apply("Tanh")
    low, high = _box(said, len(last[1]))
    if kind == "PPO":
        _clipped(builder, low, high)
    else:
        _scaled(builder, low, high)
    return builder.graph(), told


def _open(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors of policy.pth, and the text of `data`."""
    import tempfile

    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {i.filename: i.file_size for i in archive.infolist()}
            if "policy.pth" not in sizes:
                raise UserError(f"{path}: no policy.pth in it: not a zip of Stable-Baselines3.")
            if max(sizes.get(n, 0) for n in ("policy.pth", "data")) > LARGEST:
                raise UserError(f"{path}: its weights are larger than {LARGEST} bytes.")
            weights = archive.read("policy.pth")
            text = archive.read("data") if "data" in sizes else b"{}"
    except (zipfile.BadZipFile, OSError, RuntimeError) as error:
        raise UserError(f"{path}: not a zip that can be read: {error}") from error
    with tempfile.NamedTemporaryFile(suffix=".pth") as scratch:
        scratch.write(io.BytesIO(weights).getvalue())
        scratch.flush()
        try:
            state = state_of(Path(scratch.name))
        except UserError as error:
            raise UserError(f"{path}: policy.pth: {str(error).partition(': ')[2]}") from error
    try:
        return state, json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return state, {}


def _kind(path: Path, state: dict[str, Any]) -> str:
    if "action_net.weight" in state:
        kind = "PPO"
    elif "actor.mu.weight" in state:
        kind = "SAC"
    elif "actor.mu.0.weight" in state:
        kind = "TD3"
    else:
        raise UserError(
            f"{path}: neither PPO nor SAC nor TD3 of continuous actions; it holds"
            f" {', '.join(list(state)[:8])}."
        )
    if odd := [name for name in state if "features_extractor" in name or "lstm" in name]:
        raise UserError(f"{path}: {odd[0]}: feature extractors and memories are not read.")
    return kind


def _activation(said: dict[str, Any], usual: str) -> tuple[str, str]:
    """The activation that policy_kwargs names in its readable text; else the algorithm's own."""
    text = json.dumps({k: v for k, v in _kwargs(said).items() if k != ":serialized:"})
    for name in SIMPLE:
        if re.search(rf"\b{name}\b", text):
            return name, f"data: policy_kwargs.activation_fn, {name}"
    return usual, f"assumed: {usual}, the algorithm's own; policy_kwargs names none"


def _kwargs(said: dict[str, Any]) -> dict[str, Any]:
    found = said.get("policy_kwargs")
    return found if isinstance(found, dict) else {}


def _box(said: dict[str, Any], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the action space, from its readable text; [-1, 1] where it has none."""
    space = said.get("action_space")
    found = []
    for key, usual in (("low", -1.0), ("high", 1.0)):
        text = str(space.get(key, "")) if isinstance(space, dict) else ""
        values = [float(v) for v in re.findall(r"[-+]?\d+\.?\d*(?:e[-+]?\d+)?", text)]
        found.append(np.asarray(values if len(values) == count else [usual] * count))
    return found[0], found[1]


def _clipped(builder: Builder, low: np.ndarray, high: np.ndarray) -> None:
    builder.apply("Max", low).apply("Min", high)


def _scaled(builder: Builder, low: np.ndarray, high: np.ndarray) -> None:
    if not (np.allclose(low, -1.0) and np.allclose(high, 1.0)):
        builder.apply("Mul", (high - low) / 2).apply("Add", (high + low) / 2)
