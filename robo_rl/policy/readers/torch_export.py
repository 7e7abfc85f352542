"""Programs of torch.export: their graph is read as data, because torch's own loader runs code.

torch.export.load unpickles what the archive holds and evaluates expressions in it. A graph of known
operations becomes arrays of ours; any other is run by torch where the file is trusted.
"""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robo_rl import files
from robo_rl.errors import UserError
from robo_rl.policy import external
from robo_rl.policy.external import External, ExternalProgram
from robo_rl.policy.networks import Graph, GraphProgram, Node

PROGRAMS = ("models/model.json", "serialized_exported_program.json")  # since torch 2.8, before
CONFIGS = ("weights_config.json", "constants_config.json")
PICKLED = ("serialized_state_dict.pt", "serialized_constants.pt")
TYPES = {6: np.float16, 7: np.float32, 8: np.float64}  # torch's numbers of its types
SAME = ("dropout", "detach", "clone", "alias", "contiguous", "lift_fresh_copy", "to")
PLAIN = {
    "tanh": "Tanh",
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "silu": "Swish",
    "mish": "Mish",
    "selu": "Selu",
    "exp": "Exp",
    "sqrt": "Sqrt",
    "neg": "Neg",
    "abs": "Abs",
}
PAIRS = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "mm": "MatMul", "matmul": "MatMul"}
Arguments = Mapping[str, Any]  # name in torch's schema -> name of a value, number or None


class _UnknownError(Exception):
    """An operation that is not ours."""


def read(path: Path, trusted: bool) -> Graph | External:
    """The network of a .pt2 file.

    Raises UserError for a file that is none, and for operations that only torch can run where the
    file is not trusted.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            program = _program(archive)
            return _graph(program, _weights(archive))
    except _UnknownError as unknown:
        digest = files.file_digest(path)
        if not trusted and not external.is_trusted(digest):
            raise UserError(
                f"{path}: {unknown} is no operation of ours, and torch.export.load, which knows it,"
                " runs code that a file brings along. Where you trust the file, import it with"
                f" trust=true, and set {external.TRUST}=1 for every later command; or export"
                " TorchScript or ONNX."
            ) from unknown
        external.trust(digest)
    except Exception as error:  # JSON of anything lacks anything
        raise UserError(
            f"{path}: not a torch.export file: {type(error).__name__}: {error}"
        ) from error
    return _by_torch(path, digest)


def _program(archive: zipfile.ZipFile) -> dict[str, Any]:
    return json.loads(archive.read(next(n for n in archive.namelist() if n.endswith(PROGRAMS))))


def _weights(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    """Parameters and constants by name; nothing but tensors is unpickled."""
    import torch

    found: dict[str, np.ndarray] = {}
    for name in archive.namelist():
        if name.endswith(PICKLED) and archive.getinfo(name).file_size:
            kept = torch.load(io.BytesIO(archive.read(name)), "cpu", weights_only=True)
            found |= {key: value.numpy() for key, value in kept.items()}
        elif name.endswith(CONFIGS):
            folder = name.rpartition("/")[0]
            for key, said in json.loads(archive.read(name))["config"].items():
                found[key] = _tensor(archive.read(f"{folder}/{said['path_name']}"), said)
    return found


def _tensor(data: bytes, said: Mapping[str, Any]) -> np.ndarray:
    if said["use_pickle"]:
        import torch

        return torch.load(io.BytesIO(data), "cpu", weights_only=True).numpy()
    meta = said["tensor_meta"]
    sizes, strides = ([int(n["as_int"]) for n in meta[key]] for key in ("sizes", "strides"))
    flat = np.frombuffer(data, TYPES[int(meta["dtype"])])
    first = int(meta["storage_offset"]["as_int"])
    place = np.full(sizes, first)
    for axis, (size, stride) in enumerate(zip(sizes, strides, strict=True)):
        place += (np.arange(size) * stride).reshape(
            [-1 if k == axis else 1 for k in range(len(sizes))]
        )
    return flat[place].astype(np.float32)


def _graph(program: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> Graph:
    module = program["graph_module"]
    graph, signature = module["graph"], module["signature"]
    made = _Values()
    observation, action = None, None
    for spec in signature["input_specs"]:
        for kind, said in spec.items():
            if kind == "user_input" and observation is None:
                observation = said["arg"]["as_tensor"]["name"]
            elif kind in ("parameter", "buffer", "tensor_constant"):
                name = said[f"{kind}_name"]
                made.weights[said["arg"]["name"]] = weights[name]
            else:
                raise _UnknownError(f"an input of the kind {kind}")
    for spec in signature["output_specs"]:
        for kind, said in spec.items():
            if kind == "buffer_mutation":
                raise _UnknownError("a memory in a buffer")
            if kind == "user_output" and action is None:
                action = said["arg"]["as_tensor"]["name"]
    if observation is None or action is None:
        raise ValueError("no input or no output")
    for node in graph["nodes"]:
        made.add(node)
    size = int(graph["tensor_values"][observation]["sizes"][-1]["as_int"])
    used = {name for node in made.nodes for name in node.inputs}
    kept = {n: np.asarray(w, np.float32) for n, w in made.weights.items() if n in used}
    return Graph(GraphProgram(tuple(made.nodes), observation, action), kept, size)


class _Values:
    """Nodes and weights of the graph, operation by operation."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.weights: dict[str, np.ndarray] = {}

    def add(self, node: Mapping[str, Any]) -> None:
        """One operation of torch."""
        target = str(node["target"])
        word = target.removeprefix("torch.ops.aten.").split(".")[0].removesuffix("_")
        if not node["outputs"] or word == "_assert_tensor_metadata":
            return
        if not target.startswith("torch.ops.aten."):
            raise _UnknownError(target)
        given = {entry["name"]: _argument(entry["arg"], target) for entry in node["inputs"]}
        outputs = [entry["as_tensor"]["name"] for entry in node["outputs"]]
        if word in SAME:
            self._node("Identity", [given.get("self", given.get("input"))], outputs)
        elif word in PLAIN:
            self._node(PLAIN[word], [given["self"]], outputs)
        elif word in PAIRS:
            if given.get("alpha", 1) != 1 or given.get("rounding_mode"):
                raise _UnknownError(target)
            other = given.get("other", given.get("mat2"))
            self._node(PAIRS[word], [given["self"], self._value(other)], outputs)
        elif word in OWN:
            OWN[word](self, given, outputs)
        else:
            raise _UnknownError(target)

    def _value(self, given: Any) -> str:
        """The name of a value; a number becomes a weight."""
        if isinstance(given, str):
            return given
        name = f"number{len(self.weights)}"
        self.weights[name] = np.asarray(given, np.float32)
        return name

    def _node(self, op: str, inputs: list[Any], outputs: list[str], **said: Any) -> None:
        self.nodes.append(Node(op, tuple(inputs), tuple(outputs), tuple(sorted(said.items()))))

    def linear(self, given: Arguments, outputs: list[str]) -> None:
        """X W' + b."""
        bias = [given["bias"]] if given.get("bias") else []
        self._node("Gemm", [given["input"], given["weight"], *bias], outputs, transB=1)

    def addmm(self, given: Arguments, outputs: list[str]) -> None:
        """B + x W."""
        if given.get("beta", 1) != 1 or given.get("alpha", 1) != 1:
            raise _UnknownError("aten.addmm with factors")
        self._node("Gemm", [given["mat1"], given["mat2"], given["self"]], outputs)

    def turned(self, given: Arguments, outputs: list[str]) -> None:
        """The transpose of a matrix."""
        if tuple(given.get("dims", (1, 0))) != (1, 0):
            raise _UnknownError("aten.permute of more than two axes")
        self._node("Transpose", [given["self"]], outputs, perm=(1, 0))

    def clipped(self, given: Arguments, outputs: list[str]) -> None:
        """Bounded from both sides, or one."""
        low = given.get("min", given.get("min_val", -1.0 if "min" not in given else None))
        high = given.get("max", given.get("max_val", 1.0 if "min" not in given else None))
        self._node("Clip", [given["self"]], outputs, min=low, max=high)

    def elu(self, given: Arguments, outputs: list[str]) -> None:
        """X, or alpha (exp(x) - 1)."""
        if given.get("scale", 1) != 1 or given.get("input_scale", 1) != 1:
            raise _UnknownError("aten.elu with scales")
        self._node("Elu", [given["self"]], outputs, alpha=float(given.get("alpha", 1.0)))

    def leaky_relu(self, given: Arguments, outputs: list[str]) -> None:
        """X, or a share of it."""
        share = float(given.get("negative_slope", 0.01))
        self._node("LeakyRelu", [given["self"]], outputs, alpha=share)

    def gelu(self, given: Arguments, outputs: list[str]) -> None:
        """Exact or by tanh."""
        kind = given.get("approximate") or "none"
        self._node("Gelu", [given["self"]], outputs, approximate=kind)

    def softplus(self, given: Arguments, outputs: list[str]) -> None:
        """Log(1 + exp(x))."""
        if given.get("beta", 1) != 1:
            raise _UnknownError("aten.softplus with a factor")
        self._node("Softplus", [given["self"]], outputs)

    def layer_norm(self, given: Arguments, outputs: list[str]) -> None:
        """Over the last axis."""
        if len(given["normalized_shape"]) != 1 or not given.get("weight"):
            raise _UnknownError("aten.layer_norm of this form")
        inputs = [given["input"], given["weight"], *([given["bias"]] if given.get("bias") else [])]
        epsilon = float(given.get("eps", 1e-5))
        self._node("LayerNormalization", inputs, outputs, axis=-1, epsilon=epsilon)


