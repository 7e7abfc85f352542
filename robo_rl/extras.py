"""Which extra brings a package that is not installed: pip install 'robo-rl[EXTRA]'."""

JUDGE = (
    *("gymnasium", "imageio", "jax", "jinja2", "matplotlib", "mujoco", "omegaconf", "rich"),
    *("scipy", "typer"),
)
EXTRAS: dict[str, tuple[str, ...]] = {  # extra -> packages by the name they are imported under
    "judge": JUDGE,
    "train": ("brax", "flax", "optax", "tensorboardX"),
    "sb3": ("stable_baselines3", "torch"),
    "bullet": ("pybullet",),
    "tensorboard": ("tensorboard",),
    "policies": ("onnx", "onnxruntime"),
}


def help_for(error: ModuleNotFoundError) -> str | None:
    """What to install for a module that was not found; None where no extra brings it."""
    package = (error.name or "").partition(".")[0]
    extra = next((name for name, packages in EXTRAS.items() if package in packages), None)
    if extra is None:
        return None
    return (
        f"{package} is not installed: pip install 'robo-rl[{extra}]' brings it, 'robo-rl[all]'"
        " brings everything."
    )
