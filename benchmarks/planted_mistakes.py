"""Wiring mistakes planted in public policies' files: the trial of the import, and plain MuJoCo.

python benchmarks/planted_mistakes.py FOLDER [NAME ...]

FOLDER holds the policies and drive.py, which drives each in plain MuJoCo from the same files. A
mistake goes into the deployment file that both read; the Go1 has none, so there it goes into our
mapping, and for drive.py around the network. Equal: both fall, or neither does and the forward
velocity over the trial differs by 0.05 m/s at most.
"""

import contextlib
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import onnxruntime
import yaml
from rich.console import Console

from robo_rl import files
from robo_rl.errors import UserError
from robo_rl.importing import command
from robo_rl.importing.source import read_data
from robo_rl.policy import contract

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "planted-mistakes.json"
GYM_FILE = "deploy/deploy_mujoco/configs/g1.yaml"
CLOSE_MPS = 0.05
Change = Callable[[Any], Any]

# unitree_rl_gym: key -> factor or new value
GYM: dict[str, dict[str, Any]] = {
    "gains half": {"kps": lambda v: v * 0.5, "kds": lambda v: v * 0.5},
    "gains double": {"kps": lambda v: v * 2, "kds": lambda v: v * 2},
    "damping missing": {"kds": lambda v: v * 0},
    "gains in the order of types": {"kps": lambda v: v.reshape(2, 6).T.reshape(-1)},
    "default pose zero": {"default_angles": lambda v: v * 0},
    "default pose of one knee with the other sign": {
        "default_angles": lambda v: v * np.where(np.arange(12) == 3, -1, 1)
    },
    "scale of the gyro missing": {"ang_vel_scale": lambda v: v * 0 + 1},
    "scale of joint velocities missing": {"dof_vel_scale": lambda v: v * 0 + 1},
    "scale of joint positions doubled": {"dof_pos_scale": lambda v: v * 2},
    "scale of the actions doubled": {"action_scale": lambda v: v * 2},
    "scale of the actions half": {"action_scale": lambda v: v * 0.5},
    "scale of the command missing": {"cmd_scale": lambda v: v * 0 + 1},
    "command missing": {"cmd_init": lambda v: v * 0},
    "policy at half its rate": {"control_decimation": lambda v: v * 2},
    "policy at double its rate": {"control_decimation": lambda v: v // 2},
}

# deploy.yaml: path of keys -> new value
LEGS = [6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5]
ACTION = "actions.JointPositionAction"
LAB: dict[str, dict[str, Change]] = {
    "left and right legs exchanged": {"joint_ids_map": lambda v: [*LEGS, *v[12:]]},
    "first two joints exchanged": {"joint_ids_map": lambda v: [v[1], v[0], *v[2:]]},
    "joints in the order of types": {
        "joint_ids_map": lambda v: [*np.reshape(v[:12], (2, 6)).T.reshape(-1).tolist(), *v[12:]]
    },
    "stiffness half": {"stiffness": lambda v: _times(v, 0.5)},
    "stiffness double": {"stiffness": lambda v: _times(v, 2.0)},
    "damping half": {"damping": lambda v: _times(v, 0.5)},
    "default pose not subtracted": {"default_joint_pos": lambda v: _times(v, 0.0)},
    "offset of the actions missing": {f"{ACTION}.offset": lambda v: _times(v, 0.0)},
    "scale of the actions missing": {f"{ACTION}.scale": lambda v: [1.0] * len(v)},
    "scale of the actions half": {f"{ACTION}.scale": lambda v: _times(v, 0.5)},
    "gyro scaled as in another project": {
        "observations.base_ang_vel.scale": lambda v: _times(v, 0.25)
    },
    "gravity points up": {"observations.projected_gravity.scale": lambda v: _times(v, -1.0)},
    "joint velocities scaled as in another project": {
        "observations.joint_vel_rel.scale": lambda v: _times(v, 0.05)
    },
    "joint positions in degrees": {"observations.joint_pos_rel.scale": lambda v: _times(v, 57.3)},
    "last action missing": {"observations.last_action.scale": lambda v: _times(v, 0.0)},
    "command missing": {"observations.velocity_commands.scale": lambda v: _times(v, 0.0)},
    "policy at half its rate": {"step_dt": lambda v: v * 2},
    "policy at double its rate": {"step_dt": lambda v: v / 2},
}


class Around(NamedTuple):
    """A mistake of the Go1: in our mapping, and around the network of drive.py."""

    mapping: Callable[[dict[str, Any]], None]
    see: Change = lambda seen: seen  # of drive.py's observation, [1, 48]
    do: Change = lambda action: action  # of the network's output, [12]


def _term(index: int, **said: Any) -> Callable[[dict[str, Any]], None]:
    """Changes a term of the mapping."""
    return lambda m: m["observation"]["terms"][index].update(said)


def _joints(order: list[int]) -> Around:
    """Slot i is wired to joint order[i] of the model, seen and driven."""

    def rename(m: dict[str, Any]) -> None:
        for key in ("joints", "default"):
            m[key] = [m[key][i] for i in order]

    back = np.argsort(order)
    # drive.py keeps its last action in the model's order: the network sees it in its own again
    return Around(
        rename,
        lambda o: np.concatenate(
            [
                o[:, :9],
                o[:, 9:21][:, order],
                o[:, 21:33][:, order],
                o[:, 33:45][:, order],
                o[:, 45:],
            ],
            1,
        ),
        lambda a: a[back],
    )


def _scaled(start: int, stop: int, factor: float) -> Change:
    by = np.ones(48, np.float32)
    by[start:stop] = factor
    return lambda o: o * by


HOME = np.array([0.1, 0.9, -1.8, -0.1, 0.9, -1.8] * 2, np.float32)
GO1: dict[str, Around] = {
    "left legs first": _joints([3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8]),
    "hind legs first": _joints([6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5]),
    "joints in the order of types": _joints([0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]),
    "velocity of the base missing": Around(_term(0, scale=0.0), _scaled(0, 3, 0.0)),
    "gyro in degrees": Around(_term(1, scale=57.3), _scaled(3, 6, 57.3)),
    "gravity points up": Around(_term(2, scale=-1.0), _scaled(6, 9, -1.0)),
    "default pose not subtracted": Around(
        lambda m: m["observation"]["terms"][3].pop("minus"),
        lambda o: np.concatenate([o[:, :9], o[:, 9:21] + HOME, o[:, 21:]], 1),
    ),
    "joint velocities scaled as in another project": Around(
        _term(4, scale=0.05), _scaled(21, 33, 0.05)
    ),
    "last action missing": Around(_term(5, scale=0.0), _scaled(33, 45, 0.0)),
    "command missing": Around(_term(6, scale=0.0), _scaled(45, 48, 0.0)),
    "forward and sideways command exchanged": Around(
        _term(6, axes=[1, 0, 2]), lambda o: o[:, [*range(45), 46, 45, 47]]
    ),
    "gyro and velocity exchanged": Around(
        lambda m: m["observation"]["terms"].insert(0, m["observation"]["terms"].pop(1)),
        lambda o: o[:, [3, 4, 5, 0, 1, 2, *range(6, 48)]],
    ),
    "scale of the actions missing": Around(
        lambda m: m["action"].update(scale=1.0),
        # the output that drive.py halves is doubled; what the network sees of it is not
        _scaled(33, 45, 0.5),
        lambda a: a * 2.0,
    ),
}


def _times(values: list[float], factor: float) -> list[float]:
    return [factor * v for v in values]


def _replaced(data: Any, path: str, change: Change) -> None:
    *to, last = path.split(".")
    for key in to:
        data = data[key]
    data[last] = files.plain(change(data[last]))


def drive_of(folder: Path) -> Any:
    """drive.py of the folder, as a module."""
    spec = importlib.util.spec_from_file_location("drive", folder / "drive.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def around(mistake: Around) -> Iterator[None]:
    """drive.py's network with a mistake before and behind it."""
    right = onnxruntime.InferenceSession

    class Wrong:
        def __init__(self, path: str):
            self.session = right(path)

        def run(self, names: list[str], given: dict[str, np.ndarray]) -> list[np.ndarray]:
            seen = {k: mistake.see(v).astype(np.float32) for k, v in given.items()}
            (action,) = self.session.run(names, seen)
            return [mistake.do(action[0])[None]]

    with mock.patch.object(onnxruntime, "InferenceSession", Wrong):
        yield


def imported(source: Path, out: Path, **keys: Path) -> dict[str, Any]:
    """The trial of an import; the refusal where there is one."""
    given = {**{k: str(v) for k, v in keys.items()}, "out": str(out)}
    try:
        command.run(command.asked(str(source), given), f"robo-rl import {source}")
    except UserError as error:
        return {"refused": str(error)}
    return dict(read_data(out / "import.json")["trial"])


def gym(folder: Path, place: Path, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A mistake in the G1's g1.yaml: our trial and what drive.py sees."""
    own = place / "g1-rl-gym"
    shutil.copytree(folder / "g1-rl-gym", own)
    data = yaml.safe_load((own / GYM_FILE).read_text())
    for key, change in GYM[name].items():
        data[key] = files.plain(change(np.array(data[key])))
    (own / GYM_FILE).write_text(yaml.safe_dump(data))
    oracle = drive_of(folder).unitree_rl_gym(own, "g1.yaml").summary()
    return imported(own / GYM_FILE, place / "run"), oracle


def lab(folder: Path, place: Path, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A mistake in the G1's deploy.yaml."""
    own = place / "g1-rl-mjlab"
    shutil.copytree(folder / "g1-rl-mjlab", own)
    data = yaml.safe_load((own / "deploy.yaml").read_text())
    for path, change in LAB[name].items():
        _replaced(data, path, change)
    (own / "deploy.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    # with other gains, mjlab's rule for the armature that the file leaves out fits no more: there
    # the import takes the model's own, which is none
    bare = {"stiffness", "damping"} & set(LAB[name])
    armature = 0.0 if bare else None
    oracle = drive_of(folder).deploy_yaml(own, "policy.onnx", armature=armature).summary()
    keys = {"robot": own / "scene.xml", "policy": own / "policy.onnx"}
    return imported(own / "deploy.yaml", place / "run", **keys), oracle


def go1(folder: Path, place: Path, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A mistake in the Go1's mapping, and around drive.py's network."""
    data = yaml.safe_load((HERE / "mappings" / "go1-playground.yaml").read_text())
    robot, policy = (folder / data[key] for key in ("robot", "policy"))
    GO1[name].mapping(data)
    (place / "go1.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    with around(GO1[name]):
        oracle = drive_of(folder).playground_go1(folder / "go1-playground").summary()
    return imported(policy, place / "run", robot=robot, mapping=place / "go1.yaml"), oracle


POLICIES = {"g1-rl-gym": (gym, GYM), "g1-rl-mjlab": (lab, LAB), "go1-playground": (go1, GO1)}


def row(name: str, mistake: str, ours: dict[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    """Both outcomes, and whether they are equal."""
    found: dict[str, Any] = {"policy": name, "mistake": mistake}
    found["plain"] = {"fell": plain["fell"], "vx_mps": plain["vx_mps"]}
    if "refused" in ours:
        return found | {"ours": ours, "equal": True}
    vx = ours["velocity_b_mps"][0]
    found["ours"] = {"fell": ours["fell"], "vx_mps": vx, "seconds": ours["seconds"]}
    both = ours["fell"] == plain["fell"]
    return found | {"equal": both and (plain["fell"] or abs(vx - plain["vx_mps"]) <= CLOSE_MPS)}


def main(words: list[str]) -> None:
    """The command; see the module."""
    console, folder = Console(), Path(words[0]).resolve()
    names = words[1:] or list(POLICIES)
    old = read_data(RESULTS)["mistakes"] if RESULTS.is_file() else []
    rows: list[dict[str, Any]] = [r for r in old if r["policy"] not in names]
    for name in names:
        plant, mistakes = POLICIES[name]
        for mistake in mistakes:
            with tempfile.TemporaryDirectory() as place:
                ours, plain = plant(folder, Path(place), mistake)
            rows.append(row(name, mistake, ours, plain))
            last = rows[-1]
            console.print(
                f"{'equal' if last['equal'] else 'DIFFERS'} {name}: {mistake}: ours {last['ours']},"
                f" plain MuJoCo {last['plain']}",
                highlight=False,
            )
            files.write_json(RESULTS, {"mistakes": rows, "versions": contract.versions()})
    equal = sum(r["equal"] for r in rows)
    console.print(f"{equal} of {len(rows)} planted mistakes do what they do in plain MuJoCo.")


if __name__ == "__main__":
    main(sys.argv[1:])
