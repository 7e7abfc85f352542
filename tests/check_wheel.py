"""Builds the wheel, installs it elsewhere, and checks that it finds every content file."""

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


if __name__ == "__main__":
    main()
