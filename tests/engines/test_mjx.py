"""MJX follows C MuJoCo and repeats itself."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from robo_rl.envs.step import make


def test_hundred_steps_stay_together_and_repeat_to_the_last_bit():
    c, x = make("inverted-pendulum"), make("inverted-pendulum", engine="mjx")

    def run(env):
        def unroll(physics_state):
            start = env.engine.reset(jnp.array([0.0, 0.1]), jnp.zeros(2), None, jnp.bool_(True))[0]
            actions = jnp.sin(jnp.arange(100.0))[:, None]

            def one(physics_state, action):
                ctrl = jnp.broadcast_to(action, (env.engine.substeps, 1))
                physics_state, readout = env.engine.step(
                    physics_state, ctrl, None, None, jnp.bool_(True)
                )
                return physics_state, readout.samples[-1, :4]

            return jax.lax.scan(one, start, actions)[1] + 0 * physics_state

        jitted = jax.jit(unroll)
        return np.asarray(jitted(jnp.float32(0.0))), np.asarray(jitted(jnp.float32(0.0)))

    (ours, _), (theirs, again) = run(c), run(x)
    np.testing.assert_allclose(theirs[:20], ours[:20], atol=1e-4)
    np.testing.assert_array_equal(theirs, again)


def test_a_pgs_model_is_solved_by_newton_on_mjx_and_left_alone_in_c():
    env = make("humanoid", engine="mjx")
    solver = env.engine.bare[0].opt.solver
    assert int(solver) == mujoco.mjtSolver.mjSOL_NEWTON
    assert env.robot.model.opt.solver == mujoco.mjtSolver.mjSOL_PGS
