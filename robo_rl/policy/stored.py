"""A policy as it is stored and run: a contract in JSON, weights in .npz, NumPy to evaluate it.

One format for every trainer and every source; loading executes nothing, and a network of arrays
needs neither JAX nor torch.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from robo_rl import content, files
from robo_rl.content import read_json
from robo_rl.errors import UserError
from robo_rl.policy.external import External
from robo_rl.policy.networks import Graph, Memory, Network, Program, begin
from robo_rl.policy.wiring import Clock, Layout, Mount, WiredProgram, Wiring

FORMAT = "robo_rl.policy/2"
WEIGHTS_ONLY = "robo_rl.policy/1"  # its digest covers the arrays and not what is done with them
NEEDED = ("env", "network", "weights", "weights_sha256")
AnyNetwork: TypeAlias = Network | Graph | External


class Wired(NamedTuple):
    """What lies between a robot and a network that was not made for it."""

    layout: Layout
    wiring: Wiring

    def arrays(self) -> dict[str, np.ndarray]:
        """The wiring by name, as it is stored."""
        return {f"wiring/{name}": np.asarray(a) for name, a in self.wiring._asdict().items()}

    def said(self) -> dict[str, Any]:
        """The layout, as it is stored."""
        found = self.layout
        return {
            "frame": [list(entry) for entry in found.frame],
            "control_s": found.control_s,
            "outputs": found.outputs,
            "history": found.history,
            "history_starts": found.history_starts,
            "mounts": [
                [m.name, list(m.position_b_m), [list(row) for row in m.rotation]]
                for m in found.mounts
            ],
            "gravity_sensors": list(found.gravity_sensors),
            "clocks": [list(clock) for clock in found.clocks],
        }

    @classmethod
    def of(cls, said: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> "Wired":
        """The stored layout and wiring; KeyError where something is missing."""
        layout = Layout(
            frame=tuple((str(name), int(size)) for name, size in said["frame"]),
            control_s=float(said["control_s"]),
            outputs=int(said["outputs"]),
            history=int(said["history"]),
            history_starts=str(said["history_starts"]),
            mounts=tuple(
                Mount(name, tuple(at), tuple(tuple(row) for row in turn))
                for name, at, turn in said["mounts"]
            ),
            gravity_sensors=tuple(said["gravity_sensors"]),
            clocks=tuple(Clock(*clock) for clock in said["clocks"]),
        )
        return cls(layout, Wiring(*(arrays[f"wiring/{name}"] for name in Wiring._fields)))


@dataclass(frozen=True)
class Policy:
    """A deterministic policy: observations, and what it remembers, to actions in [-1, 1]."""

    network: AnyNetwork
    contract: dict[str, Any]
    wired: Wired | None = None

    @property
    def program(self) -> Program:
        """What is done, hashable; see networks.Program."""
        if self.wired is None:
            return self.network.program
        wiring = self.wired.wiring
        entries, commands = len(wiring.feature), len(wiring.output)
        return WiredProgram(self.wired.layout, self.network.program, entries, commands)

    @property
    def parameters(self) -> Any:
        """With which numbers it is done."""
        if self.wired is None:
            return self.network.parameters
        return {"wiring": self.wired.wiring, "network": self.network.parameters}

    @property
    def observation_size(self) -> int:
        """Numbers it takes of the robot."""
        if self.wired is None:
            return self.network.observation_size
        return sum(size for _, size in self.wired.layout.frame)

    @property
    def remembers(self) -> bool:
        """Whether an action depends on more than the observation."""
        return bool(self.program.memory)

    def begin(self, *robots: int) -> Memory:
        """What it remembers at the start of an episode: of one robot, or of a batch [*robots].

        >>> robo_rl.load_policy("runs/pole").begin(16)  # a network without a memory
        {}
        """
        return begin(np, self.program, robots)

    def act(self, observation: np.ndarray, memory: Memory) -> tuple[np.ndarray, Memory]:
        """Actions [..., nu] in [-1, 1], float32, and the next memory, for observations [..., n].

        memory: of begin() with the same leading axes, or of the last call.
        Raises UserError where the observation has the wrong size.

        >>> policy = robo_rl.load_policy("runs/pole")
        >>> action, memory = policy.act([0.0, 0.0, 0.0, 0.0], policy.begin())
        """
        seen = np.asarray(observation, np.float32)
        if seen.shape[-1:] != (self.observation_size,):
            raise UserError(
                f"policy for {self.contract.get('env')}: observations of size"
                f" {self.observation_size} expected, shape {seen.shape} given."
            )
        program, lead = self.program, seen.shape[:-1]
        rows = seen.reshape(-1, seen.shape[-1])
        kept = {
            name: np.asarray(memory[name]).reshape((len(rows), *shape))
            for name, shape in program.memory
        }
        action, kept = program.act(np, self.parameters, kept, rows)
        return (
            np.asarray(action, np.float32).reshape(*lead, -1),
            {name: kept[name].reshape((*lead, *shape)) for name, shape in program.memory},
        )

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """Actions [..., nu] in [-1, 1] for observations [..., n], one or a batch, float32.

        Raises UserError where the observation has the wrong size, and where the policy remembers:
        use begin() and act() there.
        """
        if self.remembers:
            raise UserError(
                f"policy for {self.contract.get('env')}: it remembers its last steps: call"
                " action, memory = policy.act(observation, memory), from policy.begin() on."
            )
        return self.act(observation, {})[0]

    @property
    def digest(self) -> str:
        """SHA-256 of the network and its wiring, as its contract names it."""
        if self.contract.get("format") == WEIGHTS_ONLY:
            return arrays_digest(self.network)
        return network_digest(self.network, self.wired)


def arrays_digest(network: AnyNetwork) -> str:
    """SHA-256 over the weight arrays in the order of their names."""
    arrays = network.arrays()
    return files.digest(
        b"".join(np.ascontiguousarray(arrays[name]).tobytes() for name in sorted(arrays))
    )


def network_digest(network: AnyNetwork, wired: Wired | None = None) -> str:
    """SHA-256 over what is done with the weights, and their names, types, shapes and values."""
    if wired is None:
        return files.digest_of(network.layout(), network.arrays())
    return files.digest_of(
        {**network.layout(), "wiring": wired.said()}, {**network.arrays(), **wired.arrays()}
    )


def save_policy(
    folder: Path, network: AnyNetwork, contract: Mapping[str, Any], wired: Wired | None = None
) -> None:
    """Writes weights.npz, then the contract that names their digest.

    Each replaces the old one whole. folder: RUN/policy for a run folder. A network that is run as
    it was given has its file copied.

    >>> policy = robo_rl.load_policy("runs/pole")
    >>> robo_rl.save_policy(Path("runs/copy/policy"), policy.network, policy.contract)
    >>> robo_rl.load_policy("runs/copy").digest == policy.digest
    True
    """
    digest = network_digest(network, wired)
    stored = f"weights-{digest[:12]}.npz"
    arrays = {**network.arrays(), **(wired.arrays() if wired else {})}
    files.write_arrays(folder / stored, arrays)
    if isinstance(network, External) and network.program.kind != "python":
        target = folder / Path(network.program.source).name
        if target.resolve() != Path(network.program.source).resolve():
            shutil.copy2(network.program.source, target)
    own = {"network": network.layout(), "weights": stored, "weights_sha256": digest}
    if wired:
        own["wiring"] = wired.said()
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
        own = {n: a for n, a in arrays.items() if not n.startswith("wiring/")}
        wired = Wired.of(contract["wiring"], arrays) if "wiring" in contract else None
        policy = Policy(_network(needed["network"], own, folder), contract, wired)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(
            f"{path}: not a complete policy contract (missing or wrong: {error})."
        ) from error
    if policy.digest != needed["weights_sha256"]:
        raise UserError(
            f"{folder}: the weights and the network do not match the digest in policy.json;"
            " one of the two files is damaged, or was changed."
        )
    content.open_run(folder.parent)
    return policy


def _network(described: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path) -> AnyNetwork:
    if "nodes" in described:
        return Graph.of(described, arrays)
    if "runs" in described:
        return External.of(described, folder)
    return Network.of(described, arrays)
