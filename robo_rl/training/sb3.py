"""Stable-Baselines3 as second trainer: on the same MDP, saved in the same format."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize

from robo_rl import files
from robo_rl.envs.step import Environment, make
from robo_rl.errors import NotFiniteError, UserError
from robo_rl.interop.sb3 import RobotVecEnv, ScaledReward
from robo_rl.policy.stored import Network, Policy, save_policy
from robo_rl.training import health
from robo_rl.training.checkpoint import Progress as Done
from robo_rl.training.config import Ppo, Sac, TrainConfig
from robo_rl.training.folder import RunFolder, claim, demand_free, occupied
from robo_rl.training.interrupt import Interrupt, deferred
from robo_rl.training.log import Log
from robo_rl.training.run import (
    EVALUATION_SEED,
    describe,
    evaluate,
    evaluation_row,
    progress_bar,
    training_environment,
)

ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU, "swish": torch.nn.SiLU}
UNCLIPPED = 1e9
PAUSE_STEPS = 2000  # between two lines of the log


def train(config: TrainConfig, console: Console, *, resume: bool = False) -> Path:
    """Trains with SB3 at the same hyperparameters.

    SB3's own checkpoints are pickle, so there is no resume; Ctrl-C stores the policy of that moment
    and raises KeyboardInterrupt.
    """
    folder = RunFolder(Path(config.out))
    if resume:
        if folder.is_complete(config):
            return folder.path
        raise UserError(
            f"{config.out}: trainer=sb3 cannot go on (its checkpoints are pickle); train it anew."
        )
    demand_free(folder)
    env = make(config.env, config.reward, engine=config.engine)
    described = describe(config, env)
    model = build(config)
    with occupied(folder), deferred() as interrupt:
        claim(folder, config)
        with Log(folder) as log, progress_bar(console, config) as show:
            watch = _Watch(config, env, described, log, show, interrupt)
            _learn(model, config, watch)
            watch.finish()
        steps = int(model.num_timesteps)
        save_policy(folder.policy, network_of(model), {**described, "steps": steps})
        if steps < config.steps:
            console.print(
                f"Stopped at step {steps:,}; the policy of this moment is in {folder.policy}."
                " trainer=sb3 cannot go on with it."
            )
            raise KeyboardInterrupt
        files.write_json(folder.done, {"steps": steps, "train_s": watch.train_s})
    return folder.path


def build(config: TrainConfig) -> BaseAlgorithm:
    """SB3's model over our robots, observations normalised as ours are."""
    hyper = config.hyper
    robots = VecNormalize(
        ScaledReward(
            RobotVecEnv(training_environment(config), hyper.robots, config.seed),
            hyper.reward_scale,
        ),
        norm_reward=False,
        clip_obs=UNCLIPPED,
        gamma=hyper.discount,
        epsilon=1e-6,
    )
    if isinstance(hyper, Ppo):
        return _ppo(robots, hyper, config.seed)
    return _sac(robots, hyper, config.seed)


def _learn(model: BaseAlgorithm, config: TrainConfig, watch: "_Watch") -> None:
    """SB3's loop; a distribution that torch refuses because it is not finite is said as such."""
    try:
        model.learn(config.steps, callback=watch)
    except ValueError as error:
        if all(torch.isfinite(values).all() for values in model.policy.parameters()):
            raise
        raise NotFiniteError(
            f"Training diverged and was stopped at step {model.num_timesteps:,}: the policy's"
            " weights are not finite; a smaller learning_rate is the first thing to try."
        ) from error


def _ppo(robots: VecNormalize, hyper: Ppo, seed: int) -> PPO:
    def rate(left: float) -> float:
        return hyper.final_learning_rate + left * (hyper.learning_rate - hyper.final_learning_rate)

    return PPO(
        "MlpPolicy",
        robots,
        learning_rate=rate,
        n_steps=hyper.unroll,
        batch_size=hyper.robots * hyper.unroll // hyper.minibatches,
        n_epochs=hyper.epochs,
        gamma=hyper.discount,
        gae_lambda=hyper.gae_lambda,
        clip_range=hyper.clip,
        ent_coef=hyper.entropy,
        vf_coef=hyper.value_weight / 2.0,  # brax halves the squared error
        max_grad_norm=hyper.max_gradient_norm,
        seed=seed,
        device="cpu",
        policy_kwargs={
            "net_arch": list(hyper.hidden),
            "activation_fn": ACTIVATIONS[hyper.activation],
            "log_std_init": float(np.log(hyper.initial_std)),
        },
    )


