"""Tells Gymnasium of every environment without importing JAX."""

from gymnasium.envs.registration import register, registry

from robo_rl import content

NAMESPACE = "robo_rl"


def gymnasium_id(name: str) -> str:
    """The Gymnasium id of an environment."""
    return f"{NAMESPACE}/{name}-v1"


def register_all() -> None:
    """Registers one id per environment; each has a preset or, if it is yours, a reward file."""
    presets = content.read_yaml(content.find("configs", "ppo"))["envs"]
    own = [path.stem for place in content.folders("rewards")[1:] for path in place.glob("*.yaml")]
    for name in (*presets, *own):
        if gymnasium_id(name) not in registry:
            register(
                gymnasium_id(name),
                entry_point="robo_rl.interop.gym:RobotEnv",
                vector_entry_point="robo_rl.interop.gym:RobotVectorEnv",
                kwargs={"name": name},
            )
