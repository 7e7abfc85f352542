"""docs/your-parts.md as it stands: one part of every kind from outside the package."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from robo_rl.verdicts import Exit

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "your-parts.md").read_text()
ROBO_RL = Path(sys.executable).with_name("robo-rl")
USE = """
import numpy as np, robo_rl
tiny = {"robots": 4, "unroll": 16, "minibatches": 2, "epochs": 1}
robo_rl.train(env="worn-pole", algo="ppo", steps=128, ppo=tiny, eval_points=0, out="run")
judged = robo_rl.safety("run", "worn", episodes=2)
assert {"stays_near", "does_its_task"} <= {f.criterion for f in judged.findings}
assert set(judged.cells) == {"nominal", "worn-rail"}
swept = robo_rl.gap("run", "worn", episodes=18, episode_s=0.3).sweeps
assert [s.name for s in swept] == ["worn rail", "everything at once"], swept
worn_by = lambda brake: {"injected": {"worn_rail": brake}}
plain, worn, other = (
    robo_rl.rollout("run", episodes=3, episode_s=0.4, **more)
    for more in (worn_by(0), worn_by(2), {"engine": "two-steps"})
)
travel = [e.measure("travel") for e in (plain, worn, other)]
assert (travel[0] > 0).all() and not np.array_equal(travel[0], travel[1])
assert (plain.track.terms["upright"] <= 1).all() and (plain.track.terms["upright"] > 0).all()
assert robo_rl.make("worn-pole").observation_size == 5
try:
    robo_rl.register("worn-pole")(robo_rl.make)
except ValueError as error:
    assert "already registered by robo_rl_own_parts" in str(error), error
else:
    raise AssertionError("a name was taken twice")
import gymnasium
assert gymnasium.make("robo_rl/worn-pole-v1").reset(seed=0)[0].shape == (5,)
"""


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts") / "mine"
    for name, body in re.findall(r"`mine/([\w./-]+)`\n\n```\w+\n(.*?)```", PAGE, re.S):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body)
    assert len(list(folder.rglob("*.*"))) == 5
    return folder


def run(mine, *words):
    env = {**os.environ, "ROBO_RL_ENVS": str(mine), "COLUMNS": "200"}
    done = subprocess.run(
        [*map(str, words)], cwd=mine.parent, env=env, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def test_one_part_of_every_kind_comes_from_outside_the_package(mine):
    status, said = run(mine, ROBO_RL, "check", mine)
    assert (status, "4 content files, 0 problems" in said) == (Exit.ACCEPT, True), said
    status, said = run(mine, ROBO_RL, "envs", "worn-pole")
    assert status == Exit.ACCEPT and "height of the tip" in said and "upright" in said, said
    status, said = run(mine, sys.executable, "-c", USE)
    assert status == 0, said


def test_a_mistake_in_a_module_of_yours_names_its_file(mine, tmp_path):
    (tmp_path / "wrong.py").write_text("from robo_rl.rewards.terms import term\n@term\ndef f(t): 1")
    status, said = run(tmp_path, ROBO_RL, "envs")
    assert status == Exit.USAGE and "wrong.py: TypeError: term f: annotate" in said, said