OWN: dict[str, Callable[[_Values, Arguments, list[str]], None]] = {
    "linear": _Values.linear,
    "addmm": _Values.addmm,
    "t": _Values.turned,
    "permute": _Values.turned,
    "clamp": _Values.clipped,
    "hardtanh": _Values.clipped,
    "elu": _Values.elu,
    "leaky_relu": _Values.leaky_relu,
    "gelu": _Values.gelu,
    "softplus": _Values.softplus,
    "layer_norm": _Values.layer_norm,
}


def _argument(said: Mapping[str, Any], target: str) -> Any:
    """The name of a value, a number, numbers or a word."""
    (kind, value), *_ = said.items()
    if kind == "as_tensor":
        return value["name"]
    if kind in ("as_none", "as_device", "as_scalar_type", "as_layout", "as_memory_format"):
        return None
    if kind in ("as_int", "as_float", "as_bool", "as_string", "as_ints", "as_floats"):
        return value
    raise _UnknownError(f"{target} with an argument {kind}")


def _by_torch(path: Path, digest: str) -> External:
    """Run by torch, which was allowed to load it."""
    with zipfile.ZipFile(path) as archive:
        graph = _program(archive)["graph_module"]
    given = [s["user_input"] for s in graph["signature"]["input_specs"] if "user_input" in s]
    values = graph["graph"]["tensor_values"]
    size = int(values[given[0]["arg"]["as_tensor"]["name"]]["sizes"][-1]["as_int"])
    trial = ExternalProgram("torch-export", str(path.resolve()), digest, outputs=1)
    return external.settle(str(path), size, trial)
