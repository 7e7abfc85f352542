"""Builds the wheel, installs it elsewhere, and checks that it finds every content file.

Then installs it with nothing but its core's dependencies: it must load and run a stored policy, and
say which extra brings the rest.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("envs", "rewards", "scenarios", "safety_eval", "sim2real", "configs")
PROBE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import robo_rl
from robo_rl import content
assert Path(robo_rl.__file__).is_relative_to(sys.argv[1]), robo_rl.__file__
for folder in content.FOLDERS:
    for path in sorted(content.folder(folder).rglob("*")):
        if path.is_file():
            print(path.relative_to(content.root()))
assert (Path(robo_rl.__file__).parent / "report" / "templates" / "report.html.j2").is_file()
from robo_rl.envs.step import make
from robo_rl.safety_eval.suite import load_suite
from robo_rl.sim2real.profiles import load_profile
make("hopper"), load_suite("locomotion"), load_profile("legged")
"""
STORE = """
import sys
import numpy as np
from pathlib import Path
from robo_rl.policy.stored import Network, save_policy
layers = (np.eye(3, 2, dtype=np.float32),), (np.zeros(2, np.float32),)
network = Network(np.zeros(3, np.float32), np.ones(3, np.float32), np.inf, *layers, "tanh", "clip")
save_policy(Path(sys.argv[1]) / "policy", network, {"env": "somewhere"})
"""
CORE = """
import importlib.util, sys
import robo_rl
assert not any(map(importlib.util.find_spec, ("jax", "torch", "mujoco", "gymnasium")))
assert robo_rl.load_policy(sys.argv[1])([0.5, -2.0, 0.0]).tolist() == [0.5, -1.0]
try:
    robo_rl.make
except ImportError as error:
    assert "pip install 'robo-rl[judge]'" in str(error), error
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        run = [sys.executable, "-m"]
        subprocess.run(
            [*run, "build", "--wheel", "--no-isolation", "--outdir", scratch, str(ROOT)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        (wheel,) = Path(scratch).glob("*.whl")
        site = Path(scratch) / "site"
        subprocess.run(
            [*run, "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)],
            check=True,
        )
        probe = [sys.executable, "-c", PROBE, str(site)]
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        found = subprocess.run(
            probe, check=True, capture_output=True, text=True, cwd=scratch, env=env
        ).stdout
        have = {line for line in found.splitlines() if "/" in line}
        want = {
            str(p.relative_to(ROOT)) for f in FOLDERS for p in (ROOT / f).rglob("*") if p.is_file()
        }
        if missing := want - have:
            sys.exit(f"missing from the wheel: {sorted(missing)}")
        print(f"wheel: all {len(want)} content files found")
        core_alone(wheel, Path(scratch))


def core_alone(wheel: Path, scratch: Path) -> None:
    """The core in an environment of its own: a policy runs, the command asks for an extra."""
    subprocess.run([sys.executable, "-c", STORE, str(scratch / "run")], check=True)
    subprocess.run([sys.executable, "-m", "venv", str(scratch / "core")], check=True)
    place = scratch / "core" / "bin"
    pip = [str(place / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, str(wheel)], check=True)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    probe = [str(place / "python"), "-c", CORE, str(scratch / "run")]
    subprocess.run(probe, check=True, cwd=scratch, env=env)
    refused = subprocess.run(
        [str(place / "robo-rl"), "safety", "run"],
        cwd=scratch,
        env=env,
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 64, refused
    assert "pip install 'robo-rl[judge]'" in refused.stderr, refused.stderr
    print("core: a stored policy runs without JAX, torch and MuJoCo")


if __name__ == "__main__":
    main()
