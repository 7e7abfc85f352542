"""Operations of a graph against onnxruntime, and what is not ours against it too."""

import numpy as np
import pytest
from onnx import helper

from robo_rl.policy.external import External
from robo_rl.policy.networks import OPERATIONS, Graph, begin
from robo_rl.policy.readers import onnx
from tests.policy.originals import onnx_file

ONE = np.asarray([1], np.int64)
THREE = np.linspace(0.5, 1.5, 3).astype(np.float32)
PLAIN = ["Exp", "Neg", "Abs", "Identity", "Tanh", "Relu", "Sigmoid", "Selu", "Softplus"]
PLAIN += ["Softsign", "Elu", "LeakyRelu", "Gelu", "Mish", "Dropout"]
CASES = {  # name -> (operation, attributes, constants); each takes x [N, 3] to [N, 3]
    **{op: (op, {}, []) for op in PLAIN},
    **{op: (op, {}, [THREE]) for op in ["Add", "Sub", "Mul", "Div", "Max", "Min"]},
    "Elu of 0.3": ("Elu", {"alpha": 0.3}, []),
    "LeakyRelu of 0.3": ("LeakyRelu", {"alpha": 0.3}, []),
    "Gelu by tanh": ("Gelu", {"approximate": "tanh"}, []),
    "Pow": ("Pow", {}, [np.asarray(2.0, np.float32)]),
    "Clip": ("Clip", {}, [np.asarray(-0.3, np.float32), np.asarray(0.4, np.float32)]),
    "Clip above": ("Clip", {}, [None, np.asarray(0.4, np.float32)]),
    "Gemm": ("Gemm", {"alpha": 0.5, "beta": 2.0, "transB": 1}, [np.outer(THREE, THREE), THREE]),
    "MatMul": ("MatMul", {}, [np.outer(THREE, THREE)]),
    "LayerNormalization": ("LayerNormalization", {"epsilon": 1e-3}, [THREE, THREE]),
    "Cast": ("Cast", {"to": 1}, []),
    "Flatten": ("Flatten", {}, []),
    "Reshape": ("Reshape", {}, [np.asarray([0, 3], np.int64)]),
    "Gather": ("Gather", {"axis": 1}, [np.asarray([2, 0, 1], np.int64)]),
    "Slice": ("Slice", {}, [np.asarray([-3], np.int64), np.asarray([2**62], np.int64), ONE, ONE]),
    "ReduceMean": ("ReduceMean", {"axes": [1], "keepdims": 1}, []),
    "Transpose": ("Transpose", {"perm": [0, 1]}, []),
    "Hardswish": ("HardSwish", {}, []),
    "Softmax": ("Softmax", {"axis": -1}, []),
}


def one_node(folder, op, attributes, constants):
    """Obs [N, 11] -> its first three -> the operation -> actions."""
    first = np.eye(11, 3, dtype=np.float32)
    names = [f"k{i}" if c is not None else "" for i, c in enumerate(constants)]
    weights = {n: np.asarray(c) for n, c in zip(names, constants, strict=True) if n}
    nodes = [
        helper.make_node("MatMul", ["obs", "first"], ["x"]),
        helper.make_node(op, ["x", *names], ["y"], **attributes),
        helper.make_node("Add", ["y", "zeros"], ["actions"]),
    ]
    weights |= {"first": first, "zeros": np.zeros(3, np.float32)}
    opset = 20 if op in ("Gelu", "Mish") else 17
    return onnx_file(folder, nodes, weights, opset=opset)


@pytest.mark.parametrize("name", CASES)
def test_an_operation_gives_what_onnxruntime_gives(name, tmp_path):
    op, attributes, constants = CASES[name]
    path = one_node(tmp_path, op, attributes, constants)
    ours, theirs = onnx.read(path), onnx.as_given(path)
    assert isinstance(ours, Graph if op in OPERATIONS else External)
    seen = np.random.default_rng(0).normal(size=(7, 11)).astype(np.float32)
    made, _ = ours.program.act(np, ours.parameters, begin(np, ours.program, (7,)), seen)
    wanted, _ = theirs.program.act(np, (), {}, seen)
    assert np.ptp(wanted) > 0.1
    np.testing.assert_allclose(made, wanted, atol=1e-5)


@pytest.mark.parametrize("name", ["Softplus", "Sigmoid", "Elu", "Mish", "Tanh"])
def test_large_numbers_overflow_nothing(name):
    large = np.float32([[-1e4, 0.0, 1e4]])
    with np.errstate(all="raise", under="ignore"):
        made = OPERATIONS[name](np, {}, large)
    assert np.isfinite(made).all()
