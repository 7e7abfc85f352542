"""Networks as arrays of ours: evaluated in NumPy and in JAX by one and the same code.

A network has a program (hashable: what is done) and parameters (arrays: with which numbers), so
that other weights recompile nothing. A memory is a dictionary of arrays, one row per robot.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from robo_rl.errors import lookup

Array: TypeAlias = Any  # of NumPy, or of JAX under jit
Xp: TypeAlias = Any  # numpy or jax.numpy
Memory = dict[str, Array]


class Program(Protocol):
    """What a network does with its parameters; hashable, so that it is a constant under jit."""

    @property
    def memory(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Name and shape of what it remembers of one robot."""
        ...

    def act(
        self, xp: Xp, parameters: Any, memory: Memory, observation: Array
    ) -> tuple[Array, Memory]:
        """Output [N, nu] and the next memory for observations [N, n]."""
        ...


def begin(xp: Xp, program: Program, robots: tuple[int, ...]) -> Memory:
    """The memory of a program at the start of an episode: zeros, whole numbers where it counts."""
    return {
        name: xp.zeros((*robots, *shape), np.int32 if name == "step" else np.float32)
        for name, shape in program.memory
    }


def sigmoid(xp: Xp, x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    return 1.0 / (1.0 + xp.exp(-xp.clip(x, -60.0, None)))


def swish(xp: Xp, x: Array) -> Array:
    """X sigmoid(x), also called SiLU."""
    return x / (1.0 + xp.exp(-xp.clip(x, -60.0, None)))


def elu(xp: Xp, x: Array, alpha: float = 1.0) -> Array:
    """X above zero, alpha (exp(x) - 1) below."""
    return xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0.0)))


ACTIVATIONS: dict[str, Callable[[Xp, Array], Array]] = {
    "tanh": lambda xp, x: xp.tanh(x),
    "relu": lambda xp, x: xp.maximum(x, 0.0),
    "swish": swish,
    "elu": elu,
}
HEADS: dict[str, Callable[[Xp, Array], Array]] = {
    "tanh": lambda xp, x: xp.tanh(x),
    "clip": lambda xp, x: xp.clip(x, -1.0, 1.0),
}


@dataclass(frozen=True)
class MlpProgram:
    """A normaliser, affine layers with one activation between them, and a head."""

    activation: str
    head: str
    memory: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def act(
        self, xp: Xp, parameters: Any, memory: Memory, observation: Array
    ) -> tuple[Array, Memory]:
        """See Program."""
        p = parameters
        hidden = xp.clip((observation - p["mean"]) / p["std"], -p["clip"], p["clip"])
        *inner, last = p["layers"]
        for weight, bias in inner:
            hidden = ACTIVATIONS[self.activation](xp, hidden @ weight + bias)
        return HEADS[self.head](xp, hidden @ last[0] + last[1]), memory


