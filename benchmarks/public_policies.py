"""Every policy in a folder imported, judged and measured: one page and one JSON.

python benchmarks/public_policies.py FOLDER [episodes=120] [suite_episodes=64] [out=DIR]
    [only=NAME]

suite_episodes=0 leaves the suite out, episodes=0 the gap study. A policy is a deployment file that
names its robot (unitree_rl_gym), a deploy.yaml beside scene.xml and policy.onnx, or a mapping in
benchmarks/mappings that names robot and policy relative to the folder. golden/NAME.npz is compared
with where it is there.
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from mujoco import batch
from rich.console import Console

from robo_rl import files
from robo_rl.content import read_yaml
from robo_rl.importing import command, deploy_yaml, unitree_gym
from robo_rl.importing.source import read_data
from robo_rl.injection.episode import ask
from robo_rl.policy import contract
from robo_rl.policy.stored import load_policy
from robo_rl.report import page as report
from robo_rl.rollouts.play import BLOCK, episode_keys, rollout
from robo_rl.safety_eval import study, study_report
from robo_rl.scenarios.schema import stack
from robo_rl.sim2real import gap, gap_report, wiring, wiring_report

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "public-policies.json"


def found(folder: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    """Name -> (source, keys of the import) of every policy in the folder."""
    policies: dict[str, tuple[str, dict[str, Any]]] = {}
    for own in sorted(p for p in folder.iterdir() if p.is_dir()):
        for path in sorted(own.rglob("*.yaml")):
            data = read_data(path)
            if unitree_gym.fits(data):
                policies[own.name] = (str(path), {})
            elif deploy_yaml.fits(data):
                beside = {"robot": own / "scene.xml", "policy": own / "policy.onnx"}
                policies[own.name] = (str(path), beside)
    for path in sorted((HERE / "mappings").glob("*.yaml")):
        said = read_yaml(path)
        robot, policy = (folder / str(said[key]) for key in ("robot", "policy"))
        if robot.is_file() and policy.is_file():
            policies[path.stem] = (str(policy), {"robot": robot, "mapping": path})
    return policies


def judged(name: str, folder: Path, out: Path, asked: dict[str, int]) -> dict[str, Any]:
    """Imports one policy and puts it through everything."""
    source, keys = found(folder)[name]
    golden = folder / "golden" / f"{name}.npz"
    given = {**{k: str(v) for k, v in keys.items()}, "out": str(out)}
    if golden.is_file():
        given["golden"] = str(golden)
    words = " ".join(f"{k}={v}" for k, v in given.items())
    command.run(command.asked(source, given), f"robo-rl import {source} {words}")
    said = files.plain(read_data(out / "import.json"))
    row: dict[str, Any] = {"name": name, "trial": said["trial"], "golden": said["golden"]}
    row["response"] = {r["axis"]: r["least_followed"] for r in said["response"]}
    row |= {"gate": "not run", "why": "", "breaks_first": "not run", "margins": {}}
    if asked["suite_episodes"]:
        result = study.study(out, None, episodes=asked["suite_episodes"])
        study_report.write(result, out / "safety" / result.suite.name, f"robo-rl safety {out}")
        row["gate"], row["why"] = str(result.gate), result.why
    table = wiring.wiring(out)
    wiring_report.write(table, out / wiring_report.FOLDER, f"robo-rl wiring {out}")
    row["wiring"] = {
        o: sum(r.outcome == o for r in table.rows) for o in ("falls", "worse", "nothing")
    }
    row["silent"] = [r.mistake for r in table.rows if r.grade == "RED"]
    if asked["episodes"]:
        swept = gap.gap(out, None, episodes=asked["episodes"])
        gap_report.write(swept, out / "gap", f"robo-rl gap {out}")
        row["breaks_first"] = gap_report.breaks_first(swept)
        row["margins"] = {
            s.name: {"margin": list(s.margin) if s.margin else None, "grade": str(s.verdict)}
            for s in swept.sweeps
        }
    row["rate"] = rate(out)
    return row


def rate(run: Path) -> dict[str, float]:
    """Physics steps a second of a suite's episodes, and of raw mujoco.batch on the same model."""
    policy = load_policy(run)
    env = study.environment_of(policy)
    keys = episode_keys(0, BLOCK)
    injections = stack([ask(env.neutral(), (0.5, 0.0, 0.0))] * BLOCK)
    rollout(env, policy, keys, injections)
    began = time.perf_counter()
    track = rollout(env, policy, keys, injections)
    ours = float(track.length.sum()) * env.engine.substeps / (time.perf_counter() - began)
    raw = raw_rate(env, track)
    return {"suite": ours, "raw": raw, "ratio": ours / raw}