def _sac(robots: VecNormalize, hyper: Sac, seed: int) -> SAC:
    return SAC(
        "MlpPolicy",
        robots,
        learning_rate=hyper.learning_rate,
        buffer_size=min(hyper.replay, hyper.steps),
        learning_starts=hyper.warmup,
        batch_size=hyper.batch,
        tau=hyper.tau,
        gamma=hyper.discount,
        train_freq=1,
        gradient_steps=hyper.updates_per_step,
        target_entropy=-0.5 * robots.action_space.shape[0],  # type: ignore[index]  # as brax has it
        seed=seed,
        device="cpu",
        policy_kwargs={
            "net_arch": list(hyper.hidden),
            "activation_fn": ACTIVATIONS[hyper.activation],
        },
    )


def network_of(model: BaseAlgorithm) -> Network:
    """The deterministic policy of an SB3 PPO or SAC model with its observation normaliser."""
    normaliser: Any = model.get_vec_normalize_env()
    policy: Any = model.policy
    if isinstance(model, PPO):
        stack, last, head = policy.mlp_extractor.policy_net, policy.action_net, "clip"
    else:
        stack, last, head = policy.actor.latent_pi, policy.actor.mu, "tanh"
    linear = [m for m in stack if isinstance(m, torch.nn.Linear)] + [last]
    names = {kind: name for name, kind in ACTIVATIONS.items()}
    activation = next(names[type(m)] for m in stack if type(m) in names)
    return Network(
        mean=normaliser.obs_rms.mean.astype(np.float32),
        std=np.sqrt(normaliser.obs_rms.var + normaliser.epsilon).astype(np.float32),
        clip=np.inf,
        weights=tuple(m.weight.detach().numpy().T.copy() for m in linear),
        biases=tuple(m.bias.detach().numpy().copy() for m in linear),
        activation=activation,
        head=head,
    )


class _Watch(BaseCallback):
    """Logs, evaluates and shows progress while SB3 runs its own loop."""

    def __init__(
        self,
        config: TrainConfig,
        env: Environment,
        described: dict[str, Any],
        log: Log,
        show: Callable[[int, dict[str, float]], None],
        interrupt: Interrupt,
    ):
        super().__init__()
        self.config, self.env, self.described = config, env, described
        self.log, self.show, self.interrupt = log, show, interrupt
        self.train_s, self._since, self._steps = 0.0, time.perf_counter(), 0
        self._every = config.steps / config.eval_points if config.eval_points else float("inf")
        self._next = self._every

    def _on_step(self) -> bool:
        if self._next <= self.num_timesteps < self.config.steps:
            self._pause()
            self._evaluate()
            self._next += self._every
            self._since = time.perf_counter()
        elif self.num_timesteps - self._steps >= PAUSE_STEPS:
            self._pause()
        return not self.interrupt.asked

    def finish(self) -> None:
        """Counts the last stretch of training and evaluates the policy that stays."""
        self._pause()
        health.demand_finite(network_of(self.model), self.num_timesteps)
        if self.config.eval_points:
            self._evaluate()

    def _pause(self) -> None:
        now = time.perf_counter()
        self.train_s += now - self._since
        entry = {"episode_return": self._mean("r"), "episode_length": self._mean("l")}
        entry["steps_per_s"] = (self.num_timesteps - self._steps) / max(now - self._since, 1e-9)
        self.log.training(Done(self.num_timesteps, self.train_s), entry)
        self.show(self.num_timesteps, entry)
        self._since, self._steps = now, self.num_timesteps

    def _mean(self, key: str) -> float:
        recent = [episode[key] for episode in self.model.ep_info_buffer or []]
        return float(np.mean(recent)) if recent else float("nan")

    def _evaluate(self) -> None:
        policy = Policy(network_of(self.model), self.described)
        track = evaluate(self.env, policy, self.config.eval_episodes, EVALUATION_SEED)
        done = Done(self.num_timesteps, self.train_s)
        self.log.evaluation(done, evaluation_row(track, self.env))