@dataclass(frozen=True)
class Network:
    """A normaliser and a multilayer perceptron that give the mean action, squashed by a head."""

    mean: np.ndarray  # [observations]
    std: np.ndarray  # [observations]
    clip: float  # of the normalised observation; inf for none
    weights: tuple[np.ndarray, ...]  # each [in, out]
    biases: tuple[np.ndarray, ...]  # each [out]
    activation: str
    head: str

    @property
    def program(self) -> MlpProgram:
        """What is done with the weights."""
        return MlpProgram(self.activation, self.head)

    @property
    def parameters(self) -> dict[str, Any]:
        """The weights as the program takes them."""
        layers = list(zip(self.weights, self.biases, strict=True))
        return {
            "mean": self.mean,
            "std": self.std,
            "clip": np.float32(self.clip),
            "layers": layers,
        }

    @property
    def observation_size(self) -> int:
        """Numbers it takes."""
        return int(self.mean.size)

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights by name, as they are stored."""
        layers = zip(self.weights, self.biases, strict=True)
        named = {
            f"{kind}{i}": a
            for i, pair in enumerate(layers)
            for kind, a in zip("wb", pair, strict=True)
        }
        return {"mean": self.mean, "std": self.std, **named}

    def layout(self) -> dict[str, Any]:
        """What is done with the weights, as it is stored."""
        return {
            "layers": len(self.weights),
            "activation": self.activation,
            "head": self.head,
            "observation_clip": None if np.isinf(self.clip) else self.clip,
        }

    @classmethod
    def of(cls, described: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> "Network":
        """The network of a stored layout and arrays; KeyError where something is missing."""
        layers = range(int(described["layers"]))
        clip = described["observation_clip"]
        if described["activation"] not in ACTIVATIONS or described["head"] not in HEADS:
            raise KeyError(f"activation {described['activation']!r} or head {described['head']!r}")
        return cls(
            mean=arrays["mean"],
            std=arrays["std"],
            clip=np.inf if clip is None else float(clip),
            weights=tuple(arrays[f"w{i}"] for i in layers),
            biases=tuple(arrays[f"b{i}"] for i in layers),
            activation=described["activation"],
            head=described["head"],
        )


@dataclass(frozen=True)
class Node:
    """One operation of a graph, by the name and with the attributes that ONNX gives it."""

    op: str
    inputs: tuple[str, ...]  # names of values; "" for one that is left out
    outputs: tuple[str, ...]
    attributes: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Recalled:
    """A value of a graph that comes back in the next step: the state of a recurrent layer."""

    read: str  # the value that is fed in
    written: str  # the value that is kept
    shape: tuple[int, ...]  # of one robot
    axis: int  # at which the graph has the robots


@dataclass(frozen=True)
class GraphProgram:
    """Operations of ONNX on named values, the robots of a batch along one axis."""

    nodes: tuple[Node, ...]
    observation: str
    action: str
    recalled: tuple[Recalled, ...] = ()

    @property
    def memory(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """See Program."""
        return tuple((r.read, r.shape) for r in self.recalled)

    def act(
        self, xp: Xp, parameters: Any, memory: Memory, observation: Array
    ) -> tuple[Array, Memory]:
        """See Program."""
        values = {**parameters, self.observation: observation}
        for r in self.recalled:
            values[r.read] = xp.moveaxis(memory[r.read], 0, r.axis)
        for node in self.nodes:
            given = [values[name] if name else None for name in node.inputs]
            made = OPERATIONS[node.op](xp, dict(node.attributes), *given)
            outputs = made if isinstance(made, tuple) else (made,)
            values |= {n: v for n, v in zip(node.outputs, outputs, strict=False) if n}
        kept = {r.read: xp.moveaxis(values[r.written], r.axis, 0) for r in self.recalled}
        return values[self.action], {**memory, **kept}


@dataclass(frozen=True, eq=False)
class Graph:
    """A network of any known operations, from somebody else's file."""

    program: GraphProgram
    weights: dict[str, np.ndarray]
    observation_size: int

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """The weights as the program takes them."""
        return dict(self.weights)

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights by name, as they are stored."""
        return dict(self.weights)

    def layout(self) -> dict[str, Any]:
        """What is done with the weights, as it is stored."""
        p = self.program
        return {
            "observation_size": self.observation_size,
            "observation": p.observation,
            "action": p.action,
            "recalled": [[r.read, r.written, list(r.shape), r.axis] for r in p.recalled],
            "nodes": [
                [n.op, list(n.inputs), list(n.outputs), {k: _listed(v) for k, v in n.attributes}]
                for n in p.nodes
            ],
        }

    @classmethod
    def of(cls, described: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> "Graph":
        """The network of a stored layout and arrays; KeyError where something is missing."""
        nodes = tuple(
            Node(
                op,
                tuple(inputs),
                tuple(outputs),
                tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in attributes.items()),
            )
            for op, inputs, outputs, attributes in described["nodes"]
        )
        for node in nodes:
            lookup(OPERATIONS, node.op, kind="operation", where="network")
        recalled = tuple(Recalled(a, b, tuple(s), int(x)) for a, b, s, x in described["recalled"])
        program = GraphProgram(nodes, described["observation"], described["action"], recalled)
        return cls(program, dict(arrays), int(described["observation_size"]))


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


Operation = Callable[..., Any]
OPERATIONS: dict[str, Operation] = {}


def _operation(name: str) -> Callable[[Operation], Operation]:
    def add(function: Operation) -> Operation:
        OPERATIONS[name] = function
        return function

    return add


for _name, _simple in {
    "Add": lambda xp, a, x, y: x + y,
    "Sub": lambda xp, a, x, y: x - y,
    "Mul": lambda xp, a, x, y: x * y,
    "Div": lambda xp, a, x, y: x / y,
    "Pow": lambda xp, a, x, y: x**y,
    "Sqrt": lambda xp, a, x: xp.sqrt(x),
    "Exp": lambda xp, a, x: xp.exp(x),
    "Log": lambda xp, a, x: xp.log(x),
    "Neg": lambda xp, a, x: -x,
    "Abs": lambda xp, a, x: xp.abs(x),
    "Reciprocal": lambda xp, a, x: 1.0 / x,
    "Identity": lambda xp, a, x: x,
    "Dropout": lambda xp, a, x, *rest: x,
    "Tanh": lambda xp, a, x: xp.tanh(x),
    "Relu": lambda xp, a, x: xp.maximum(x, 0.0),
    "Sigmoid": lambda xp, a, x: sigmoid(xp, x),
    "Elu": lambda xp, a, x: elu(xp, x, a.get("alpha", 1.0)),
    "LeakyRelu": lambda xp, a, x: xp.where(x > 0, x, a.get("alpha", 0.01) * x),
    "Softplus": lambda xp, a, x: xp.logaddexp(x, 0.0 * x),
    "Softsign": lambda xp, a, x: x / (1.0 + xp.abs(x)),
    "Swish": lambda xp, a, x: swish(xp, x),
    "Mish": lambda xp, a, x: x * xp.tanh(xp.logaddexp(x, 0.0 * x)),
    "MatMul": lambda xp, a, x, y: x @ y,
    "Concat": lambda xp, a, *x: xp.concatenate(x, axis=a["axis"]),
    "Transpose": lambda xp, a, x: xp.transpose(x, a.get("perm")),
    "Flatten": lambda xp, a, x: x.reshape(x.shape[0], -1) if a.get("axis", 1) == 1 else None,
    "Max": lambda xp, a, x, y: xp.maximum(x, y),
    "Min": lambda xp, a, x, y: xp.minimum(x, y),
}.items():
    OPERATIONS[_name] = _simple


@_operation("Selu")
def _selu(xp: Xp, a: dict[str, Any], x: Array) -> Array:
    gamma, alpha = a.get("gamma", 1.0507009873554805), a.get("alpha", 1.6732632423543772)
    return gamma * elu(xp, x, alpha)


@_operation("Gelu")
def _gelu(xp: Xp, a: dict[str, Any], x: Array) -> Array:
    if a.get("approximate") in ("tanh", b"tanh"):
        return 0.5 * x * (1.0 + xp.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1.0 + _erf(xp, x / np.float32(np.sqrt(2.0))))


@_operation("Erf")
def _erf_op(xp: Xp, a: dict[str, Any], x: Array) -> Array:
    return _erf(xp, x)


def _erf(xp: Xp, x: Array) -> Array:
    if xp is np:
        return np.vectorize(math.erf, otypes=[np.float32])(x)
    from jax.scipy.special import erf

    return erf(x)


@_operation("Gemm")
def _gemm(xp: Xp, a: dict[str, Any], x: Array, y: Array, c: Array | None = None) -> Array:
    x = x.T if a.get("transA") else x
    y = y.T if a.get("transB") else y
    product = a.get("alpha", 1.0) * (x @ y) if a.get("alpha", 1.0) != 1.0 else x @ y
    return product if c is None else product + a.get("beta", 1.0) * c


@_operation("Clip")
def _clip(
    xp: Xp, a: dict[str, Any], x: Array, low: Array | None = None, high: Array | None = None
) -> Array:
    return xp.clip(x, a.get("min") if low is None else low, a.get("max") if high is None else high)


@_operation("Cast")
def _cast(xp: Xp, a: dict[str, Any], x: Array) -> Array:
    return x.astype(np.float32)


@_operation("Split")
def _split(xp: Xp, a: dict[str, Any], x: Array) -> tuple[Array, ...]:
    sizes = a.get("split")
    cuts = np.cumsum(sizes)[:-1].tolist() if sizes else a["num_outputs"]
    return tuple(xp.split(x, cuts, axis=a.get("axis", 0)))


@_operation("Slice")
def _slice(xp: Xp, a: dict[str, Any], x: Array) -> Array:
    cut = [slice(None)] * x.ndim
    for axis, start, end, step in zip(a["axes"], a["starts"], a["ends"], a["steps"], strict=True):
        cut[axis] = slice(start, end if abs(end) < 2**31 else None, step)
    return x[tuple(cut)]


@_operation("Gather")
def _gather(xp: Xp, a: dict[str, Any], x: Array) -> Array:
    index = a["indices"]
    return xp.take(x, np.asarray(index) if isinstance(index, tuple) else index, axis=a["axis"])


@_operation("Squeeze")
def _squeeze(xp: Xp, a: dict[str, Any], x: Array) -> Array:
    return xp.squeeze(x, axis=tuple(a["axes"]))


@_operation("Unsqueeze")
def _unsqueeze(xp: Xp, a: dict[str, Any], x: Array) -> Array:
    return xp.expand_dims(x, tuple(a["axes"]))


@_operation("Reshape")
def _reshape(xp: Xp, a: dict[str, Any], x: Array) -> Array:
    return x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(a["shape"])])


@_operation("ReduceMean")
def _reduce_mean(xp: Xp, a: dict[str, Any], x: Array) -> Array:
    return xp.mean(x, axis=tuple(a["axes"]), keepdims=bool(a.get("keepdims", 1)))


@_operation("LayerNormalization")
def _layer_norm(
    xp: Xp, a: dict[str, Any], x: Array, scale: Array, bias: Array | None = None
) -> Array:
    axis = a.get("axis", -1)
    centred = x - xp.mean(x, axis=axis, keepdims=True)
    spread = xp.sqrt(xp.mean(centred**2, axis=axis, keepdims=True) + a.get("epsilon", 1e-5))
    return centred / spread * scale + (0.0 if bias is None else bias)


@_operation("LSTM")
def _lstm(
    xp: Xp,
    a: dict[str, Any],
    x: Array,
    w: Array,
    r: Array,
    b: Array,
    lengths: None,
    h: Array,
    c: Array,
) -> tuple[Array, Array, Array]:
    """ONNX's LSTM, forward: x [time, N, in], w [1, 4 h, in] in the order i, o, f, c."""
    size, (h, c), outputs = r.shape[-1], (h[0], c[0]), []
    bias = b[0, : 4 * size] + b[0, 4 * size :]
    for k in range(x.shape[0]):
        i, o, f, g = xp.split(x[k] @ w[0].T + h @ r[0].T + bias, 4, axis=-1)
        c = sigmoid(xp, f) * c + sigmoid(xp, i) * xp.tanh(g)
        h = sigmoid(xp, o) * xp.tanh(c)
        outputs.append(h)
    return xp.stack(outputs)[:, None], h[None], c[None]


@_operation("GRU")
def _gru(
    xp: Xp, a: dict[str, Any], x: Array, w: Array, r: Array, b: Array, lengths: None, h: Array
) -> tuple[Array, Array]:
    """ONNX's GRU, forward: x [time, N, in], w [1, 3 h, in] in the order z, r, h."""
    size, h, outputs = r.shape[-1], h[0], []
    wb, rb = b[0, : 3 * size], b[0, 3 * size :]
    for k in range(x.shape[0]):
        zx, rx, nx = xp.split(x[k] @ w[0].T + wb, 3, axis=-1)
        zh, rh, nh = xp.split(h @ r[0].T + rb, 3, axis=-1)
        if a.get("linear_before_reset", 0):
            reset = sigmoid(xp, rx + rh) * nh
        else:
            reset = (sigmoid(xp, rx + rh) * h) @ r[0, 2 * size :].T + rb[2 * size :]
        z = sigmoid(xp, zx + zh)
        h = (1.0 - z) * xp.tanh(nx + reset) + z * h
        outputs.append(h)
    return xp.stack(outputs)[:, None], h[None]
