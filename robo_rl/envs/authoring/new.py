"""Bring your own robot: a robot folder, a reward file and an MDP from a MJCF or URDF file."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.console import Console

from robo_rl import content, errors
from robo_rl.envs import mdp
from robo_rl.files import write_text
from robo_rl.robots import anatomy
from robo_rl.robots.published import Base, Published, read_published, write_files

CONTROL_HZ, EPISODE_S = 50.0, 10.0
TRIAL_S, TRIAL_SHARE = 0.5, 0.3  # a robot that cannot be simulated this long is refused
FREE = int(mujoco.mjtJoint.mjJNT_FREE)


def run(
    name: str,
    source: Path,
    base: Any,
    effort: float | None,
    to: Any,
    console: Console,
) -> None:
    """The command `envs new`: writes, loads what was written, takes a step, prints the MDP."""

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    folder = Path(str(to or "robots"))
    if base not in (None, "free", "fixed"):
        raise errors.UserError(f"envs new: base={base}: free or fixed.")
    written = create(name, source, folder, base=base, effort=effort, say=say)
    console.print(try_out(name, folder, written))
    for path in written:
        say(str(path))
    say(
        f"Next: export ROBO_RL_ENVS={folder}; robo-rl envs check {name}; robo-rl train env={name}"
        " algo=ppo"
    )


def create(
    name: str,
    source: Path,
    folder: Path,
    *,
    base: Base | None = None,
    effort: float | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Writes envs/<name>/, rewards/<name>.yaml and <name>.py into a folder; the files written.

    base and effort: see read_published. say: told every warning and everything that was assumed.

    Raises UserError naming the element of the model that cannot serve; nothing is written then.
    """
    _check_name(name, folder)
    published = read_published(source, base, motors=True, effort=effort)
    _check(published, source)
    _try(published, source)
    own = folder / "envs" / name
    values = _describe(name, source, published)
    texts = {
        own / "robot.yaml": _render("robot.yaml.j2", values),
        own / "CARD.md": _render("card.md.j2", values),
        folder / "rewards" / f"{name}.yaml": _render("rewards.yaml.j2", values),
        folder / f"{name.replace('-', '_')}.py": _render("mdp.py.j2", values),
    }
    for line in (*published.warnings, *published.assumed):
        say(line)
    written = write_files(published, own)
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    return [*written, *texts]


def try_out(name: str, folder: Path, written: list[Path]) -> Any:
    """Loads what create() wrote and takes a step in it; the table of its MDP.

    What cannot be loaded or stepped is taken away again, and a UserError says why.
    """
    import jax
    import jax.numpy as jnp

    from robo_rl.envs.authoring.printing import mdp_table
    from robo_rl.envs.step import make

    try:
        with _own(folder):
            env = make(name, "safety")
            state = jax.jit(env.reset)(jax.random.key(0))
            state = jax.jit(env.step)(state, jnp.zeros(env.action_size))
            if bool(state.error):
                raise errors.UserError(f"{name}: a step from home gives numbers not finite.")
            return mdp_table(name)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        shutil.rmtree(folder / "envs" / name, ignore_errors=True)
        raise


@contextlib.contextmanager
def _own(folder: Path) -> Iterator[None]:
    """The folder among those in which environments of one's own are looked for."""
    before = os.environ.get(content.OWN)
    os.environ[content.OWN] = os.pathsep.join(filter(None, (before, str(folder))))
    try:
        yield
    finally:
        if before is None:
            del os.environ[content.OWN]
        else:
            os.environ[content.OWN] = before


def _check_name(name: str, folder: Path) -> None:
    words = name.replace("-", "_")
    if not words.isidentifier() or not words.islower():
        raise errors.UserError(f"envs new: {name!r}: use lower-case letters, digits and dashes.")
    if name in mdp.ENTRIES or name in content.robot_files():
        raise errors.UserError(f"envs new: the name {name!r} is taken; see robo-rl envs.")
    if (folder / "envs" / name).exists():
        raise errors.UserError(f"envs new: {folder / 'envs' / name} is already there.")


