"""The one console command, robo-rl: every job of the suite as key=value words over a preset."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from robo_rl.content import UserError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Decide whether a learned controller may go on a machine.",
    pretty_exceptions_enable=False,
)
Words = Annotated[list[str] | None, typer.Argument(metavar="[key=value]...", show_default=False)]
console = Console()
ERROR = 3


@app.command()
def envs(
    name: Annotated[str | None, typer.Argument(help="Print this environment's MDP.")] = None,
) -> None:
    """List the environments, or print the MDP of one as a table."""
    from robo_rl.envs import mdp, printing, step  # noqa: F401

    console.print(printing.mdp_table(name) if name else printing.list_table())


@app.command()
def train(words: Words = None) -> None:
    """Train a policy into a run folder.

    robo-rl train env=hopper algo=ppo reward=task seed=0 steps=1000000 out=DIR

    env (required): see robo-rl envs. algo (required): ppo, sac. reward: task, energy, safety.
    trainer: jax, sb3. Hyperparameters: ppo.learning_rate=3e-4 and so on, over configs/ppo.yaml.
    resume=DIR goes on with a run, bit for bit.
    """
    from robo_rl.train import config, run

    given = config.parse(words or [])
    if "resume" in given:
        if len(given) > 1:
            raise UserError("train: resume=DIR takes no other key; the run goes on as it was configured.")
        resolved = run.load_config(Path(str(given["resume"])))
        resolved = resolved.model_copy(update={"out": str(given["resume"])})
        _train(resolved, resume=True)
    else:
        _train(config.resolve(given), resume=False)


def _train(resolved: Any, *, resume: bool) -> None:  # noqa: ANN401
    from robo_rl.train import run

    if resolved.trainer == "sb3":
        from robo_rl.train import sb3

        folder = sb3.train(resolved, console, resume=resume)
    else:
        folder = run.train(resolved, console, resume=resume)
    rows = run.read_rows(folder / "evaluation.csv")
    if rows:
        last = rows[-1]
        console.print(
            f"Deterministic evaluation at step {last['steps']:,.0f}: return {last['return_mean']:.1f} "
            f"(task layer {last['task_return_mean']:.1f}), falls {100 * last['falls']:.0f} %, "
            f"{last['episodes']:.0f} episodes."
        )
    console.print(f"Run folder: {folder}")


def main() -> None:
    """Runs the command line; a user's mistake ends with its message and exit code 3."""
    try:
        app(standalone_mode=False)
    except UserError as error:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {_escaped(str(error))}")
        sys.exit(ERROR)
    except KeyboardInterrupt:
        sys.exit(130)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except Exception as error:
        import click

        if not isinstance(error, click.ClickException):
            raise
        error.show()
        sys.exit(ERROR)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


if __name__ == "__main__":
    main()
