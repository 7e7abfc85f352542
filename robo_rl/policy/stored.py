"""A policy as it is stored and run: a contract in JSON, weights in .npz, NumPy to evaluate it.

One format for every trainer; loading executes nothing, and needs neither JAX nor torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robo_rl import files
from robo_rl.content import read_json
from robo_rl.errors import UserError

FORMAT = "robo_rl.policy/2"
WEIGHTS_ONLY = "robo_rl.policy/1"  # its digest covers the arrays and not what is done with them
NEEDED = ("env", "network", "weights", "weights_sha256")
ACTIVATIONS = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0.0),
    "swish": lambda x: x / (1.0 + np.exp(-np.clip(x, -60.0, None))),
}
HEADS = {"tanh": np.tanh, "clip": lambda x: np.clip(x, -1.0, 1.0)}


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


@dataclass(frozen=True)
class Policy:
    """A deterministic policy: observations to actions in [-1, 1]."""

    network: Network
    contract: dict[str, Any]

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """Actions [..., nu] in [-1, 1] for observations [..., n], one or a batch, float32.

        Raises UserError where the observation has the wrong size.
        """
        seen = np.asarray(observation, np.float32)
        wanted = self.network.mean.size
        if seen.shape[-1:] != (wanted,):
            raise UserError(
                f"policy for {self.contract['env']}: observations of size {wanted} expected, "
                f"shape {seen.shape} given."
            )
        net = self.network
        hidden = np.clip((seen - net.mean) / net.std, -net.clip, net.clip)
        for weight, bias in zip(net.weights[:-1], net.biases[:-1], strict=True):
            hidden = ACTIVATIONS[net.activation](hidden @ weight + bias)
        return HEADS[net.head](hidden @ net.weights[-1] + net.biases[-1]).astype(np.float32)

    @property
    def digest(self) -> str:
        """SHA-256 of the network, as its contract names it."""
        if self.contract.get("format") == WEIGHTS_ONLY:
            return arrays_digest(self.network)
        return network_digest(self.network)


def arrays_digest(network: Network) -> str:
    """SHA-256 over the weight arrays in the order of their names."""
    arrays = network.arrays()
    return files.digest(
        b"".join(np.ascontiguousarray(arrays[name]).tobytes() for name in sorted(arrays))
    )


def network_digest(network: Network) -> str:
    """SHA-256 over what is done with the weights, and their names, types, shapes and values."""
    return files.digest_of(network.layout(), network.arrays())


def save_policy(folder: Path, network: Network, contract: Mapping[str, Any]) -> None:
    """Writes weights.npz, then the contract that names their digest.

    Each replaces the old one whole. folder: RUN/policy for a run folder.

    >>> policy = robo_rl.load_policy("runs/pole")
    >>> robo_rl.save_policy(Path("runs/copy/policy"), policy.network, policy.contract)
    >>> robo_rl.load_policy("runs/copy").digest == policy.digest
    True
    """
    digest = network_digest(network)
    stored = f"weights-{digest[:12]}.npz"
    files.write_arrays(folder / stored, network.arrays())
    own = {"network": network.layout(), "weights": stored, "weights_sha256": digest}
    # a contract that was loaded holds the format and digest of the policy it came from
    head = {"format": FORMAT} | dict(contract) | {"format": FORMAT} | own
    files.write_json(folder / "policy.json", head)
    for stale in folder.glob("weights-*.npz"):
        if stale.name != stored:
            stale.unlink()


def load_policy(run: str | Path) -> Policy:
    """The policy in a run folder, or in its policy folder.

    Raises UserError for a folder without one, a foreign format, or weights that are damaged.

    >>> policy = robo_rl.load_policy("runs/pole")
    >>> policy([0.0, 0.0, 0.0, 0.0]).shape  # one observation, or a batch of them
    (1,)
    """
    given = Path(run)
    folder = given / "policy" if (given / "policy").is_dir() else given
    if not (folder / "policy.json").is_file():
        raise UserError(f"{given}: no policy here (looked for {folder / 'policy.json'}).")
    path = folder / "policy.json"
    contract = read_json(path)
    if contract.get("format") not in (FORMAT, WEIGHTS_ONLY):
        raise UserError(f"{path}: format {contract.get('format')!r} found, {FORMAT!r} expected.")
    try:
        needed = {name: contract[name] for name in NEEDED}
        if not isinstance(needed["env"], str):
            raise TypeError(f"env {needed['env']!r}")
        arrays = files.read_arrays(folder / str(needed["weights"]))
        policy = Policy(_network(needed["network"], arrays), contract)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(
            f"{path}: not a complete policy contract (missing or wrong: {error})."
        ) from error
    if policy.digest != needed["weights_sha256"]:
        raise UserError(
            f"{folder}: the weights and the network do not match the digest in policy.json;"
            " one of the two files is damaged, or was changed."
        )
    return policy


def _network(described: dict[str, Any], arrays: dict[str, np.ndarray]) -> Network:
    layers = range(int(described["layers"]))
    clip = described["observation_clip"]
    if described["activation"] not in ACTIVATIONS or described["head"] not in HEADS:
        raise KeyError(f"activation {described['activation']!r} or head {described['head']!r}")
    return Network(
        mean=arrays["mean"],
        std=arrays["std"],
        clip=np.inf if clip is None else float(clip),
        weights=tuple(arrays[f"w{i}"] for i in layers),
        biases=tuple(arrays[f"b{i}"] for i in layers),
        activation=described["activation"],
        head=described["head"],
    )
