"""ONNX: a graph of known operations becomes arrays of ours, any other is run by onnxruntime."""

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robo_rl import files
from robo_rl.errors import UserError
from robo_rl.policy import external
from robo_rl.policy.external import External, ExternalProgram
from robo_rl.policy.networks import OPERATIONS, Graph, GraphProgram, Node, Recalled, begin
from robo_rl.policy.onnx_model import batch_axis, load, shape_of

AS_ATTRIBUTES = {  # inputs that say where and not what: constants of the program
    "Slice": ("starts", "ends", "axes", "steps"),
    "Squeeze": ("axes",),
    "Unsqueeze": ("axes",),
    "Split": ("split",),
    "ReduceMean": ("axes",),
    "Reshape": ("shape",),
    "Gather": ("indices",),
}
ROWS = 3  # robots in the batch that a network is tried with


def read(path: Path) -> Graph | External:
    """The network of an ONNX file.

    The first input is the observation and the first output the action; further inputs are
    recurrent states, which the further outputs hand on in the same order. Raises UserError for a
    file that is no such network.
    """
    model = load(path)
    try:
        graph = _graph(path, model)
    except _UnknownError:
        return _external(path, model)
    except (ValueError, TypeError, KeyError, IndexError, MemoryError) as error:
        raise UserError(f"{path}: a damaged ONNX model: {_one_line(error)}") from error
    if not _takes_batches(graph):
        return _external(path, model)
    return graph


def as_given(path: Path) -> External:
    """The network run by onnxruntime, whatever its operations."""
    return _external(path, load(path))


def metadata(path: Path) -> dict[str, str]:
    """What an exporter wrote into the file beside the network."""
    return {entry.key: entry.value for entry in load(path).metadata_props}


def _one_line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]


class _UnknownError(Exception):
    """The graph holds an operation, or a form of one, that is not ours."""


def _inputs(model: Any) -> list[Any]:
    own = {weight.name for weight in model.graph.initializer}
    return [i for i in model.graph.input if i.name not in own]


def _observation_size(path: Path, model: Any) -> int:
    shape = shape_of(_inputs(model)[0])
    if len(shape) != 2 or shape[1] < 1:
        raise UserError(
            f"{path}: the first input of the ONNX model has shape {shape}: observations [robots, n]"
            " with a fixed n were expected."
        )
    return shape[1]


def _graph(path: Path, model: Any) -> Graph:
    import onnx
    from onnx import numpy_helper

    weights = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    if any(node.domain not in ("", "ai.onnx") for node in model.graph.node):
        raise _UnknownError
    nodes = []
    for node in model.graph.node:
        given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Constant":
            weights[node.output[0]] = _constant(given)
            continue
        nodes.append(_node(node, given, weights))
    first, *states = _inputs(model)
    out, *kept = [o.name for o in model.graph.output]
    if len(states) != len(kept):
        raise _UnknownError
    used = {name for node in nodes for name in node.inputs}
    size = _observation_size(path, model)
    program = GraphProgram(
        tuple(nodes),
        first.name,
        out,
        tuple(_recalled(s, k) for s, k in zip(states, kept, strict=True)),
    )
    arrays = {n: _as_float(w) for n, w in weights.items() if n in used}
    return Graph(program, arrays, size)


def _constant(given: Mapping[str, Any]) -> np.ndarray:
    from onnx import numpy_helper

    for name, value in given.items():
        if name == "value":
            return numpy_helper.to_array(value)
        return np.asarray(value)
    raise _UnknownError


def _as_float(weight: np.ndarray) -> np.ndarray:
    if weight.dtype.kind not in "fiub":
        raise _UnknownError
    return np.asarray(weight, np.float32)


def _recalled(state: Any, kept: str) -> Recalled:
    shape = shape_of(state)
    axis = batch_axis(shape)
    own = tuple(n for i, n in enumerate(shape) if i != axis)
    if any(n < 1 for n in own):
        raise _UnknownError
    return Recalled(state.name, kept, own, axis)


