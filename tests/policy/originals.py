"""Policies of a hopper as other people's tools write them, each beside the original it must equal.

A maker writes a file into a folder and returns its path and the original: a function that begins
an episode and gives a function from observations [N, 11] to actions [N, 3] of one control step.
"""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

SIZE, OUTPUTS, WIDTH = 11, 3, 8
Act = Callable[[np.ndarray], np.ndarray]
Original = Callable[[], Act]
Made = tuple[str, Original]


def mlp(
    activation: type = torch.nn.ELU, first: int = SIZE, bias: bool = True
) -> torch.nn.Sequential:
    """A small network with weights large enough that its actions move."""
    torch.manual_seed(3)
    made = torch.nn.Sequential(
        torch.nn.Linear(first, WIDTH, bias), activation(), torch.nn.Linear(WIDTH, OUTPUTS)
    )
    with torch.no_grad():
        made[2].weight *= 2.0
    return made


def by_torch(module: Callable[[torch.Tensor], torch.Tensor]) -> Original:
    """The original of a module without a memory."""

    def act(seen: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(np.array(seen, np.float32))).numpy()

    return lambda: act


def remembering(layer: torch.nn.RNNBase, head: torch.nn.Module) -> Original:
    """The original of a recurrent layer in front of a head, its states starting at zero."""

    def begin() -> Act:
        state: Any = None

        def act(seen: np.ndarray) -> np.ndarray:
            nonlocal state
            with torch.inference_mode():
                row = torch.from_numpy(np.array(seen, np.float32))
                out, state = layer(row[None], state)
                return head(out[0]).numpy()

        return act

    return begin


class _Spaces(gymnasium.Env):
    """Nothing but the spaces of a hopper: an SB3 model needs no more to be made and saved."""

    def __init__(self, bound: float = 1.0):
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (SIZE,), np.float64)
        self.action_space = gymnasium.spaces.Box(-bound, bound, (OUTPUTS,), np.float32)

    def reset(self, **_: Any):
        return np.zeros(SIZE), {}

    def step(self, action: np.ndarray):
        return np.zeros(SIZE), 0.0, False, False, {}


def sb3(kind: str, activation: str | None = None, bound: float = 1.0) -> Callable[[Path], Made]:
    """A model of Stable-Baselines3, saved by itself."""

    def make(folder: Path) -> Made:
        import stable_baselines3

        said: dict[str, Any] = {"net_arch": [WIDTH, WIDTH]}
        if activation:
            said["activation_fn"] = getattr(torch.nn, activation)
        sizes: dict[str, Any] = (
            {"n_steps": 8, "batch_size": 8} if kind in ("PPO",) else {"buffer_size": 10}
        )
        if kind == "A2C":
            sizes = {}
        model = getattr(stable_baselines3, kind)(
            "MlpPolicy", _Spaces(bound), policy_kwargs=said, seed=1, device="cpu", **sizes
        )
        if kind in ("PPO", "A2C"):
            with torch.no_grad():
                model.policy.action_net.weight *= 100.0  # it starts near zero
        model.save(folder / "model.zip")

        def act(seen: np.ndarray) -> np.ndarray:
            return model.predict(np.asarray(seen, np.float32), deterministic=True)[0]

        return str(folder / "model.zip"), lambda: act

    return make


