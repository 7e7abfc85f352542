"""MDPs as tables for the terminal: state, action, reward, termination, constraints."""

import mujoco
import numpy as np
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from robo_rl.engines.base import nominal_force_limit
from robo_rl.envs import mdp
from robo_rl.envs.step import make
from robo_rl.registry import load_own
from robo_rl.rewards.layers import LAYERS, Weighted

HINGE = int(mujoco.mjtJoint.mjJNT_HINGE)


def list_table() -> Table:
    """Every registered environment with its robot, rate and episode length."""
    table = Table(
        "environment", "what it is", "control", "episode", "equal to", title="Environments"
    )
    load_own()
    for name in mdp.names():
        entry = mdp.ENTRIES[name]
        declared = entry.make()
        doc = (entry.make.__doc__ or "").strip().splitlines()[0]
        row = (
            f"{declared.control_hz:g} Hz",
            f"{declared.episode_s:g} s = {declared.episode_steps} steps",
        )
        table.add_row(name, doc, *row, declared.gymnasium_id or "")
    return table


def mdp_table(name: str) -> Group:
    """One environment's MDP: observation, action, reward layers, ends, costs, reset."""
    env = make(name, "safety")
    seen = Table("observation", "unit", "size", title=f"{name}: {env.robot.file.describe}")
    for entry, size in zip(env.mdp.observe, env.observation_sizes, strict=True):
        seen.add_row(entry.name, entry.unit, str(size))
    acts = Table("action in [-1, 1]", "drives", "control range", "largest force or torque")
    model = env.robot.model
    for i, actuator in enumerate(env.robot.actuator_names):
        low, high = model.actuator_ctrlrange[i]
        largest = np.abs(model.actuator_gear[i]).max() * nominal_force_limit(model)[i]
        dof = env.robot.driven_dofs[i]
        turns = dof >= 0 and int(model.jnt_type[model.dof_jntid[dof]]) == HINGE
        row = (f"[{low:g}, {high:g}]", f"{largest:g} {'N m' if turns else 'N'}")
        acts.add_row(actuator, env.robot.driven_names[i], *row)
    return Group(seen, acts, _rewards(env.rewards.weighted), _costs(env.rewards.costs), _rest(env))


def _rewards(weighted: tuple[Weighted, ...]) -> Table:
    title = "Reward: a layer includes those above it"
    table = Table("reward layer", "term", "weight", "pays per step", "meaning", title=title)
    for layer in LAYERS:
        for w in (w for w in weighted if w.layer == layer):
            pays = escape(_range(w.bounds))
            table.add_row(layer, _label(w), f"{w.weight:+g}", pays, escape(_meaning(w)))
    return table


def _costs(costs: tuple[Weighted, ...]) -> Table:
    table = Table("constraint (cost)", "meaning")
    for c in costs:
        table.add_row(_label(c), escape(_meaning(c)))
    return table


def _label(w: Weighted) -> str:
    """The name of a line, and that of its term where it is another."""
    term = w.term.__name__
    return w.name if w.name == term else f"{w.name} = {term}"


def _range(bounds: tuple[float, float]) -> str:
    """An interval; what has no end is open on that side."""
    low, high = bounds
    left = "(" if np.isinf(low) else "["
    return f"{left}{low:g}, {high:g}{')' if np.isinf(high) else ']'}"


def _meaning(w: Weighted) -> str:
    doc = (w.term.__doc__ or "").strip().splitlines()[0]
    numbers = ", ".join(f"{k}={v:g}" for k, v in w.parameters.items())
    return f"{doc} [{numbers}]" if numbers else doc


def _rest(env) -> Text:  # noqa: ANN001
    goal = ""
    if env.mdp.goal:
        wanted = env.mdp.goal
        goal = (
            f"Goal: {wanted.name}; met when the {wanted.judged_by.replace('_', ' ')} is at most"
            f" {wanted.tolerance:g} {wanted.error_unit}\n"
        )
    ends = " or ".join(end.name for end in env.mdp.terminate) or "never"
    return Text(
        f"{goal}Terminated when: {ends}\n"
        f"Truncated after: {env.mdp.episode_s:g} s = {env.mdp.episode_steps} steps\n"
        f"Reset: {env.mdp.reset.name}\n"
        f"Control {env.mdp.control_hz:g} Hz, physics {1 / env.substep_s:g} Hz"
    )