def raw_rate(env: Any, track: Any) -> float:
    """mujoco.batch alone: as many robots, in the states in which the policy left them."""
    model = env.robot.model
    sims = batch.Batch(model, nsim=BLOCK, nthread=2)
    qpos, qvel = env.engine.unpack(np.asarray(track.finish.physics_state))
    sims.bind("qpos")[:], sims.bind("qvel")[:] = qpos, qvel
    steps = 500
    control = np.zeros((BLOCK, steps, model.nu))
    home = env.robot.ctrl0
    control[:] = 0.0 if home is None else home
    sims.rollout(10, control=control[:, :10])
    began = time.perf_counter()
    sims.rollout(steps, control=control)
    return BLOCK * steps / (time.perf_counter() - began)


def write(rows: list[dict[str, Any]], out: Path) -> Path:
    """The page of all of them."""
    columns = ("policy", "velocity, m/s", "suite", "breaks first", "wiring: fall/worse/nothing")
    lines = tuple(
        (
            r["name"],
            f"{r['trial']['velocity_b_mps'][0]:.3f} of {r['trial']['command'][0]:g} asked",
            r["gate"],
            r["breaks_first"],
            "/".join(str(n) for n in r["wiring"].values()),
        )
        for r in rows
    )
    margins = report.Grid(
        ("departure", *(r["name"] for r in rows)),
        tuple(
            (
                departure,
                *(_margin(r["margins"].get(departure)) for r in rows),
            )
            for departure in sorted({d for r in rows for d in r["margins"]})
        ),
        "Margin: breaking point over measured magnitude, with its interval; higher is better.",
    )
    page = report.Report(
        "Public policies",
        "",
        f"{len(rows)} policies, each imported as its authors describe it.",
        (
            report.Section("Table", (report.Grid(columns, lines), margins)),
            report.reproduce("python benchmarks/public_policies.py FOLDER", contract.versions()),
        ),
    )
    return report.write_report(out, page, {"policies": rows, "versions": contract.versions()})


def _margin(found: dict[str, Any] | None) -> str:
    if found is None or found["margin"] is None:
        return "not known"
    low, point, high = (
        "more than tried" if v is None or not np.isfinite(v) else f"{v:.2g}"
        for v in found["margin"]
    )
    return f"{point} [{low}, {high}] {found['grade']}"


def main(words: list[str]) -> None:
    """The command; see the module."""
    console = Console()
    folder = Path(words[0])
    given = dict(word.split("=", 1) for word in words[1:])
    out = Path(given.pop("out", "runs/public-policies"))
    names = [given.pop("only")] if "only" in given else list(found(folder))
    asked = {"episodes": 120, "suite_episodes": 64} | {k: int(v) for k, v in given.items()}
    for name in names:
        began = time.perf_counter()
        row = judged(name, folder, out / name, asked)
        row["seconds"] = time.perf_counter() - began
        console.print(f"{name}: {row['gate']}, {row['seconds']:.0f} s", highlight=False)
        old = read_data(RESULTS)["policies"] if RESULTS.is_file() else []
        rows = sorted([r for r in old if r["name"] != name] + [row], key=lambda r: r["name"])
        files.write_json(
            RESULTS, {"asked": asked, "policies": rows, "versions": contract.versions()}
        )
        console.print(str(write(rows, out)))


if __name__ == "__main__":
    main(sys.argv[1:])
