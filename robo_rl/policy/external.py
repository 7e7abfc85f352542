"""Networks that cannot be made arrays of ours: run as they are, a whole batch in one call.

Loading one runs what its file says through onnxruntime or TorchScript, which execute no Python of
the file. A Python function and a program of torch.export are code: they are loaded only where
trust=true or ROBO_RL_TRUST=1 says so.
"""

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from robo_rl import files
from robo_rl.errors import UserError
from robo_rl.policy.networks import Array, Memory, Xp

TRUST = "ROBO_RL_TRUST"
TRIED = 3  # observations in a batch with which a network is tried
CODE = ("python", "torch-export")  # kinds whose loading runs code of their own
_trusted: set[str] = set()  # functions, and digests of files, that this process may run
Run = Callable[[np.ndarray, tuple[np.ndarray, ...]], tuple[np.ndarray, tuple[np.ndarray, ...]]]


@dataclass(frozen=True)
class ExternalProgram:
    """A network in a file, or a Python function, by what runs it."""

    kind: str  # onnx, torchscript, torch-export, python
    source: str  # absolute path of the file; module:function of a function
    sha256: str  # of the file; of a function, of the file that defines it
    outputs: int
    memory: tuple[tuple[str, tuple[int, ...]], ...] = ()
    axes: tuple[int, ...] = ()  # at which each memory has the robots
    one_by_one: bool = False  # it takes one observation at a time

    def act(
        self, xp: Xp, parameters: Any, memory: Memory, observation: Array
    ) -> tuple[Array, Memory]:
        """See networks.Program."""
        names = [name for name, _ in self.memory]
        kept = tuple(memory[name] for name in names)
        if xp is np:
            output, kept = run(self, np.asarray(observation, np.float32), kept)
        else:
            import jax

            lead = observation.shape[:-1]
            shapes = (
                jax.ShapeDtypeStruct((*lead, self.outputs), np.float32),
                tuple(jax.ShapeDtypeStruct((*lead, *s), np.float32) for _, s in self.memory),
            )
            output, kept = jax.pure_callback(
                functools.partial(_run_any, self),
                shapes,
                observation,
                kept,
                vmap_method="broadcast_all",
            )
        return output, {**memory, **dict(zip(names, kept, strict=True))}


@dataclass(frozen=True, eq=False)
class External:
    """A network that is run as it was given."""

    program: ExternalProgram
    observation_size: int
    parameters: tuple[()] = ()

    def arrays(self) -> dict[str, np.ndarray]:
        """No weights of its own: they are in the file."""
        return {}

    def layout(self) -> dict[str, Any]:
        """What runs it, as it is stored."""
        p = self.program
        return {
            "observation_size": self.observation_size,
            "runs": p.kind,
            "source": p.source if p.kind == "python" else Path(p.source).name,
            "sha256": p.sha256,
            "outputs": p.outputs,
            "memory": [[n, list(s)] for n, s in p.memory],
            "axes": list(p.axes),
            "one_by_one": p.one_by_one,
        }

    @classmethod
    def of(cls, described: Mapping[str, Any], folder: Path) -> "External":
        """The network of a stored layout, in its folder.

        Raises UserError for a damaged or missing file, and a function that is not trusted, or has
        changed.
        """
        source = str(described["source"])
        kind = str(described["runs"])
        if kind != "python":
            path = folder / Path(source).name
            if not path.is_file() or files.file_digest(path) != described["sha256"]:
                raise UserError(f"{path}: missing, damaged or changed since it was imported.")
            source = str(path.resolve())
            if kind in CODE:
                _demand_trust(source, str(described["sha256"]))
        else:
            _unchanged_function(source, str(described["sha256"]))
        program = ExternalProgram(
            kind,
            source,
            str(described["sha256"]),
            int(described["outputs"]),
            tuple((n, tuple(s)) for n, s in described["memory"]),
            tuple(described["axes"]),
            bool(described["one_by_one"]),
        )
        return cls(program, int(described["observation_size"]))


def _run_any(program: ExternalProgram, observation: Any, kept: Any) -> Any:
    """run() for any leading shape."""
    seen = np.asarray(observation, np.float32)
    lead = seen.shape[:-1]
    count = int(np.prod(lead, dtype=int))
    rows = tuple(
        np.asarray(k, np.float32).reshape(count, *shape)
        for k, (_, shape) in zip(kept, program.memory, strict=True)
    )
    output, rows = run(program, seen.reshape(count, -1), rows)
    return output.reshape(*lead, -1), tuple(r.reshape(*lead, *r.shape[1:]) for r in rows)


