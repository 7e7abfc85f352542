"""Files made to do harm, and damaged ones: refused by name, nothing executed, nothing written."""

import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import robo_rl
from robo_rl.envs.step import make
from tests.commands import here
from tests.policy.originals import FILES, mlp, onnx_file, sb3, weights_of


class Evil:
    """A pickle that makes a file where it is loaded."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.fixture()
def mark(tmp_path):
    """A file that must not be there afterwards."""
    return tmp_path / "executed"


def pickled(folder: Path, mark: Path) -> Path:
    """A bare pickle that calls itself a checkpoint."""
    (folder / "model.pt").write_bytes(pickle.dumps({"model_state_dict": Evil(mark)}))
    return folder / "model.pt"


def saved_by_torch(folder: Path, mark: Path) -> Path:
    """A pickle in an archive of torch."""
    torch.save({"model_state_dict": {"actor.0.weight": Evil(mark)}}, folder / "model.pt")
    return folder / "model.pt"


def inside_sb3(folder: Path, mark: Path) -> Path:
    """A pickle for the weights of an SB3 zip, and one in its text."""
    weights = io.BytesIO()
    torch.save({"action_net.weight": Evil(mark)}, weights)
    with zipfile.ZipFile(folder / "model.zip", "w") as archive:
        archive.writestr("policy.pth", weights.getvalue())
        archive.writestr("data", json.dumps({"policy_kwargs": {":serialized:": "gASVKgAAAAAA"}}))
    return folder / "model.zip"


def as_brax(folder: Path, mark: Path) -> Path:
    """A pickle where Brax has its parameters."""
    (folder / "params").write_bytes(pickle.dumps((Evil(mark), {"params": Evil(mark)})))
    return folder / "params"


def changed(path: Path, change) -> Path:
    """The zip with its members changed: change(name, data) -> data."""
    with zipfile.ZipFile(path) as archive:
        members = {name: change(name, archive.read(name)) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def exported_expression(folder: Path, mark: Path) -> Path:
    """torch.export with an expression that SymPy would evaluate, and an operation not ours."""
    FILES["torch.export"](folder)
    evil = f"__import__('os').system('touch {mark}')"

    def change(name: str, data: bytes) -> bytes:
        if not name.endswith("model.json"):
            return data
        text = data.decode().replace("Symbol('s31', positive=True, integer=True)", evil)
        return text.replace("aten.tanh", "aten.hardswish").encode()

    return changed(folder / "policy.pt2", change)


def exported_weights(folder: Path, mark: Path) -> Path:
    """torch.export with a pickle for a weight."""
    FILES["torch.export"](folder)
    weights = io.BytesIO()
    torch.save(Evil(mark), weights)

    def change(name: str, data: bytes) -> bytes:
        if name.endswith("weights_config.json"):
            return data.replace(b'"use_pickle": false', b'"use_pickle": true')
        return weights.getvalue() if name.endswith("weight_0") else data

    return changed(folder / "policy.pt2", change)


def yaml_tag(folder: Path, mark: Path) -> Path:
    """A deployment file with an object to be made."""
    text = f'policy_path: !!python/object/apply:os.system ["touch {mark}"]\n'
    (folder / "deploy.yaml").write_text(text)
    return folder / "deploy.yaml"


def climbing(folder: Path, mark: Path) -> Path:
    """An SB3 zip with a member above its folder."""
    sb3("PPO")(folder)
    with zipfile.ZipFile(folder / "model.zip", "a") as archive:
        archive.writestr(f"../{mark.name}", "x")
    return folder / "model.zip"


def bomb(folder: Path, mark: Path) -> Path:
    """A zip whose weights claim to be large."""
    with zipfile.ZipFile(folder / "model.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("policy.pth", b"0" * 123457)
    data = (folder / "model.zip").read_bytes()
    size = (123457).to_bytes(4, "little")
    assert data.count(size) == 2
    (folder / "model.zip").write_bytes(data.replace(size, (0xFFFFFFF0).to_bytes(4, "little")))
    return folder / "model.zip"


def elsewhere(location: str):
    """An ONNX graph that has its weights in a file of that path."""

    def make(folder: Path, mark: Path) -> Path:
        import onnx
        from onnx import helper

        nodes = [helper.make_node("Gemm", ["obs", "W0", "B0"], ["actions"])]
        weights = {"W0": np.ones((11, 3), np.float32), "B0": np.ones(3, np.float32)}
        path = onnx_file(folder, nodes, weights)
        model = onnx.load(path)
        weight = model.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = onnx.TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=location)
        path.write_bytes(model.SerializeToString())
        return path

    return make


def huge(folder: Path, mark: Path) -> Path:
    """An ONNX weight that claims to have many more numbers than there are."""
    import onnx
    from onnx import helper

    nodes = [helper.make_node("Gemm", ["obs", "W0", "B0"], ["actions"])]
    weights = {"W0": np.ones((11, 3), np.float32), "B0": np.ones(3, np.float32)}
    path = onnx_file(folder, nodes, weights)
    model = onnx.load(path)
    model.graph.initializer[0].dims[0] = 10**14
    path.write_bytes(model.SerializeToString())
    return path


def not_numbers(kind: str):
    """A file whose weights are NaN."""

    def make(folder: Path, mark: Path) -> Path:
        from onnx import helper

        if kind == "onnx":
            weights = weights_of(mlp()) | {"B2": np.full(3, np.nan, np.float32)}
            nodes = [
                helper.make_node("Gemm", ["obs", "W0", "B0"], ["h"], transB=1),
                helper.make_node("Gemm", ["h", "W2", "B2"], ["actions"], transB=1),
            ]
            return onnx_file(folder, nodes, weights)
        module = mlp()
        with torch.no_grad():
            module[0].weight[0, 0] = np.nan
        if kind == "pt":
            torch.jit.script(module).save(str(folder / "policy.pt"))
        else:
            state = {f"actor.{name}": value for name, value in module.state_dict().items()}
            torch.save({"model_state_dict": state}, folder / "policy.pt")
        return folder / "policy.pt"

    return make


def half(folder: Path, mark: Path) -> Path:
    """A checkpoint whose memory lacks a weight."""
    path = Path(FILES["rsl_rl LSTM"](folder)[0])
    found = torch.load(path, weights_only=True)
    del found["model_state_dict"]["memory_a.rnn.bias_hh_l0"]
    torch.save(found, path)
    return path


HARMFUL = {
    "a pickle": pickled,
    "a pickle in an archive of torch": saved_by_torch,
    "a pickle in an SB3 zip": inside_sb3,
    "a pickle as Brax parameters": as_brax,
    "an expression in torch.export": exported_expression,
    "a pickle in torch.export": exported_weights,
    "a YAML tag": yaml_tag,
    "a zip member above its folder": climbing,
    "a zip that claims to be large": bomb,
    "ONNX weights above its folder": elsewhere("../../x"),
    "ONNX weights at an absolute path": elsewhere("/etc/passwd"),
    "an ONNX weight that claims to be large": huge,
    "NaN in ONNX": not_numbers("onnx"),
    "NaN in TorchScript": not_numbers("pt"),
    "NaN in a checkpoint": not_numbers("rsl_rl"),
    "a layer without one of its weights": half,
}


@pytest.mark.parametrize("name", HARMFUL)
def test_a_harmful_file_is_refused_by_its_name_and_does_nothing(name, tmp_path, mark):
    folder = tmp_path / "given" / "deep"
    folder.mkdir(parents=True)
    path = HARMFUL[name](folder, mark)
    before = sorted(tmp_path.rglob("*"))
    done = here("import", path, "env=hopper", "out=run", cwd=tmp_path)
    assert done.returncode == 64, done.stdout + done.stderr
    assert path.name in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert sorted(tmp_path.rglob("*")) == before


BROKEN = ["sb3 PPO", "rsl_rl", "TorchScript scripted", "torch.export", "ONNX Elu", "Brax, NumPy"]


@pytest.mark.parametrize("kind", ["cut", "empty", "folder", "noise"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_damaged_file_is_refused_by_its_name_and_leaves_no_run(name, kind, tmp_path):
    path = Path(FILES[name](tmp_path)[0])
    data = path.read_bytes()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    else:
        noise = np.random.default_rng(0).bytes(len(data))
        path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "noise": noise}[kind])
    before = sorted(tmp_path.rglob("*"))
    done = here("import", path, "env=hopper", "out=run", cwd=tmp_path)
    assert done.returncode == 64, done.stdout + done.stderr
    assert path.name in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_with_files_of_ones_own_is_never_replaced_by_a_run(tmp_path):
    path, _ = FILES["ONNX Elu"](tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    done = here("import", path, "env=hopper", "out=run", cwd=tmp_path)
    assert done.returncode == 64 and "out=run" in done.stderr, done.stderr
    assert (tmp_path / "run" / "mine.txt").read_text() == "mine"


def test_a_mapping_that_names_a_file_that_is_no_policy(tmp_path):
    (tmp_path / "mapping.yaml").write_text("environment: hopper\npolicy: /etc/passwd\n")
    done = here("import", "mapping.yaml", "mapping=mapping.yaml", "out=run", cwd=tmp_path)
    assert done.returncode == 64 and "root:" not in done.stderr, done.stderr
    text = "format: robo_rl.mapping/1\nenvironment: hopper\npolicy: /etc/passwd\n"
    (tmp_path / "mapping.yaml").write_text(text)
    done = here("import", "mapping.yaml", "out=run", cwd=tmp_path)
    assert done.returncode == 64 and "/etc/passwd" in done.stderr, done.stderr
    assert "root:" not in done.stderr and not (tmp_path / "run").exists()


def test_code_beside_the_robot_of_a_run_is_never_imported(tmp_path, mark):
    path, _ = FILES["ONNX Elu"](tmp_path)
    assert here("import", path, "env=hopper", "out=run", cwd=tmp_path).returncode == 0
    code = f"open({str(mark)!r}, 'w').close()\n"
    for place in ("robot", "robot/envs", "robot/envs/other", "policy"):
        (tmp_path / "run" / place).mkdir(exist_ok=True, parents=True)
        (tmp_path / "run" / place / "evil.py").write_text(code)
        (tmp_path / "run" / place / "__init__.py").write_text(code)
    robo_rl.load_policy(tmp_path / "run")
    with pytest.raises(robo_rl.UserError):
        make("other")
    assert here("list", "terms", cwd=tmp_path).returncode == 0
    assert not mark.exists()