def _node(node: Any, given: dict[str, Any], weights: Mapping[str, np.ndarray]) -> Node:
    op, inputs = node.op_type, list(node.input)
    if op not in OPERATIONS or (op in ("LSTM", "GRU") and not _plain(given, inputs)):
        raise _UnknownError
    if op in AS_ATTRIBUTES:
        names = AS_ATTRIBUTES[op]
        constants, inputs = inputs[1:], inputs[:1]
        for name, source in zip(names, constants, strict=False):
            if not source:
                continue
            if source not in weights:
                raise _UnknownError
            given[name] = tuple(int(n) for n in np.ravel(weights[source]))
        given = _complete(op, given, len(node.output))
        if op == "Gather" and np.ndim(weights[node.input[1]]) == 0:
            given["indices"] = given["indices"][0]
    if op == "Clip" and any(source and source not in weights for source in inputs[1:]):
        raise _UnknownError
    if op == "Cast" and given.get("to") not in (1, 10, 11):
        raise _UnknownError
    attributes = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    readable = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
    return Node(op, tuple(inputs), tuple(node.output), tuple(sorted(readable.items())))


def _complete(op: str, given: dict[str, Any], outputs: int) -> dict[str, Any]:
    """The attributes that ONNX lets an exporter leave out."""
    if op == "Slice":
        axes = given.get("axes") or tuple(range(len(given["starts"])))
        return {**given, "axes": axes, "steps": given.get("steps") or (1,) * len(axes)}
    if op == "Split" and "split" not in given:
        return {"axis": 0, "num_outputs": outputs, **given}
    if op in ("Squeeze", "Unsqueeze", "ReduceMean") and "axes" not in given:
        raise _UnknownError
    return {"axis": 0, **given} if op in ("Gather", "Split") else given


def _plain(given: Mapping[str, Any], inputs: list[str]) -> bool:
    """A recurrent layer with default activations, forward, with a bias and a given state."""
    if given.get("direction", b"forward") != b"forward" or "activations" in given:
        return False
    return len(inputs) >= 6 and not inputs[4] and all(inputs[5:7]) and bool(inputs[3])


def _takes_batches(graph: Graph) -> bool:
    """Whether a batch of robots gives what each gives alone."""
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(ROWS, graph.observation_size)).astype(np.float32)
    memory = begin(np, graph.program, (ROWS,))
    try:
        together, _ = graph.program.act(np, graph.parameters, memory, seen)
        alone = [
            graph.program.act(
                np, graph.parameters, begin(np, graph.program, (1,)), seen[i : i + 1]
            )[0]
            for i in range(ROWS)
        ]
    except (ValueError, IndexError, TypeError):
        return False
    return np.shape(together)[:1] == (ROWS,) and np.allclose(
        together, np.concatenate(alone), atol=1e-5
    )


def _external(path: Path, model: Any) -> External:
    """As it is, through onnxruntime."""
    states = _inputs(model)[1:]
    try:
        recalled = [_recalled(s, "") for s in states]
    except _UnknownError as error:
        raise UserError(f"{path}: an input of it, a state, has no fixed size.") from error
    whole = _in_one_file(path, model)
    trial = ExternalProgram(
        kind="onnx",
        source=str(whole.resolve()),
        sha256=files.file_digest(whole),
        outputs=1,
        memory=tuple((r.read, r.shape) for r in recalled),
        axes=tuple(r.axis for r in recalled),
    )
    return external.settle(str(path), _observation_size(path, model), trial)


def _in_one_file(path: Path, model: Any) -> Path:
    """The file; with weights in files beside it a copy that holds them, gone with this process."""
    import onnx

    header = onnx.load(str(path), load_external_data=False)
    if not any(w.data_location == onnx.TensorProto.EXTERNAL for w in header.graph.initializer):
        return path
    folder = Path(tempfile.mkdtemp(prefix="robo_rl."))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    onnx.save(model, str(folder / path.name))
    return folder / path.name