def _check(published: Published, source: Path) -> None:
    """Refuses what the suite cannot drive or report, by the element's name."""
    model = published.model
    names = ", ".join(repr(model.joint(i).name) for i in range(model.njnt))
    if not model.nu:
        raise errors.UserError(
            f"{source}: no <actuator>: a policy needs at least one. Its joints are {names}."
        )
    if published.undriven:
        raise errors.UserError("\n".join(f"{source}: {why}" for why in published.undriven))
    base = model.body(published.base_body).id
    joint = anatomy.base_joint(model, base)
    if joint:
        raise errors.UserError(
            f"{source}: joint {model.joint(joint).name!r}: a free joint of the robot must be the"
            " first joint."
        )


def _try(published: Published, source: Path) -> None:
    """Simulates small random commands; a model that flies apart is refused by its fastest joint."""
    model, data = published.model, mujoco.MjData(published.model)
    data.qpos[:], data.act[:] = published.home.qpos, published.home.act
    low, high = model.actuator_ctrlrange.T
    rng = np.random.default_rng(0)
    for _ in range(round(TRIAL_S / model.opt.timestep)):
        share = TRIAL_SHARE * rng.uniform(-1, 1, model.nu)
        data.ctrl[:] = (low + high) / 2 + share * (high - low) / 2
        before = data.qvel.copy()
        mujoco.mj_step(model, data)
        if not np.isfinite(data.qacc).all() or any(data.warning[k].number for k in _BAD):
            worst = int(np.argmax(np.abs(before)))
            joint = model.joint(int(model.dof_jntid[worst])).name
            raise errors.UserError(
                f"{source}: joint {joint!r}: the simulation diverges within {data.time:.3f} s"
                f" (timestep {model.opt.timestep:g} s). A smaller timestep, armature or damping"
                " may mend it."
            )


_BAD = tuple(
    int(getattr(mujoco.mjtWarning, f"mjWARN_{name}")) for name in ("BADQPOS", "BADQVEL", "BADQACC")
)


def _describe(name: str, source: Path, published: Published) -> dict[str, Any]:
    model, home = published.model, published.home
    base = model.body(published.base_body).id
    floating = anatomy.base_joint(model, base) is not None
    ground = published.ground_m
    mass_kg = float(model.body_mass[anatomy.own_bodies(model, base)].sum())
    return {
        "name": name,
        "function": name.replace("-", "_"),
        "source": source.name,
        "main": published.main,
        "changes": [_in_one_line(change) for change in published.changes],
        "assumed": published.assumed,
        "joints": int((model.jnt_type != FREE).sum()),
        "mass": f"{mass_kg:.3g} kg",
        "base_body": published.base_body,
        "ground": published.ground,
        "home": _listed(home.qpos),
        "home_act": _listed(home.act) if home.act.any() else "",
        "home_ctrl": _listed(home.ctrl) if home.ctrl is not None else "",
        "fall_m": float(ground + 0.4 * (home.qpos[2] - ground)) if floating else 0.0,
        "floating": floating,
        "limited": bool(model.jnt_limited.any()),
        "timestep": repr(float(model.opt.timestep)),
        "substeps": max(1, round(1.0 / (CONTROL_HZ * model.opt.timestep))),
        "episode_s": EPISODE_S,
        "profile": "legged" if floating else "joint-driven",
    }


def _in_one_line(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).strip()


def _listed(numbers: np.ndarray) -> str:
    return ", ".join(repr(float(x)) for x in numbers)


def _render(template: str, values: dict[str, Any]) -> str:
    templates = Environment(
        loader=PackageLoader("robo_rl.envs.authoring"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["number"] = _number
    return templates.get_template(template).render(values)


_number: Callable[[float], str] = "{:.6g}".format
