"""Checkpoints of rsl_rl (Isaac Lab, legged_gym, mjlab): tensors, and what lies beside them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robo_rl.content import read_yaml
from robo_rl.errors import UserError, lookup
from robo_rl.policy.networks import Graph
from robo_rl.policy.readers.torch_files import (
    SIMPLE,
    Builder,
    array,
    recurrent_layers,
    stacked,
    state_of,
)

NAMES = {name.lower(): op for name, op in SIMPLE.items()} | {"lrelu": "LeakyRelu", "swish": "Swish"}
USUAL = "elu"
EPSILON = 1e-2  # rsl_rl.modules.EmpiricalNormalization


def read(path: Path, activation: str | None = None) -> tuple[Graph, str]:
    """The actor of a checkpoint as arrays of ours, and where its activation was read.

    activation: in place of that of params/agent.yaml beside the checkpoint. Raises UserError for a
    file without an actor of affine layers, or with anything in it that is no tensor.
    """
    found = state_of(path)
    state: Mapping[str, Any] = found
    for key in ("model_state_dict", "actor_state_dict", "state_dict"):
        if isinstance(found.get(key), dict):
            state = found[key]
            break
    prefix = next((p for p in ("actor", "mlp", "actor.mlp") if stacked(state, p)), None)
    if prefix is None:
        raise UserError(
            f"{path}: no layers actor.0.weight, actor.2.weight ... in it; it holds"
            f" {', '.join(list(state)[:8])}."
        )
    layers = stacked(state, prefix)
    said, name = _activation(path, activation)
    op = lookup(NAMES, name.lower(), kind="activation", where=str(path))
    memory = _memory(state)
    size = memory[1][0][0].shape[1] if memory else layers[0][0].shape[1]
    builder = Builder(int(size))
    _normalise(builder, {**found.get("obs_norm_state_dict", {}), **state})
    if memory:
        builder.recurrent(*memory)
    for weight, bias in layers[:-1]:
        builder.affine(weight, bias).apply(op)
    return builder.affine(*layers[-1]).graph(), said


def _activation(path: Path, asked: str | None) -> tuple[str, str]:
    if asked:
        return "as asked", asked
    for folder in list(path.resolve().parents)[:3]:
        beside = folder / "params" / "agent.yaml"
        if beside.is_file():
            said = read_yaml(beside)
            for part in ("policy", "actor"):
                if isinstance(said.get(part), dict) and said[part].get("activation"):
                    return f"{beside.name}: {part}.activation", str(said[part]["activation"])
    return f"assumed: {USUAL}, as rsl_rl has it; the checkpoint does not say", USUAL


def _memory(state: Mapping[str, Any]) -> tuple[str, list[Any]] | None:
    for prefix in ("memory_a.rnn.", "memory_actor.rnn.", "rnn.rnn.", "memory.rnn."):
        layers = recurrent_layers(state, prefix)
        if layers:
            gates = layers[0][0].shape[0] // layers[0][1].shape[1]
            return ("LSTM" if gates == 4 else "GRU"), layers
    return None


def _normalise(builder: Builder, state: Mapping[str, Any]) -> None:
    for prefix in ("", "actor_obs_normalizer.", "obs_normalizer.", "normalizer."):
        if f"{prefix}_mean" in state and f"{prefix}_std" in state:
            mean, deviation = array(state[f"{prefix}_mean"]), array(state[f"{prefix}_std"])
            builder.normalise(mean.reshape(-1), deviation.reshape(-1) + EPSILON, None)
            return