def rsl_rl(
    memory: str = "", normaliser: str = "", shape: str = "old", bias: bool = True
) -> Callable[[Path], Made]:
    """A checkpoint as rsl_rl's runner saves it, of the names before and after its version 5."""

    def make(folder: Path) -> Made:
        actor = mlp(first=6 if memory else SIZE, bias=bias)
        torch.manual_seed(5)
        layer = getattr(torch.nn, memory)(SIZE, 6) if memory else None
        mean, deviation = torch.linspace(-0.5, 0.5, SIZE)[None], torch.linspace(0.5, 2, SIZE)[None]
        prefix = "actor" if shape == "old" else "mlp"
        state = {f"{prefix}.{name}": value for name, value in actor.state_dict().items()}
        state |= {"std": torch.ones(OUTPUTS), "critic.0.weight": torch.zeros(4, SIZE)}
        if layer is not None:
            rnn = "memory_a.rnn" if shape == "old" else "rnn.rnn"
            state |= {f"{rnn}.{name}": value for name, value in layer.state_dict().items()}
            state |= {"memory_c.rnn.weight_ih_l0": torch.zeros(8, SIZE)}
        kept = {"_mean": mean, "_var": deviation**2, "_std": deviation, "count": torch.tensor(9)}
        whole: dict[str, Any] = {"iter": 7, "infos": None, "optimizer_state_dict": {"state": {}}}
        if normaliser == "beside":
            whole["obs_norm_state_dict"] = kept
        elif normaliser:
            state |= {f"{normaliser}.{name}": value for name, value in kept.items()}
        whole["model_state_dict" if shape == "old" else "actor_state_dict"] = state
        path = folder / "model_100.pt"
        torch.save(whole, path)

        def normal(row: torch.Tensor) -> torch.Tensor:
            return (row - mean) / (deviation + 1e-2) if normaliser else row

        if layer is None:
            return str(path), by_torch(lambda row: actor(normal(row)))
        inner = remembering(layer, actor)

        def begin() -> Act:
            act = inner()
            return lambda seen: act(normal(torch.from_numpy(np.array(seen, np.float32))).numpy())

        return str(path), begin

    return make


class Exporter(torch.nn.Module):
    """An LSTM with its state in buffers, as legged_gym exports one."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.memory = torch.nn.LSTM(SIZE, 6)
        self.actor = mlp(first=6)
        self.register_buffer("hidden_state", torch.zeros(1, 1, 6))
        self.register_buffer("cell_state", torch.zeros(1, 1, 6))

    def forward(self, x):
        out, (h, c) = self.memory(x.unsqueeze(0), (self.hidden_state, self.cell_state))
        self.hidden_state[:] = h
        self.cell_state[:] = c
        return self.actor(out.squeeze(0))

    @torch.jit.export
    def reset_memory(self):
        self.hidden_state[:] = 0.0
        self.cell_state[:] = 0.0


class Gated(torch.nn.Module):
    """Layers that are known, put together as nobody would guess: only torch can run it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(6)
        self.first = torch.nn.Linear(SIZE, WIDTH)
        self.gate = torch.nn.Linear(SIZE, WIDTH)
        self.last = torch.nn.Linear(WIDTH, OUTPUTS)

    def forward(self, x):
        return torch.tanh(self.last(torch.tanh(self.first(x)) * torch.sigmoid(self.gate(x))))


