"""The house: imports point down, content is whole, nothing refers to what a user does not have."""

import ast
import graphlib
from pathlib import Path

import pytest

from robo_rl import content, errors
from robo_rl.envs import mdp
from robo_rl.robots.robot import load_robot

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "robo_rl").rglob("*.py"))

ORDER = (  # rooms of the house; each may import from those before it
    *("extras", "errors", "verdicts", "content", "registry", "files", "trees"),
    *("engines", "robots", "injection", "rewards", "envs", "policy", "scenarios"),
    *("rollouts", "report", "importing", "interop", "safety_eval", "sim2real", "training"),
    *("parts", "check", "terminal", "words", "cli_imported", "demo", "cli", "api", "__main__"),
)


def module_of(path):
    parts = path.relative_to(ROOT / "robo_rl").with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


MODULES = {module_of(path) for path in SOURCES}


def imports(path):
    """Modules of the package that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("robo_rl."):
            for name in node.names:
                whole = f"{node.module}.{name.name}".removeprefix("robo_rl.")
                yield whole if whole in MODULES else whole.rpartition(".")[0]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "robo_rl")))
def test_imports_point_down(path):
    module = module_of(path)
    if module == "__init__":  # the package's face shows what lies below it
        return
    room = module.partition(".")[0]
    for target in imports(path):
        below = target.partition(".")[0]
        assert below == room or ORDER.index(below) < ORDER.index(room), f"{module}: {target}"


def test_no_two_modules_import_each_other():
    order = graphlib.TopologicalSorter({module_of(p): set(imports(p)) for p in SOURCES})
    assert len(list(order.static_order())) >= len(SOURCES)  # raises CycleError


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "robo_rl")))
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 450
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno <= 75, node.name


def test_every_environment_has_a_reward_file_a_robot_and_a_card():
    own = [n for n, e in mdp.ENTRIES.items() if e.make.__module__.startswith("robo_rl.envs.tasks")]
    assert len(own) == 17  # another test's environments are none of the suite's
    for name in own:
        declared = mdp.get(name)
        assert declared.rewards in content.files("rewards")
        assert load_robot(declared.robot).file.profile in content.files("sim2real")
        assert (ROOT / "envs" / declared.robot / "CARD.md").is_file(), name


def test_an_unknown_robot_name_and_sensor_are_named():
    with pytest.raises(errors.UserError, match="hoppr.*Did you mean 'hopper'"):
        load_robot("hoppr")
    with pytest.raises(errors.UserError, match="no sensor named 'force/foot'"):
        load_robot("hopper").sensor("force/foot")


INERT = ("brax.py", "torch_files.py")  # a pickle's classes become inert records; an error of torch


def test_nothing_executes_what_it_reads():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec", "compile"), path
            if isinstance(node, ast.Import) and path.name not in INERT:
                assert not {"pickle", "cloudpickle", "dill"} & {n.name for n in node.names}, path
