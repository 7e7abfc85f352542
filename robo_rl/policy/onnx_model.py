"""ONNX files as they are: parsed, and opened for batches of robots."""

from pathlib import Path
from typing import Any

from robo_rl.errors import UserError


def load(path: Path) -> Any:
    """The parsed model, external weights included; UserError for a file that is none."""
    import onnx

    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf and onnx raise kinds of their own
        said = " ".join(str(error).split())[:300]
        raise UserError(f"{path}: not an ONNX model that can be read: {said}") from error
    if not model.graph.input or not model.graph.output:
        raise UserError(f"{path}: an ONNX model without inputs or outputs is no policy.")
    return model


def batched(path: Path) -> bytes:
    """The model with the axis of the robots left open: exporters like to fix it at one."""
    model = load(path)
    for value in (*model.graph.input, *model.graph.output):
        shape = value.type.tensor_type.shape
        axis = batch_axis(shape_of(value))
        if axis < len(shape.dim):
            shape.dim[axis].dim_param = "robots"
    del model.graph.value_info[:]
    return model.SerializeToString()


def shape_of(value: Any) -> list[int]:
    """The shape of an input or output; 0 where it is open."""
    return [d.dim_value for d in value.type.tensor_type.shape.dim]


def batch_axis(shape: list[int]) -> int:
    """Of an observation [robots, n] the first, of a state [layers, robots, n] the second."""
    return 1 if len(shape) == 3 else 0