class Leaky(torch.nn.Module):
    """An integrator of its own making: a memory in a buffer that only torch can run."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(7)
        self.first = torch.nn.Linear(SIZE, WIDTH)
        self.last = torch.nn.Linear(WIDTH, OUTPUTS)
        self.register_buffer("trace", torch.zeros(1, WIDTH))

    def forward(self, x):
        self.trace[:] = 0.8 * self.trace + torch.tanh(self.first(x))
        return torch.tanh(self.last(self.trace))


def scripted(folder: Path) -> Made:
    """TorchScript of known layers, by scripting."""
    module = mlp()
    torch.jit.script(module).save(str(folder / "policy.pt"))
    return str(folder / "policy.pt"), by_torch(module)


def traced(folder: Path) -> Made:
    """TorchScript of known layers, by tracing."""
    module = mlp(torch.nn.SiLU)
    torch.jit.trace(module, torch.zeros(1, SIZE)).save(str(folder / "policy.pt"))
    return str(folder / "policy.pt"), by_torch(module)


def exported_lstm(folder: Path) -> Made:
    """TorchScript with the state of an LSTM in its buffers."""
    module = Exporter()
    torch.jit.script(module).save(str(folder / "policy_lstm_1.pt"))
    return str(folder / "policy_lstm_1.pt"), remembering(module.memory, module.actor)


def unknown(folder: Path) -> Made:
    """TorchScript that is not a row of layers."""
    module = Gated()
    torch.jit.script(module).save(str(folder / "policy.pt"))
    return str(folder / "policy.pt"), by_torch(module)


def unknown_with_memory(folder: Path) -> Made:
    """TorchScript that is not a row of layers and remembers."""
    module = Leaky()
    torch.jit.script(module).save(str(folder / "policy.pt"))
    first, last = module.first, module.last

    def begin() -> Act:
        trace = np.zeros(WIDTH)

        def act(seen: np.ndarray) -> np.ndarray:
            nonlocal trace
            with torch.inference_mode():
                row = torch.from_numpy(np.array(seen, np.float32))
                trace = 0.8 * trace + torch.tanh(first(row)).numpy()
                return torch.tanh(last(torch.from_numpy(np.float32(trace)))).numpy()

        return act

    return str(folder / "policy.pt"), begin


def torch_export(batch: bool) -> Callable[[Path], Made]:
    """A program of torch.export, for any number of robots or for one."""

    def make(folder: Path) -> Made:
        module = mlp(torch.nn.Tanh)
        sizes = ({0: torch.export.Dim("robots")},) if batch else None
        seen = torch.zeros(2 if batch else 1, SIZE)
        program = torch.export.export(module, (seen,), dynamic_shapes=sizes)
        torch.export.save(program, folder / "policy.pt2")
        return str(folder / "policy.pt2"), by_torch(module)

    return make


def onnx_file(
    folder: Path,
    nodes: list[Any],
    weights: dict[str, np.ndarray],
    states: dict[str, tuple[str, list[Any]]] | None = None,
    rows: Any = "robots",
    beside: bool = False,
    metadata: dict[str, str] | None = None,
    opset: int = 17,
) -> Path:
    """A graph from `obs` to `actions`; states: read -> (written, shape)."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    real, states = TensorProto.FLOAT, states or {}
    graph = helper.make_graph(
        nodes,
        "policy",
        [
            helper.make_tensor_value_info("obs", real, [rows, SIZE]),
            *(helper.make_tensor_value_info(n, real, s) for n, (_, s) in states.items()),
        ],
        [
            helper.make_tensor_value_info("actions", real, [rows, OUTPUTS]),
            *(helper.make_tensor_value_info(w, real, s) for w, s in states.values()),
        ],
        [numpy_helper.from_array(np.asarray(w), n) for n, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    path = folder / "policy.onnx"
    onnx.save(
        model,
        path,
        save_as_external_data=beside,
        location="policy.onnx.data" if beside else None,
        size_threshold=0,
    )
    return path


def weights_of(module: torch.nn.Sequential) -> dict[str, np.ndarray]:
    """W0, B0, W2, B2 of a network."""
    return {
        f"{kind}{k}": getattr(module[k], name).detach().numpy()
        for k in (0, 2)
        for kind, name in (("W", "weight"), ("B", "bias"))
    }


def onnx_mlp(
    activation: str = "Elu", rows: Any = "robots", beside: bool = False
) -> Callable[[Path], Made]:
    """Gemm, an activation, Gemm."""

    def make(folder: Path) -> Made:
        from onnx import helper

        kinds = {"Elu": torch.nn.ELU, "Relu": torch.nn.ReLU, "Tanh": torch.nn.Tanh}
        module = mlp(kinds.get(activation, torch.nn.SiLU))
        middle = (
            [helper.make_node(activation, ["h"], ["a"])]
            if activation in kinds
            else [
                helper.make_node("Sigmoid", ["h"], ["s"]),
                helper.make_node("Mul", ["h", "s"], ["a"]),
            ]
        )
        nodes = [
            helper.make_node("Gemm", ["obs", "W0", "B0"], ["h"], transB=1),
            *middle,
            helper.make_node("Gemm", ["a", "W2", "B2"], ["actions"], transB=1),
        ]
        path = onnx_file(folder, nodes, weights_of(module), rows=rows, beside=beside)
        return str(path), by_torch(module)

    return make


def onnx_split(folder: Path) -> Made:
    """MatMul and Add, a layer norm, and the mean split from the deviation: a stochastic actor."""
    from onnx import helper

    module, norm = mlp(torch.nn.Tanh), torch.nn.LayerNorm(WIDTH)
    with torch.no_grad():
        norm.weight *= torch.linspace(0.5, 2, WIDTH)
    wide = torch.cat([module[2].weight.detach(), torch.ones(OUTPUTS, WIDTH)]).numpy()
    weights = weights_of(module) | {
        "W0": module[0].weight.detach().numpy().T,
        "W2": wide.T,
        "B2": np.concatenate([module[2].bias.detach().numpy(), np.ones(OUTPUTS, np.float32)]),
        "G": norm.weight.detach().numpy(),
        "N": norm.bias.detach().numpy(),
        "sizes": np.asarray([OUTPUTS, OUTPUTS], np.int64),
    }
    nodes = [
        helper.make_node("MatMul", ["obs", "W0"], ["m"]),
        helper.make_node("Add", ["m", "B0"], ["h"]),
        helper.make_node("LayerNormalization", ["h", "G", "N"], ["n"], axis=-1),
        helper.make_node("Tanh", ["n"], ["a"]),
        helper.make_node("MatMul", ["a", "W2"], ["o"]),
        helper.make_node("Add", ["o", "B2"], ["both"]),
        helper.make_node("Split", ["both", "sizes"], ["mean", "deviation"], axis=-1),
        helper.make_node("Tanh", ["mean"], ["actions"]),
    ]
    path = onnx_file(folder, nodes, weights)
    return str(path), by_torch(lambda x: torch.tanh(module[2](torch.tanh(norm(module[0](x))))))


def onnx_memory(kind: str, rows: Any = 1) -> Callable[[Path], Made]:
    """A recurrent layer whose states are inputs and outputs, as rsl_rl exports one."""

    def make(folder: Path) -> Made:
        from onnx import helper

        torch.manual_seed(5)
        layer = getattr(torch.nn, kind)(SIZE, 6)
        head = mlp(first=6)
        order = (0, 3, 1, 2) if kind == "LSTM" else (1, 0, 2)  # torch: i f g o, r z n
        parts = {
            name: np.concatenate([np.split(value.numpy(), len(order))[k] for k in order])
            for name, value in layer.state_dict().items()
        }
        bias = np.concatenate([parts["bias_ih_l0"], parts["bias_hh_l0"]])
        weights = weights_of(head) | {
            "W": parts["weight_ih_l0"][None],
            "R": parts["weight_hh_l0"][None],
            "B": bias[None],
            "zero": np.asarray([0], np.int64),
            "one": np.asarray([1], np.int64),
        }
        states = {"h_in": ("h_out", [1, rows, 6])}
        if kind == "LSTM":
            states["c_in"] = ("c_out", [1, rows, 6])
        extra = {} if kind == "LSTM" else {"linear_before_reset": 1}
        nodes = [
            helper.make_node("Unsqueeze", ["obs", "zero"], ["x"]),
            helper.make_node(
                kind,
                ["x", "W", "R", "B", "", *states],
                ["y", *(written for written, _ in states.values())],
                hidden_size=6,
                **extra,
            ),
            helper.make_node("Squeeze", ["y", "one"], ["y1"]),
            helper.make_node("Squeeze", ["y1", "zero"], ["y0"]),
            helper.make_node("Gemm", ["y0", "W0", "B0"], ["h"], transB=1),
            helper.make_node("Elu", ["h"], ["a"]),
            helper.make_node("Gemm", ["a", "W2", "B2"], ["actions"], transB=1),
        ]
        path = onnx_file(folder, nodes, weights, states, rows=rows)
        return str(path), remembering(layer, head)

    return make


def onnx_unknown(folder: Path, beside: bool = False) -> Made:
    """An operation that is not ours: onnxruntime runs it."""
    from onnx import helper

    module = mlp(torch.nn.Hardsigmoid)
    nodes = [
        helper.make_node("Gemm", ["obs", "W0", "B0"], ["h"], transB=1),
        helper.make_node("HardSigmoid", ["h"], ["a"], alpha=1.0 / 6.0, beta=0.5),
        helper.make_node("Gemm", ["a", "W2", "B2"], ["actions"], transB=1),
    ]
    return str(onnx_file(folder, nodes, weights_of(module), beside=beside)), by_torch(module)


def brax(arrays: str = "jax") -> Callable[[Path], Made]:
    """Parameters of Brax's PPO, pickled by Brax itself."""

    def make(folder: Path) -> Made:
        import jax
        import jax.numpy as jnp
        from brax.io import model
        from brax.training.acme import running_statistics, specs
        from brax.training.agents.ppo import networks

        made = networks.make_ppo_networks(
            SIZE, OUTPUTS, running_statistics.normalize, policy_hidden_layer_sizes=(WIDTH,)
        )
        weights = made.policy_network.init(jax.random.key(1))
        state = running_statistics.init_state(specs.Array((SIZE,), jnp.dtype("float32")))
        state = running_statistics.update(state, jax.random.normal(jax.random.key(2), (50, SIZE)))
        parameters = (state, weights, made.value_network.init(jax.random.key(3)))
        if arrays == "numpy":
            parameters = jax.tree.map(np.asarray, parameters)
        path = folder / "params"
        if arrays == "numpy":
            path.write_bytes(pickle.dumps(parameters))
        else:
            model.save_params(str(path), parameters)
        policy = networks.make_inference_fn(made)(parameters[:2], deterministic=True)
        return (
            str(path),
            lambda: (
                lambda seen: np.asarray(
                    policy(jnp.asarray(seen, jnp.float32), jax.random.key(0))[0]
                )
            ),
        )

    return make


CODE = """
import numpy as np

GAIN = np.linspace(-1, 1, 33).reshape(11, 3)


def one(observation):
    assert observation.shape == (11,)
    return np.tanh(observation @ GAIN)


def batch(observations):
    return np.tanh(observations.reshape(-1, 11) @ GAIN)


def remembers(observation, state):
    assert observation.shape == (11,)
    state = 0.5 * state + np.tanh(observation @ GAIN)
    return 0.5 * state, state


remembers.state_shape = (3,)
"""


def function(name: str) -> Callable[[Path], Made]:
    """A Python function in a module of the folder."""

    def make(folder: Path) -> Made:
        (folder / "controller.py").write_text(CODE)
        gain = np.linspace(-1, 1, 33).reshape(SIZE, OUTPUTS)

        def begin() -> Act:
            state = np.zeros(OUTPUTS)

            def act(seen: np.ndarray) -> np.ndarray:
                nonlocal state
                now = np.tanh(np.float32(seen) @ gain)
                if name != "remembers":
                    return now
                state = 0.5 * state + now
                return 0.5 * state

            return act

        return f"controller:{name}", begin

    return make


FILES: dict[str, Callable[[Path], Made]] = {
    "sb3 PPO": sb3("PPO"),
    "sb3 PPO, ELU, actions within 0.5": sb3("PPO", "ELU", 0.5),
    "sb3 A2C": sb3("A2C"),
    "sb3 SAC": sb3("SAC"),
    "sb3 SAC, actions within 0.5": sb3("SAC", None, 0.5),
    "sb3 TD3": sb3("TD3"),
    "rsl_rl": rsl_rl(),
    "rsl_rl without a bias": rsl_rl(bias=False),
    "rsl_rl, normaliser beside": rsl_rl(normaliser="beside"),
    "rsl_rl, normaliser within": rsl_rl(normaliser="actor_obs_normalizer"),
    "rsl_rl LSTM": rsl_rl("LSTM"),
    "rsl_rl GRU, normaliser": rsl_rl("GRU", "actor_obs_normalizer"),
    "rsl_rl 5": rsl_rl(normaliser="obs_normalizer", shape="new"),
    "rsl_rl 5 LSTM": rsl_rl("LSTM", "obs_normalizer", shape="new"),
    "TorchScript scripted": scripted,
    "TorchScript traced": traced,
    "TorchScript LSTM in buffers": exported_lstm,
    "TorchScript unknown": unknown,
    "TorchScript unknown with memory": unknown_with_memory,
    "torch.export": torch_export(batch=True),
    "torch.export for one": torch_export(batch=False),
    "ONNX Elu": onnx_mlp("Elu"),
    "ONNX Relu": onnx_mlp("Relu"),
    "ONNX Tanh": onnx_mlp("Tanh"),
    "ONNX SiLU, for one": onnx_mlp("SiLU", rows=1),
    "ONNX weights beside": onnx_mlp("Elu", beside=True),
    "ONNX split and layer norm": onnx_split,
    "ONNX LSTM": onnx_memory("LSTM"),
    "ONNX GRU": onnx_memory("GRU", rows="robots"),
    "ONNX unknown": onnx_unknown,
    "Brax": brax(),
    "Brax, NumPy": brax("numpy"),
    "function of one": function("one"),
    "function of a batch": function("batch"),
    "function with a state": function("remembers"),
}
REMEMBERING = [name for name in FILES if any(w in name for w in ("LSTM", "GRU", "memory", "state"))]
CODE_NAMES = [name for name in FILES if name.startswith("function")]
