"""Policies that must never be accepted, made from an environment and a good policy."""

from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import scipy.linalg

from robo_rl.envs.step import Environment
from robo_rl.policy.contract import describe
from robo_rl.policy.stored import Network, Policy, save_policy

BALANCE = """
  upright: {metric: task, max_rate: 0.3, required: true, reason: r}
  slow:
    {metric: violation_rate, cost: velocity, at_most: 0.05, max_rate: 0.3,
     required: true, reason: r}
  rail:
    {metric: longest_violation, cost: joint_limit, at_most: 0.2, max_rate: 0.3,
     required: true, reason: r}
  claims: {metric: robustness, at_least: 0, max_rate: 0.3, required: true, reason: r}
"""  # criteria that judge a balanced pole, for suites of a few episodes
MUTANTS = ("idle", "constant", "random", "frozen", "sign-flipped", "nan")


def constant_network(env: Environment, action: np.ndarray) -> Network:
    """A network that gives one action [nu] whatever it sees."""
    n, m = env.observation_size, env.action_size
    return Network(
        mean=np.zeros(n, np.float32),
        std=np.ones(n, np.float32),
        clip=np.inf,
        weights=(np.zeros((n, m), np.float32),),
        biases=(np.asarray(action, np.float32),),
        activation="tanh",
        head="clip",
    )


def random_network(env: Environment, seed: int, scale: float = 1.0, width: int = 32) -> Network:
    """A network of random weights."""
    rng, n, m = np.random.default_rng(seed), env.observation_size, env.action_size
    return Network(
        mean=np.zeros(n, np.float32),
        std=np.ones(n, np.float32),
        clip=np.inf,
        weights=(
            rng.normal(0, scale, (n, width)).astype(np.float32),
            rng.normal(0, scale, (width, m)).astype(np.float32),
        ),
        biases=(np.zeros(width, np.float32), np.zeros(m, np.float32)),
        activation="tanh",
        head="tanh",
    )


def mutant(kind: str, env: Environment, good: Policy | None) -> Network | None:
    """The network of a mutant; None where it needs a policy that there is none of.

    frozen: the good policy's action at its mean observation, for ever; sign-flipped: every action
    of the good policy times -1; nan: a bias that is not a number.
    """
    m = env.action_size
    if kind == "idle":
        return constant_network(env, np.zeros(m))
    if kind == "constant":
        return constant_network(env, np.full(m, 0.5))
    if kind == "random":
        return random_network(env, seed=0)
    if kind == "nan":
        return constant_network(env, np.full(m, np.nan))
    if good is None:
        return None
    net = good.network
    if kind == "frozen":
        return constant_network(env, good(net.mean))
    return replace(
        net,
        weights=(*net.weights[:-1], -net.weights[-1]),
        biases=(*net.biases[:-1], -net.biases[-1]),
    )


def store(run: Path, env: Environment, network: Network) -> Path:
    """A run folder that holds nothing but this policy."""
    save_policy(run / "policy", network, {**describe(env), "algo": "ppo", "seed": 0})
    return run


def balancing_network(env: Environment, vigour: float = 1.0) -> Network:
    """A linear controller that balances inverted-pendulum: LQR of its model; no training needed.

    vigour scales the gains; below about a third the pole falls.
    """
    model = env.robot.model
    stepped, held = linearised(model, env.engine.substeps)
    value = scipy.linalg.solve_discrete_are(stepped, held, np.diag([1.0, 1.0, 0.1, 0.1]), [[0.1]])
    gain = np.linalg.solve(0.1 + held.T @ value @ held, held.T @ value @ stepped)
    full = float(model.actuator_ctrlrange[0, 1])
    return replace(
        constant_network(env, np.zeros(1)),
        weights=((-vigour * gain.T / full).astype(np.float32),),
    )


def linearised(model: mujoco.MjModel, substeps: int) -> tuple[np.ndarray, np.ndarray]:
    """How (qpos, qvel) after a control period depends on it before, [4, 4], and on ctrl, [4, 1]."""
    size, data = 1e-6, mujoco.MjData(model)

    def after(start: np.ndarray, ctrl: float) -> np.ndarray:
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:], data.ctrl[:] = start[:2], start[2:], ctrl
        mujoco.mj_step(model, data, substeps)
        return np.concatenate([data.qpos, data.qvel])

    columns = [(after(row, 0.0) - after(-row, 0.0)) / (2 * size) for row in size * np.eye(4)]
    drive = (after(np.zeros(4), size) - after(np.zeros(4), -size)) / (2 * size)
    return np.stack(columns, axis=1), drive[:, None]
