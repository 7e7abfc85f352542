"""MJX follows C MuJoCo, repeats itself, and sums contacts as C does."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from robo_rl.engines.base import nominal_plant
from robo_rl.envs.step import make

LOWERED_M = 0.05  # the hopper's foot then touches the ground


@pytest.fixture(scope="module")
def hoppers():
    """The hopper on both engines: jitted (state of one robot after two steps, a foot's force)."""

    def runner(env):
        qpos = jnp.asarray(env.robot.qpos0, jnp.float32).at[1].add(-LOWERED_M)
        qvel = jnp.full(env.robot.model.nv, 0.3)
        ctrl = jnp.full((env.engine.substeps, env.action_size), 0.3)

        def run(plant):
            bits, _ = env.engine.reset(qpos, qvel, plant, jnp.bool_(True))
            onward = lambda bits, _: env.engine.step(bits, ctrl, None, plant, jnp.bool_(True))  # noqa: E731
            bits, readouts = jax.lax.scan(onward, bits, None, length=2)
            return readouts.samples[-1, -1]

        return jax.jit(run)

    c, x = make("hopper"), make("hopper", engine="mjx")
    return runner(c), runner(x), nominal_plant(c.robot.model), c.robot.model


def test_contact_forces_are_summed_as_c_sums_them(hoppers):
    c, x, nominal, model = hoppers
    foot = slice(model.nq + 2 * model.nv, model.nq + 2 * model.nv + 3)
    ours, theirs = np.asarray(c(nominal))[foot], np.asarray(x(nominal))[foot]
    assert abs(ours[2]) > 10.0  # newtons
    np.testing.assert_allclose(theirs, ours, rtol=0.2, atol=10.0)  # RK4: MJX's are a stage later


def test_hundred_steps_stay_together_and_repeat_to_the_last_bit():
    c, x = make("inverted-pendulum"), make("inverted-pendulum", engine="mjx")

    def run(env):
        def unroll(bits):
            start = env.engine.reset(jnp.array([0.0, 0.1]), jnp.zeros(2), None, jnp.bool_(True))[0]
            actions = jnp.sin(jnp.arange(100.0))[:, None]

            def one(bits, action):
                ctrl = jnp.broadcast_to(action, (env.engine.substeps, 1))
                bits, readout = env.engine.step(bits, ctrl, None, None, jnp.bool_(True))
                return bits, readout.samples[-1, :4]

            return jax.lax.scan(one, start, actions)[1] + 0 * bits

        return np.asarray(jax.jit(unroll)(jnp.float32(0.0)))

    ours, theirs = run(c), run(x)
    np.testing.assert_allclose(theirs[:20], ours[:20], atol=1e-4)
    np.testing.assert_array_equal(theirs, run(x))


def test_a_pgs_model_is_solved_by_newton_on_mjx_and_left_alone_in_c():
    env = make("humanoid", engine="mjx")
    solver = env.engine.bare[0].opt.solver
    assert int(solver) == mujoco.mjtSolver.mjSOL_NEWTON
    assert env.robot.model.opt.solver == mujoco.mjtSolver.mjSOL_PGS
