"""PyTorch: TorchScript and checkpoints; known layers become arrays of ours.

Nothing is unpickled but tensors: a checkpoint that holds anything else is refused.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from robo_rl import files
from robo_rl.errors import UserError
from robo_rl.policy import external
from robo_rl.policy.external import External, ExternalProgram
from robo_rl.policy.networks import Graph, GraphProgram, Node, Recalled, begin

SIMPLE = {  # torch's layers without weights, as operations
    "ELU": "Elu",
    "ReLU": "Relu",
    "Tanh": "Tanh",
    "SiLU": "Swish",
    "Sigmoid": "Sigmoid",
    "Softplus": "Softplus",
    "Mish": "Mish",
    "SELU": "Selu",
    "GELU": "Gelu",
    "Softsign": "Softsign",
    "LeakyReLU": "LeakyRelu",
    "Identity": "Identity",
}
TRIED = 6  # observations in a row with which a conversion is held against torch itself


class Builder:
    """A graph, layer by layer."""

    def __init__(self, observation_size: int):
        self.size = observation_size
        self.nodes: list[Node] = []
        self.weights: dict[str, np.ndarray] = {}
        self.recalled: list[Recalled] = []
        self.last = "observation"

    def apply(self, op: str, *weights: np.ndarray, **attributes: Any) -> "Builder":
        """The last value through one operation."""
        at = len(self.nodes)
        names = tuple(f"w{at}.{k}" for k in range(len(weights)))
        for name, weight in zip(names, weights, strict=True):
            self.weights[name] = np.asarray(weight, np.float32)
        made = f"x{at}"
        node = Node(op, (self.last, *names), (made,), tuple(sorted(attributes.items())))
        self.nodes.append(node)
        self.last = made
        return self

    def affine(self, weight: np.ndarray, bias: np.ndarray | None) -> "Builder":
        """W x + b for a weight [out, in], as torch keeps it."""
        out = np.zeros(len(weight)) if bias is None else bias
        return self.apply("Gemm", weight, out, transB=1)

    def normalise(self, mean: np.ndarray, deviation: np.ndarray, clip: float | None) -> "Builder":
        """(x - mean) / deviation, clipped at +-clip."""
        self.apply("Sub", mean).apply("Div", deviation)
        return self if clip is None else self.apply("Clip", min=-clip, max=clip)

    def recurrent(self, kind: str, layers: list[tuple[np.ndarray, ...]]) -> "Builder":
        """LSTM or GRU layers; each (w_ih, w_hh, b_ih, b_hh) in torch's order of gates."""
        gates, states = ("ifgo", "hc") if kind == "LSTM" else ("rzn", "h")
        wanted = "iofg" if kind == "LSTM" else "zrn"
        order = [gates.index(g) for g in wanted]
        self.apply("Unsqueeze", axes=(0,))
        for level, parts in enumerate(layers):
            turned = [_gates(part, order) for part in parts]
            names = [f"{kind.lower()}{level}.{s}" for s in "wrb"]
            bias = np.concatenate(turned[2:])
            for name, value in zip(names, (turned[0], turned[1], bias), strict=True):
                self.weights[name] = np.asarray(value, np.float32)[None]
            read = [f"{s}{level}" for s in states]
            written = [f"{s}{level}'" for s in states]
            out = f"{kind.lower()}{level}"
            given = (self.last, *names, "", *read)
            extra = (("linear_before_reset", 1),) if kind == "GRU" else ()
            self.nodes.append(Node(kind, given, (out, *written), extra))
            size = parts[1].shape[1]
            self.recalled += [
                Recalled(r, w, (1, size), 1) for r, w in zip(read, written, strict=True)
            ]
            self.last = out
            self.apply("Squeeze", axes=(1,))
        return self.apply("Squeeze", axes=(0,))

    def before(self, network: Graph) -> Graph:
        """What was built, in front of a network that takes its last value."""
        mine = {name: f"first.{name}" for name in ("observation", self.last, *self.weights)}
        mine |= {name: f"first.{name}" for node in self.nodes for name in node.outputs}
        mine[self.last] = network.program.observation
        nodes = tuple(
            Node(
                node.op,
                tuple(mine[name] for name in node.inputs),
                tuple(mine[name] for name in node.outputs),
                node.attributes,
            )
            for node in self.nodes
        )
        program = replace(
            network.program,
            nodes=(*nodes, *network.program.nodes),
            observation=mine["observation"],
        )
        weights = {mine[name]: weight for name, weight in self.weights.items()}
        return Graph(program, weights | network.weights, self.size)

    def graph(self) -> Graph:
        """What was built."""
        program = GraphProgram(tuple(self.nodes), "observation", self.last, tuple(self.recalled))
        return Graph(program, self.weights, self.size)