def run(
    program: ExternalProgram, observation: np.ndarray, kept: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Output [N, outputs] and memory for observations [N, n]."""
    call = _loaded(program)
    if not program.one_by_one:
        return call(observation, kept)
    parts = [
        call(observation[i : i + 1], tuple(k[i : i + 1] for k in kept))
        for i in range(len(observation))
    ]
    outputs = np.concatenate([output for output, _ in parts])
    states = zip(*(state for _, state in parts), strict=True)
    return outputs, tuple(np.concatenate(state) for state in states)


@functools.lru_cache(maxsize=16)
def _loaded(program: ExternalProgram) -> Run:
    return _LOADERS[program.kind](program)


def _onnx(program: ExternalProgram) -> Run:
    import onnxruntime

    from robo_rl.policy.onnx_model import batched

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(batched(Path(program.source)), options)
    first, *states = [i.name for i in session.get_inputs()]
    wanted = [o.name for o in session.get_outputs()]

    def call(seen: np.ndarray, kept: tuple[np.ndarray, ...]) -> Any:
        feed = {first: seen}
        for name, state, axis in zip(states, kept, program.axes, strict=True):
            feed[name] = np.ascontiguousarray(np.moveaxis(state, 0, axis))
        action, *new = session.run(wanted, feed)
        moved = tuple(
            np.moveaxis(np.asarray(n), a, 0) for n, a in zip(new, program.axes, strict=False)
        )
        return np.asarray(action, np.float32), moved[: len(kept)]

    return call


def _torchscript(program: ExternalProgram) -> Run:
    import torch

    torch.set_num_threads(1)
    module = torch.jit.load(program.source, map_location="cpu").eval()
    return _torch_call(program, module, dict(module.named_buffers()))


def _torch_export(program: ExternalProgram) -> Run:
    import torch

    _demand_trust(program.source, program.sha256)
    torch.set_num_threads(1)
    return _torch_call(program, torch.export.load(program.source).module(), {})


def _torch_call(program: ExternalProgram, module: Any, buffers: Mapping[str, Any]) -> Run:
    import torch

    def call(seen: np.ndarray, kept: tuple[np.ndarray, ...]) -> Any:
        with torch.inference_mode():
            for (name, _), state, axis in zip(program.memory, kept, program.axes, strict=True):
                moved = np.ascontiguousarray(np.moveaxis(state, 0, axis))
                buffers[name].set_(torch.from_numpy(moved.copy()))
            output = module(torch.from_numpy(np.array(seen)))
            output = output[0] if isinstance(output, tuple) else output
            new = tuple(
                np.moveaxis(buffers[name].numpy().copy(), axis, 0)
                for (name, _), axis in zip(program.memory, program.axes, strict=True)
            )
            return output.numpy().astype(np.float32).reshape(len(seen), -1), new

    return call


def _python(program: ExternalProgram) -> Run:
    function = _unchanged_function(program.source, program.sha256)

    def call(seen: np.ndarray, kept: tuple[np.ndarray, ...]) -> Any:
        given = seen[0] if program.one_by_one else seen
        if not program.memory:
            return np.asarray(function(given), np.float32).reshape(len(seen), -1), ()
        state = kept[0][0] if program.one_by_one else kept[0]
        output, new = function(given, state)
        new = np.asarray(new, np.float32).reshape(kept[0].shape)
        return np.asarray(output, np.float32).reshape(len(seen), -1), (new,)

    return call


def trust(what: str) -> None:
    """Lets this process run a function module:function, or the file of a digest."""
    _trusted.add(what)


def is_trusted(what: str) -> bool:
    """Whether a function or the file of a digest may be run."""
    return what in _trusted or os.environ.get(TRUST) == "1"


def _demand_trust(source: str, what: str) -> None:
    if not is_trusted(what):
        raise UserError(
            f"{source}: loading this policy runs code. Where you trust it, import it with"
            f" trust=true, and set {TRUST}=1 for every later command."
        )


def settle(name: str, size: int, trial: ExternalProgram, outputs: int | None = None) -> External:
    """The network of a program that is not tried yet, for observations of that size.

    A whole batch goes in one call where that gives what each robot alone gives. Raises UserError,
    with what its runtime said, where it gives no actions either way. outputs: as many as needed.
    """
    seen = np.random.default_rng(0).normal(size=(TRIED, size)).astype(np.float32)
    kept = {n: np.zeros((TRIED, *shape), np.float32) for n, shape in trial.memory}
    given: list[tuple[ExternalProgram, np.ndarray]] = []
    said = ""
    for one_by_one in (False, True):
        program = replace(trial, one_by_one=one_by_one)
        try:
            made, _ = program.act(np, (), kept, seen)
        except UserError:
            raise
        except Exception as error:  # every runtime has kinds of its own
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            continue
        if made.ndim == 2 and len(made) == TRIED and outputs in (None, made.shape[1]):
            given.append((replace(program, outputs=made.shape[1]), made))
        else:
            said = f"{TRIED} observations give an output of shape {made.shape}"
    if not given:
        wanted = "actions" if outputs is None else f"{outputs} actions"
        raise UserError(
            f"{name}: takes neither one observation [{size}] nor a batch [N, {size}] to {wanted}:"
            f" {said}"
        )
    together, alone = given[0], given[-1]
    same = np.allclose(together[1], alone[1], atol=1e-5, equal_nan=True)
    return External((together if same else alone)[0], size)


def load_function(source: str) -> Callable[..., Any]:
    """The function `module:function`, also of a module in the current folder.

    Raises UserError where it is not trusted, cannot be imported or does not exist.
    """
    _demand_trust(source, source)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    module, _, name = source.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:  # a module may raise anything
        raise UserError(f"{source}: {type(error).__name__}: {error}.") from error
    if not callable(function):
        raise UserError(f"{source}: not a function.")
    return function


def _unchanged_function(source: str, sha256: str) -> Callable[..., Any]:
    function = load_function(source)
    if function_digest(function) != sha256:
        raise UserError(
            f"{source}: the file that defines it has changed since it was imported: import it"
            " again."
        )
    return function


def function_digest(function: Callable[..., Any]) -> str:
    """SHA-256 of the file that defines a function; "" where there is none."""
    module = sys.modules.get(getattr(function, "__module__", None) or type(function).__module__)
    path = getattr(module, "__file__", None)
    return files.file_digest(Path(path)) if path and Path(path).is_file() else ""


def takes_state(function: Callable[..., Any]) -> bool:
    """Whether a function takes (observation, state) rather than an observation alone."""
    needed = [
        p
        for p in inspect.signature(function).parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return len(needed) >= 2


_LOADERS: dict[str, Callable[[ExternalProgram], Run]] = {
    "onnx": _onnx,
    "torchscript": _torchscript,
    "torch-export": _torch_export,
    "python": _python,
}
