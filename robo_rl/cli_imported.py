"""Commands for policies that people already have: import, wiring, and runs side by side."""

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from robo_rl import words as words_of
from robo_rl.errors import NotFiniteError, UserError
from robo_rl.terminal import coloured, console, steps_bar
from robo_rl.verdicts import exit_of_grades

Words = Annotated[list[str] | None, typer.Argument(metavar="[key=value]...", show_default=False)]


def import_run(
    source: Annotated[
        str | None,
        typer.Argument(help="A deployment file, a mapping, a policy file, or module:function."),
    ] = None,
    words: Words = None,
    template: Annotated[bool, typer.Option(help="Print a mapping to fill in.")] = False,
    schema: Annotated[bool, typer.Option(help="Print the JSON Schema of a mapping.")] = False,
) -> None:
    """Make a run folder of the policy and robot that you have; safety, gap and so on take it.

    robo-rl import deploy/deploy_mujoco/configs/g1.yaml out=RUN     (unitree_rl_gym, forks)

    robo-rl import deploy.yaml robot=scene.xml policy=policy.onnx out=RUN     (unitree_rl_lab)

    robo-rl import IO_descriptors.yaml robot=scene.xml policy=policy.onnx out=RUN  (Isaac Lab)

    robo-rl import policy.onnx robot=scene.xml out=RUN     (mjlab: its metadata is in the file)

    robo-rl import policy.onnx robot=scene.xml mapping=mapping.yaml out=RUN   (anything else)

    robo-rl import model.zip env=hopper out=RUN     (trained on an environment of the suite)

    Keys: out (required), robot (MJCF or URDF), policy (.onnx, TorchScript .pt, .pt2 of
    torch.export, rsl_rl checkpoint, SB3 zip, Brax parameters, module:function), mapping, env,
    reward, base (free, fixed), golden (.npz to compare with), trust (true runs the code of
    module:function), and initial, forward_mps, sideways_mps, turn_radps of the command, as
    [0.5,0,0] and [-1,1].
    Writes RUN/import.json and RUN/import/report.html: what was read where, what was assumed, a
    trial of 20 s without disturbance, and the command response.
    """
    from robo_rl.importing import command

    if template or schema:
        typer.echo(command.template() if template else command.schema())
        return
    if source is None:
        raise UserError("import: give a deployment file, a mapping or a policy; see --help.")
    asked = command.asked(source, words_of.keys(words, command.KEYS, "import"))
    with steps_bar("Trial") as show:
        done = command.run(asked, shlex.join(["robo-rl", "import", source, *(words or [])]), show)
    for line in done.lines:
        console.print(escape(line), highlight=False, soft_wrap=True)
    console.print(f"Report: {escape(str(done.page))}", soft_wrap=True)
    console.print(f"Run folder: {escape(str(asked.out))}", soft_wrap=True)
    if done.crashed:
        raise NotFiniteError("import: the policy gives numbers that are not finite in its trial.")


def wiring(run: Annotated[Path, typer.Argument(help="A run folder.")], words: Words = None) -> None:
    """What every wiring mistake would do to an imported policy, and which test would show it.

    robo-rl wiring RUN

    Keys: seed, out, fail_on. Exit status 1 where a mistake does harm that no test on a stand shows
    (RED), else 0; fail_on=amber counts those that a test shows too.
    """
    from robo_rl.report import page
    from robo_rl.sim2real import wiring as wirings
    from robo_rl.sim2real import wiring_report

    given = words_of.keys(words, ("seed", "out", "fail_on"), "wiring")
    fail_on = words_of.grade(given, "wiring")
    seed = words_of.seed(given, wirings.SEED)
    folder = Path(str(given.get("out", run / wiring_report.FOLDER)))
    page.claim(folder)
    with steps_bar("Wiring table") as show:
        result = wirings.wiring(run, show, seed)
    path = wiring_report.write(result, folder, words_of.command("wiring", run, words))
    table = Table("mistake", "", "what happens", title=f"Wiring of {result.env.name}")
    for row in wiring_report.ranked(result):
        table.add_row(escape(row.mistake), coloured(row.grade), escape(row.words))
    console.print(table)
    console.print(wiring_report.headline(result), highlight=False, markup=False, soft_wrap=True)
    console.print(f"Report: {escape(str(path))}", soft_wrap=True)
    raise typer.Exit(exit_of_grades(wiring_report.grades_of(result), fail_on))


def compare_runs(words: list[str] | None) -> None:
    """Policies that are there already, side by side on the same episodes."""
    from robo_rl.report import page
    from robo_rl.safety_eval import versus

    given = words_of.keys(words, ("runs", "episodes", "seed", "out"), "compare")
    listed = given["runs"] if isinstance(given["runs"], list) else str(given["runs"]).split(",")
    runs = [Path(str(word).strip()) for word in listed]
    folder = Path(str(given.get("out", runs[0] / "compare")))
    episodes = words_of.count(given, "episodes", versus.EPISODES, least=2)
    seed = words_of.seed(given, versus.SEED)
    page.claim(folder)
    with steps_bar("Comparison") as show:
        result = versus.versus(runs, episodes, seed, show)
    path = versus.write(result, folder, words_of.command("compare", None, words))
    table = Table("metric", *(run.name for run in runs), title=f"Runs on {result.env.name}")
    for line in result.lines:
        cells = [
            f"{value.point:.3g} {versus.verdict_of(line, k)}" for k, value in enumerate(line.values)
        ]
        table.add_row(f"{line.metric}, {line.unit}", *map(escape, cells))
    console.print(table)
    console.print(versus.headline(result), highlight=False, markup=False, soft_wrap=True)
    console.print(f"Report: {escape(str(path))}", soft_wrap=True)
