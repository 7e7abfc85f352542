"""Stable-Baselines3 as second trainer: on the same MDP, saved in the same format."""

import time
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
from robo_rl.content import UserError
from robo_rl.envs.step import Environment, make
from robo_rl.interop.sb3 import RobotVecEnv, ScaledReward
from robo_rl.policy import Network, Policy, save_policy
from robo_rl.train.config import Ppo, Sac, TrainConfig
from robo_rl.train.run import (
    EVALUATION_SEED,
    RunFolder,
    append_row,
    claim,
    describe,
    evaluate,
    evaluation_row,
    progress_bar,
    training_environment,
)

ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU, "swish": torch.nn.SiLU}
UNCLIPPED = 1e9


def train(config: TrainConfig, console: Console, *, resume: bool = False) -> Path:
    """Trains with SB3 at the same hyperparameters.

    SB3's own checkpoints are pickle, so there is no resume.
    """
    if resume:
        if RunFolder(Path(config.out)).done.is_file():
            return Path(config.out)
        raise UserError(
            f"{config.out}: trainer=sb3 cannot go on (its checkpoints are pickle); train it anew."
        )
    folder = RunFolder(Path(config.out))
    claim(folder, config)
    env = make(config.env, config.reward)
    described = describe(config, env)
    robots = VecNormalize(
        ScaledReward(
            RobotVecEnv(training_environment(config), config.hyper.robots, config.seed),
            config.hyper.reward_scale,
        ),
        norm_reward=False,
        clip_obs=UNCLIPPED,
        gamma=config.hyper.discount,
        epsilon=1e-6,
    )
    model = (
        _ppo(robots, config.hyper, config.seed)
        if isinstance(config.hyper, Ppo)
        else _sac(robots, config.hyper, config.seed)
    )
    with progress_bar(console, config) as show:
        watch = _Watch(config, folder, env, described, show)
        model.learn(config.steps, callback=watch)
    watch.finish()
    save_policy(
        folder.path / "policy", network_of(model), {**described, "steps": int(model.num_timesteps)}
    )
    files.write_json(folder.done, {"steps": int(model.num_timesteps), "train_s": watch.train_s})
    return folder.path


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
        folder: RunFolder,
        env: Environment,
        described: dict[str, Any],
        show: Any,
    ):
        super().__init__()
        self.config, self.folder, self.env, self.described, self.show = (
            config,
            folder,
            env,
            described,
            show,
        )
        self.train_s, self._since, self._steps = 0.0, time.perf_counter(), 0
        self._next = config.steps / config.eval_points if config.eval_points else float("inf")

    def _on_step(self) -> bool:
        if self.num_timesteps >= self._next:
            self._pause()
            self._evaluate()
            self._next += self.config.steps / self.config.eval_points
            self._since = time.perf_counter()
        elif self.num_timesteps - self._steps >= 2000:
            self._pause()
        return True

    def finish(self) -> None:
        """Counts the last stretch of training."""
        self._pause()

    def _pause(self) -> None:
        now = time.perf_counter()
        self.train_s += now - self._since
        entry = {"episode_return": self._mean("r"), "episode_length": self._mean("l")}
        entry["steps_per_s"] = (self.num_timesteps - self._steps) / max(now - self._since, 1e-9)
        append_row(
            self.folder.metrics, {"steps": self.num_timesteps, "train_s": self.train_s, **entry}
        )
        self.show(self.num_timesteps, entry)
        self._since, self._steps = now, self.num_timesteps

    def _mean(self, key: str) -> float:
        recent = [episode[key] for episode in self.model.ep_info_buffer or []]
        return float(np.mean(recent)) if recent else float("nan")

    def _evaluate(self) -> None:
        track = evaluate(
            self.env,
            Policy(network_of(self.model), self.described),
            self.config.eval_episodes,
            EVALUATION_SEED,
        )
        row = {
            "steps": self.num_timesteps,
            "train_s": self.train_s,
            **evaluation_row(track, self.env),
        }
        append_row(self.folder.evaluation, row)
