"""The house: imports point down, content is whole, nothing refers to what a user does not have."""

import ast
from pathlib import Path

import pytest

from robo_rl import content
from robo_rl.envs import mdp
from robo_rl.envs.robots import load_robot

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "robo_rl").rglob("*.py"))

LEVELS = {  # a module may import only from its own level or from below
    "content": 0,
    "verdicts": 0,
    "files": 0,
    "policy": 1,
    "report": 1,
    "plots": 1,
    "trees": 1,
    "engines": 1,
    "interop.registration": 1,
    "sim2real.sensors": 2,
    "sim2real.actuation": 2,
    "sim2real.injection": 2,
    "rewards": 3,
    "envs": 3,
    "contract": 4,
    "rendering": 4,
    "sim2real.injectors": 4,
    "sim2real.profiles": 5,
    "sim2real.randomise": 6,
    "sim2real.curriculum": 6,
    "scenarios": 5,
    "interop": 5,
    "safety_eval": 6,
    "check": 7,
    "train": 7,
    "sim2real.transfer": 7,
    "sim2real.gap": 7,
    "sim2real.gap_report": 7,
    "sim2real.checklist": 7,
    "compare": 8,
    "compare_findings": 8,
    "compare_report": 8,
    "demo": 9,
    "cli": 10,
}


def level(module):
    """The level of robo_rl.<module>, by its longest known prefix; None for the bare package."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if (found := LEVELS.get(".".join(parts[:length]))) is not None:
            return found
    return None


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("robo_rl"):
            for name in node.names:
                yield f"{node.module}.{name.name}".removeprefix("robo_rl.")


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "robo_rl")))
def test_imports_point_down(path):
    module = ".".join(path.relative_to(ROOT / "robo_rl").with_suffix("").parts).removesuffix(
        ".__init__"
    )
    if (own := level(module)) is None:
        return
    for target in imports(path):
        below = level(target)
        assert below is None or below <= own, (
            f"{module} (level {own}) imports {target} (level {below})"
        )


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "robo_rl")))
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 450
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno <= 75, node.name


def test_every_environment_has_a_reward_file_a_robot_and_a_card():
    for name in mdp.names():
        declared = mdp.get(name)
        assert declared.rewards in content.files("rewards")
        assert load_robot(declared.robot).file.profile in content.files("sim2real")
        assert (ROOT / "envs" / declared.robot / "CARD.md").is_file(), name


def test_an_unknown_robot_name_and_sensor_are_named():
    with pytest.raises(content.UserError, match="hoppr.*Did you mean 'hopper'"):
        load_robot("hoppr")
    with pytest.raises(content.UserError, match="no sensor named 'force/foot'"):
        load_robot("hopper").sensor("force/foot")


def test_nothing_executes_what_it_reads():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec", "compile"), path
            if isinstance(node, ast.Import):
                assert not {"pickle", "cloudpickle", "dill"} & {n.name for n in node.names}, path