def _gates(weight: np.ndarray, order: list[int]) -> np.ndarray:
    parts = np.split(np.asarray(weight), len(order))
    return np.concatenate([parts[k] for k in order])


def read_torchscript(path: Path) -> Graph | External:
    """The network of a TorchScript file: arrays of ours where its layers are known.

    The conversion is held against torch on observations in a row; where it does not give the same,
    torch runs the file. Raises UserError for a file that torch cannot load or run.
    """
    import torch

    torch.set_num_threads(1)
    try:
        module = torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(f"{path}: not a TorchScript file: {_first_line(error)}") from error
    size = _input_size(dict(module.named_parameters()), dict(module.named_buffers()))
    if size is None:
        raise UserError(f"{path}: no layer in it says how many observations it takes.")
    reference = _in_a_row(module, size, path)
    for convert in (_sequential, _recurrent_exporter):
        graph = convert(module, size)
        if graph is not None and _equals(graph, reference):
            return graph
    return _external(path, module, size, reference)


def as_given(path: Path) -> External:
    """The network of a TorchScript file run by torch, whatever its layers."""
    import torch

    module = torch.jit.load(str(path), map_location="cpu").eval()
    size = _input_size(dict(module.named_parameters()), dict(module.named_buffers()))
    assert size is not None
    return _external(path, module, size, _in_a_row(module, size, path))


def state_of(path: Path) -> dict[str, Any]:
    """The tensors of a checkpoint by name, nested dictionaries kept.

    Raises UserError for a file that holds anything that is no tensor, number, text or container.
    """
    import pickle

    import torch

    try:
        found = torch.load(str(path), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: not a checkpoint of tensors only, and nothing else is unpickled:"
            f" {_first_line(error)}"
        ) from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: a dictionary of tensors was expected, found {type(found)}.")
    return found


def array(tensor: Any) -> np.ndarray:
    """A tensor's values."""
    return np.asarray(tensor.detach().cpu().numpy())


def stacked(state: Mapping[str, Any], prefix: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """The (weight, bias) of the affine layers PREFIX.0, PREFIX.2 ..., in order."""
    numbers = sorted(
        {
            int(name[len(prefix) + 1 :].split(".")[0])
            for name in state
            if name.startswith(f"{prefix}.")
            and name.endswith(".weight")
            and name[len(prefix) + 1 :].split(".")[0].isdigit()
            and state[name].ndim == 2
        }
    )
    layers = []
    for n in numbers:
        weight, bias = array(state[f"{prefix}.{n}.weight"]), state.get(f"{prefix}.{n}.bias")
        layers.append((weight, np.zeros(len(weight)) if bias is None else array(bias)))
    return layers


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _input_size(parameters: Mapping[str, Any], buffers: Mapping[str, Any]) -> int | None:
    """Columns of the first matrix: what a policy's first layer takes."""
    ordered = {**parameters, **buffers}
    recurrent = [v for n, v in ordered.items() if "weight_ih_l0" in n]
    matrices = recurrent or [v for v in parameters.values() if v.ndim == 2]
    return int(matrices[0].shape[1]) if matrices else None


Reference = tuple[np.ndarray, np.ndarray]  # observations [T, n], outputs [T, m]


def _in_a_row(module: Any, size: int, path: Path) -> Reference:
    """Outputs of torch for observations one after another, from its initial state on."""
    import copy

    import torch

    fresh = copy.deepcopy(module)
    seen = np.random.default_rng(1).normal(size=(TRIED, size)).astype(np.float32)
    try:
        with torch.inference_mode():
            outputs = [_output(fresh(torch.from_numpy(row[None].copy()))) for row in seen]
    except RuntimeError as error:
        raise UserError(
            f"{path}: torch cannot run it on an observation of {size}: {_first_line(error)}"
        ) from error
    return seen, np.concatenate(outputs)


def _output(made: Any) -> np.ndarray:
    first = made[0] if isinstance(made, tuple) else made
    return first.numpy().reshape(1, -1)


def _equals(graph: Graph, reference: Reference) -> bool:
    seen, wanted = reference
    memory, outputs = begin(np, graph.program, (1,)), []
    try:
        for row in seen:
            made, memory = graph.program.act(np, graph.parameters, memory, row[None])
            outputs.append(made)
    except (ValueError, KeyError):
        return False
    found = np.concatenate(outputs)
    return found.shape == wanted.shape and bool(
        np.allclose(found, wanted, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(wanted).max())))
    )


