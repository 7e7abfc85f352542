"""Brax and MuJoCo Playground parameter files: pickles, read without executing what they name.

Only the arrays in them are made; every class and function that a pickle names becomes an inert
record of its arguments.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from robo_rl.errors import UserError, lookup
from robo_rl.policy.networks import Graph
from robo_rl.policy.readers.torch_files import SIMPLE, Builder

NAMES = {"swish": "Swish", "silu": "Swish"} | {n.lower(): op for n, op in SIMPLE.items()}
USUAL = "swish"
NUMPY = {
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),  # bytes in old protocols
}
OBSERVATIONS = ("state", "policy", "obs")  # of a dictionary of them, what the actor sees


class _Record:
    """What stands for an object of a class that is never imported."""

    given: tuple[Any, ...]
    named: dict[str, Any]

    def __new__(cls, *given: Any, **named: Any) -> "_Record":
        record = super().__new__(cls)
        record.given, record.named = given, named
        return record

    def __init__(self, *_: Any, **__: Any):
        """Made whole by __new__, which is all that a pickle calls."""

    def __setstate__(self, state: Any) -> None:
        self.named = {**self.named, **(state if isinstance(state, dict) else {"state": state})}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in NUMPY:
            return super().find_class(module, name)
        return type(name, (_Record,), {"__module__": module})


def read(path: Path, activation: str | None = None) -> tuple[Graph, str]:
    """The deterministic policy of (normaliser, policy, ...) parameters, and how it is activated.

    The head is tanh of the first half of the outputs, as Brax's PPO and SAC have it. Raises
    UserError for a file that is no such parameters.
    """
    try:
        found = _Reader(io.BytesIO(path.read_bytes())).load()
        normaliser, policy = found[0], found[1]
        layers = _layers(policy)
        mean, deviation = (_array(_field(normaliser, key)) for key in ("mean", "std"))
    except (UserError, OSError):
        raise
    except Exception as error:  # a pickle of anything raises anything
        raise UserError(
            f"{path}: neither a policy in a known format (.onnx, .pt, .pt2, .zip) nor parameters of"
            f" Brax, (normaliser, policy, ...): {type(error).__name__}: {error}"
        ) from error
    name = activation or USUAL
    op = lookup(NAMES, name.lower(), kind="activation", where=str(path))
    builder = Builder(int(layers[0][0].shape[0])).normalise(mean, deviation, None)
    for kernel, bias in layers[:-1]:
        builder.affine(kernel.T, bias).apply(op)
    kernel, bias = layers[-1]
    half = len(bias) // 2
    builder.affine(kernel.T[:half], bias[:half]).apply("Tanh")
    said = "as asked" if activation else f"assumed: {USUAL}, as Brax has it; the file does not say"
    return builder.graph(), said


def _layers(policy: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    tree = _field(policy, "params")
    while "hidden_0" not in tree:
        tree = next(iter(tree.values()))
    names = sorted((n for n in tree if n.startswith("hidden_")), key=lambda n: int(n[7:]))
    return [(_array(tree[n]["kernel"]), _array(tree[n]["bias"])) for n in names]


def _field(record: Any, key: str) -> Any:
    """A field of a record or dictionary, by name or in Brax's order."""
    if isinstance(record, dict):
        found = record[key]
    else:
        order = ("mean", "std") if "mean" in record.named else ()
        found = record.named[key] if key in record.named else record.named[order.index(key)]
    if isinstance(found, dict) and key in ("mean", "std"):
        return next(found[name] for name in OBSERVATIONS if name in found)
    return found


def _array(value: Any) -> np.ndarray:
    """A NumPy array, also of a JAX array, whose pickle is the arguments of a NumPy one."""
    if isinstance(value, _Record):
        function, arguments, state, *_ = value.given
        made = function(*arguments)
        made.__setstate__(state)
        value = made
    return np.asarray(value, np.float32)
