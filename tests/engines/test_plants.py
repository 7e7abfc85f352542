"""A plant means the same on every engine: each field moves the state as it does in C MuJoCo."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from robo_rl.engines import ENGINES
from robo_rl.engines.base import Tracking, nominal_plant
from tests.conftest import PLANT_CHANGES

SUBSTEPS = 4
TOLERANCE = {"mjx": 0.02, "bullet": 0.1}  # bullet: an integrator of first order
OTHERS = sorted(TOLERANCE)
LEG_M, FOOT_M = 0.4, 0.05
MODEL = f"""
<mujoco><compiler angle="radian"/>
<option timestep="0.002" integrator="Euler" density="1.2" viscosity="1e-3"/>
<worldbody>
  <geom name="floor" type="plane" size="9 9 1" contype="1" conaffinity="2"/>
  <body name="trunk" pos="0 0 {LEG_M + FOOT_M}">
    <joint name="along" type="slide" axis="1 0 0"/>
    <joint name="up" type="slide" axis="0 0 1"/>
    <geom type="capsule" fromto="-0.1 0 0 0.1 0 0" size="0.08" mass="3" contype="0"
      conaffinity="0"/>
    <body name="leg">
      <joint name="hip" axis="0 1 0" damping="1" armature="0.05" frictionloss="0.1"/>
      <geom type="capsule" fromto="0 0 0 0 0 {-LEG_M}" size="0.04" mass="1" contype="0"
        conaffinity="0"/>
      <geom name="foot" type="capsule" fromto="-0.1 0 {-LEG_M} 0.1 0 {-LEG_M}" size="{FOOT_M}"
        mass="0.2" contype="2" conaffinity="1"/>
    </body>
  </body>
</worldbody>
<actuator><motor joint="hip" gear="5" ctrlrange="-1 1" forcerange="-1 1"/></actuator>
<sensor><contact name="foot" geom1="floor" geom2="foot" reduce="netforce" data="force"/></sensor>
</mujoco>"""
STARTS = {"air": (0.0, 0.5, -0.2), "ground": (0.0, -0.01, 0.0)}  # m, m, rad; sunk by 1 cm
STATE = slice(0, 6)
FOOT_N = slice(9, 12)  # after the state and the force of the constraints


def last_sample(engine):
    """What a robot of one leg shows two control steps on, by its start and its plant."""
    model = mujoco.MjModel.from_xml_string(MODEL)
    made = ENGINES[engine](model, SUBSTEPS, Tracking(1))
    ctrl = jnp.full((SUBSTEPS, model.nu), 0.3)

    @jax.jit
    def run(qpos, plant):
        physics_state, _ = made.reset(qpos, jnp.full(model.nv, 0.3), plant, jnp.bool_(True))

        def onward(physics_state, _):
            return made.step(physics_state, ctrl, None, plant, jnp.bool_(True))

        return jax.lax.scan(onward, physics_state, None, length=2)[1].samples[-1, -1]

    def shown(case, plant):
        return np.asarray(run(jnp.array(STARTS[case]), plant), np.float64)

    return shown, nominal_plant(model)


@pytest.fixture(scope="module")
def runs():
    return {engine: last_sample(engine) for engine in ("mujoco", *OTHERS)}


def effect(runs, case, engine, field):
    """What a change of a plant field adds to the state."""
    run, nominal = runs[engine]
    change = np.full_like(getattr(nominal, field), np.float32(PLANT_CHANGES[field]))
    return (run(case, nominal._replace(**{field: change})) - run(case, nominal))[STATE]


@pytest.mark.parametrize("engine", OTHERS)
@pytest.mark.parametrize("field", [f for f in PLANT_CHANGES if f != "friction_scale"])
def test_a_plant_field_moves_the_state_as_it_does_in_c(runs, engine, field):
    ours, theirs = effect(runs, "air", "mujoco", field), effect(runs, "air", engine, field)
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
    (c, nominal), (other, _) = runs["mujoco"], runs[engine]
    close = {"mjx": 2e-5, "bullet": 5e-3}[engine]
    np.testing.assert_allclose(other("air", nominal)[STATE], c("air", nominal)[STATE], atol=close)


def test_mjx_sums_the_contact_forces_of_a_foot_as_c_does(runs):
    (c, nominal), (x, _) = runs["mujoco"], runs["mjx"]
    ours, theirs = c("ground", nominal)[FOOT_N], x("ground", nominal)[FOOT_N]
    assert abs(ours[2]) > 10.0
    np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=0.05)
