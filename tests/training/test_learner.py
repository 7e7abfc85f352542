"""The training loops as compiled functions."""

import jax
import pytest

from robo_rl.envs.step import make
from robo_rl.training.config import resolve
from robo_rl.training.ppo import ppo
from robo_rl.training.sac import sac


@pytest.mark.parametrize(("algo", "build"), [("ppo", ppo), ("sac", sac)])
@pytest.mark.parametrize("name", ["hopper", "rover-navigate"])
def test_one_compilation_serves_the_first_and_every_later_call(algo, build, name):
    learner = build(make(name), resolve({"env": name, "algo": algo}).hyper)
    begun = jax.eval_shape(learner.init, jax.random.key(0))
    onward, _ = jax.eval_shape(learner.advance, begun)
    signature = lambda state: jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), state)  # noqa: E731
    assert signature(onward) == signature(begun)
