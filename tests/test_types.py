"""The stub of MuJoCo says what the installed MuJoCo has, and pyright checks attributes by it."""

import importlib.util
import tomllib
from pathlib import Path

import mujoco
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "typings" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_stub_is_what_is_generated(generate):
    assert f"MuJoCo {mujoco.__version__};" in generate.STUB.read_text()
    stale = "run python typings/generate.py"
    assert generate.STUB.read_text() == generate.stub(), stale


def test_the_stub_knows_types_and_no_attribute_that_is_not_there(generate):
    text = generate.STUB.read_text()
    model = text.partition("class MjModel:")[2].partition("\nclass ")[0]
    assert "    nq: int\n" in model and "    body_mass: NDArray[Any]\n" in model
    assert "    opt: MjOption\n" in model and "body_masses" not in model
    assert "mjJNT_FREE = 0" in text.partition("class mjtJoint")[2].partition("class ")[0]


def test_attributes_are_checked():
    pyright = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pyright"]
    assert not [key for key, value in pyright.items() if key.startswith("report") and not value]
