"""A plant means the same on every engine: each field moves the state as it does in C MuJoCo."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from robo_rl.engines.base import nominal_plant
from robo_rl.envs.step import make
from tests.conftest import PLANT_CHANGES

LOWERED_M = 0.05  # the hopper's foot then touches the ground
TOLERANCE = {"mjx": 0.02, "bullet": 0.1}  # bullet: an integrator of first order
OTHERS = sorted(TOLERANCE)


def final_state(name, engine, lowered_m):
    """Jitted: position and velocity of a robot two control steps after a start, by plant."""
    env = make(name, engine=engine)
    model = env.robot.model
    up = 1 if model.jnt_type[0] else 2  # a free joint's height, or the second slide
    qpos = jnp.asarray(env.robot.qpos0, jnp.float32).at[up].add(-lowered_m)
    bent = jnp.where(jnp.asarray(model.jnt_limited, bool), -0.2, 0.0)
    qpos = qpos.at[3:].add(bent[3:]) if model.nq == model.nv else qpos
    qvel = jnp.full(model.nv, 0.3)
    ctrl = jnp.full((env.engine.substeps, env.action_size), 0.3)

    def run(plant):
        bits, _ = env.engine.reset(qpos, qvel, plant, jnp.bool_(True))
        onward = lambda bits, _: env.engine.step(bits, ctrl, None, plant, jnp.bool_(True))  # noqa: E731
        _, readouts = jax.lax.scan(onward, bits, None, length=2)
        return readouts.samples[-1, -1, : model.nq + model.nv]

    jitted = jax.jit(run)
    return (lambda plant: np.asarray(jitted(plant), np.float64)), nominal_plant(model)


@pytest.fixture(scope="module")
def runs():
    cases = {
        "air": ("hopper", -0.3),
        "ground": ("hopper", LOWERED_M),
        "wind": ("quadrotor-hover", 0.0),
    }
    return {
        (case, engine): final_state(name, engine, low)
        for case, (name, low) in cases.items()
        for engine in ("mujoco", *OTHERS)
    }


def effect(runs, case, engine, field):
    """What a change of a plant field adds to the state."""
    run, nominal = runs[case, engine]
    change = np.full_like(getattr(nominal, field), np.float32(PLANT_CHANGES[field]))
    return run(nominal._replace(**{field: change})) - run(nominal)


@pytest.mark.parametrize("engine", OTHERS)
@pytest.mark.parametrize("field", [f for f in PLANT_CHANGES if f != "friction_scale"])
def test_a_plant_field_moves_the_state_as_it_does_in_c(runs, engine, field):
    case = "wind" if field == "wind_w_mps" else "air"
    ours, theirs = effect(runs, case, "mujoco", field), effect(runs, case, engine, field)
    assert np.abs(ours).max() > 1e-6
    np.testing.assert_allclose(theirs, ours, atol=TOLERANCE[engine] * np.abs(ours).max() + 5e-5)


@pytest.mark.parametrize("engine", OTHERS)
def test_less_friction_moves_the_state_in_the_same_direction(runs, engine):
    ours, theirs = (effect(runs, "ground", e, "friction_scale") for e in ("mujoco", engine))
    alike = ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs)
    assert alike > {"mjx": 0.999, "bullet": 0.6}[engine]  # bullet's contacts are hard
    assert 0.5 < np.linalg.norm(theirs) / np.linalg.norm(ours) < 2


@pytest.mark.parametrize("engine", OTHERS)
def test_a_nominal_plant_leads_to_the_same_state_in_the_air(runs, engine):
    (c, nominal), (other, _) = runs["air", "mujoco"], runs["air", engine]
    close = {"mjx": 2e-5, "bullet": 5e-3}[engine]
    np.testing.assert_allclose(other(nominal), c(nominal), atol=close)