def _layers(builder: Builder, modules: list[tuple[str, Any]]) -> Builder | None:
    """Known layers one after another; None where one is not known."""
    for kind, layer in modules:
        if kind == "Linear":
            state = dict(layer.named_parameters())
            bias = state.get("bias")
            builder.affine(array(state["weight"]), None if bias is None else array(bias))
        elif kind == "LayerNorm":
            state = dict(layer.named_parameters())
            builder.apply("LayerNormalization", array(state["weight"]), array(state["bias"]))
        elif kind in SIMPLE:
            builder.apply(SIMPLE[kind])
        elif kind not in ("Dropout", "Flatten"):
            return None
    return builder


def _leaves(module: Any) -> list[tuple[str, Any]]:
    """Kinds and layers without layers inside, in order of declaration."""
    return [
        (found.original_name, found)
        for _, found in module.named_modules()
        if not list(found.children()) and found is not module
    ]


def _normaliser(builder: Builder, module: Any) -> None:
    """An empirical normaliser of rsl_rl in front, where the module holds one."""
    buffers = {n.rsplit(".", 1)[-1]: b for n, b in module.named_buffers()}
    mean, deviation = buffers.get("_mean"), buffers.get("_std")
    if mean is not None and deviation is not None:
        builder.normalise(array(mean).reshape(-1), array(deviation).reshape(-1) + 1e-2, None)


def _sequential(module: Any, size: int) -> Graph | None:
    builder = Builder(size)
    _normaliser(builder, module)
    leaves = [(kind, leaf) for kind, leaf in _leaves(module) if kind in (*SIMPLE, *KNOWN)]
    built = _layers(builder, leaves)
    return built.graph() if built and leaves else None


KNOWN = ("Linear", "LayerNorm", "Dropout", "Flatten")


def _recurrent_exporter(module: Any, size: int) -> Graph | None:
    """An LSTM or GRU in front of known layers: how legged_gym and rsl_rl export a memory."""
    memories = [(k, m) for k, m in _leaves(module) if k in ("LSTM", "GRU")]
    if len(memories) != 1:
        return None
    kind, memory = memories[0]
    state = dict(memory.named_parameters())
    builder = Builder(size)
    _normaliser(builder, module)
    builder.recurrent(kind, recurrent_layers(state))
    rest = [(k, m) for k, m in _leaves(module) if k in (*SIMPLE, *KNOWN)]
    built = _layers(builder, rest)
    return built.graph() if built else None


def recurrent_layers(state: Mapping[str, Any], prefix: str = "") -> list[tuple[np.ndarray, ...]]:
    """(w_ih, w_hh, b_ih, b_hh) of every layer of a torch LSTM or GRU."""
    count = sum(1 for name in state if name.startswith(f"{prefix}weight_ih_l"))
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return [tuple(array(state[f"{prefix}{n}_l{k}"]) for n in names) for k in range(count)]


def _external(path: Path, module: Any, size: int, reference: Reference) -> External:
    """Run by torch; buffers that change are its memory, one for every robot."""
    import copy

    import torch

    fresh = copy.deepcopy(module)
    before = {n: array(b).copy() for n, b in fresh.named_buffers()}
    with torch.inference_mode():
        for row in reference[0][:2]:
            fresh(torch.from_numpy(row[None].copy()))
    changed = [
        n
        for n, b in fresh.named_buffers()
        if before[n].dtype.kind == "f" and not np.array_equal(before[n], array(b))
    ]
    memory, axes = [], []
    for name in changed:
        shape = before[name].shape
        axis = 1 if len(shape) == 3 else 0
        if not shape or shape[axis] != 1:
            raise UserError(
                f"{path}: its buffer {name!r} of shape {shape} is a memory without an axis for"
                " robots: export it for a batch, or as ONNX with the state as input and output."
            )
        memory.append((name, tuple(n for i, n in enumerate(shape) if i != axis)))
        axes.append(axis)
    trial = ExternalProgram(
        kind="torchscript",
        source=str(path.resolve()),
        sha256=files.file_digest(path),
        outputs=1,
        memory=tuple(memory),
        axes=tuple(axes),
    )
    return external.settle(str(path), size, trial)
