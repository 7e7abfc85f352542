"""The one console command, robo-rl: every job of the suite as key=value words over a preset."""

import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from robo_rl import cli_imported, extras
from robo_rl import words as words_of
from robo_rl.errors import NotFiniteError, UserError
from robo_rl.terminal import (
    checklist_table,
    coloured,
    console,
    gap_table,
    hear_ctrl_c,
    safety_tables,
    show_replay,
    steps_bar,
)
from robo_rl.verdicts import Exit, Verdict, exit_of_grades

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Decide whether a learned controller may go on a machine.",
    pretty_exceptions_enable=False,
)
Words = Annotated[list[str] | None, typer.Argument(metavar="[key=value]...", show_default=False)]


@app.command()
def envs(
    name: Annotated[str | None, typer.Argument(help="An environment, new, or check.")] = None,
    words: Annotated[list[str] | None, typer.Argument(metavar="[NAME] [key=value]...")] = None,
    mjcf: Annotated[Path | None, typer.Option(help="MJCF or URDF file of a new robot.")] = None,
) -> None:
    """List the environments, print one, check one, or make one of your own robot.

    robo-rl envs hopper              its MDP: observation, action, rewards, costs, ends

    robo-rl envs check hopper engine=mujoco      the contract every environment keeps

    robo-rl envs new my-robot --mjcf FILE to=FOLDER      a robot folder, rewards and an MDP

    With base=free or base=fixed where the file does not say; effort=N for URDF joints without one.

    Environments of your own are found in the folders that ROBO_RL_ENVS lists.
    """
    from robo_rl.envs.authoring import printing
    from robo_rl.registry import load_own

    load_own()
    if name in ("new", "check"):
        given = [word for word in words or [] if "=" not in word]
        if len(given) != 1:
            raise UserError(f"envs {name}: give the name of one environment.")
        known = ("to", "base", "effort") if name == "new" else ("engine", "steps")
        keys = words_of.keys([w for w in words or [] if "=" in w], known, f"envs {name}")
        (_new_environment if name == "new" else _check_environment)(given[0], mjcf, keys)
    else:
        console.print(printing.mdp_table(name) if name else printing.list_table())


def _new_environment(name: str, mjcf: Path | None, given: dict[str, Any]) -> None:
    from robo_rl.envs.authoring import new

    if mjcf is None:
        raise UserError("envs new: --mjcf FILE is needed: the robot's MJCF or URDF.")
    new.run(
        name, mjcf, given.get("base"), words_of.positive(given, "effort"), given.get("to"), console
    )


def _check_environment(name: str, mjcf: Path | None, given: dict[str, Any]) -> None:
    from robo_rl.envs.authoring import check

    engine = str(given.get("engine", "mujoco"))
    found = check.check(name, engine, words_of.count(given, "steps", check.STEPS))
    table = Table("", "claim", "detail", title=f"Contract of {name} on engine {engine}")
    for finding in found:
        table.add_row(
            coloured(Verdict.PASS if finding.holds else Verdict.FAIL), finding.claim, finding.detail
        )
    console.print(table)
    check.demand(found)


@app.command()
def train(words: Words = None) -> None:
    """Train a policy into a run folder.

    robo-rl train env=hopper algo=ppo reward=task seed=0 steps=1000000 out=DIR

    env (required): see robo-rl envs. algo (required): ppo, sac. reward: task, energy, safety.
    randomize: a profile of sim2real/ whose trained ranges every episode is drawn from;
    curriculum=true opens each of its rows only as far as the policy copes with it.
    start=RUN begins with the weights of another run instead of random ones.
    engine: mujoco (C, for CPUs), mjx (for a GPU), bullet. trainer: jax, sb3.
    Hyperparameters: ppo.learning_rate=3e-4 and so on, over configs/ppo.yaml.
    sac.robots alone keeps the preset's updates per environment step; set sac.updates_per_step too
    to change it. Training is in whole rollouts: robots * unroll steps of PPO, robots of SAC.
    resume=DIR goes on with a run, bit for bit; resume=DIR steps=N goes on to more steps.
    Ctrl-C saves, says how to go on, and ends with exit code 130; numbers that are not finite end
    training with exit code 3, the last good checkpoint kept.
    """
    from robo_rl.training import config, run

    given = config.parse(words or [])
    if "resume" in given:
        if not set(given) <= {"resume", "steps"}:
            raise UserError(
                "train: resume=DIR takes no other key than steps=N; the run goes on as it was"
                " configured."
            )
        resolved = run.load_config(Path(str(given["resume"])))
        resolved = resolved.model_copy(update={"out": str(given["resume"])})
        if "steps" in given:
            resolved = run.extended(resolved, given["steps"])
        _train(resolved, resume=True)
    else:
        _train(config.resolve(given), resume=False)


def _train(resolved: Any, *, resume: bool) -> None:
    from robo_rl.training import run, trainers

    try:
        folder = trainers.train(resolved, console, resume=resume)
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)  # typer would turn it into an exit code that main() never sees
    rows = run.read_rows(folder / "evaluation.csv")
    if rows:
        last = rows[-1]
        console.print(
            f"Deterministic evaluation at step {last['steps']:,.0f}: return"
            f" {last['return_mean']:.1f} (task layer {last['task_return_mean']:.1f}), falls"
            f" {100 * last['falls']:.0f} %, {last['episodes']:.0f} episodes."
        )
    console.print(f"Run folder: {escape(str(folder))}", soft_wrap=True)


@app.command()
def compare(words: Words = None) -> None:
    """Train and compare algorithms and reward layers over seeds; curves, scores, behaviour, report.

    robo-rl compare env=hopper algo=ppo,sac reward=task,energy,safety seeds=5 out=DIR

    trainer=jax,sb3 sets our trainer against Stable-Baselines3 at equal hyperparameters. Runs that
    are already there and are the same are kept, unfinished ones go on. engine=... is trained and
    judged on; steps=... and what else training knows is for every arm, ppo.KEY=... and sac.KEY=...
    for one; episodes: final evaluation episodes per run. Everything is checked before training.

    robo-rl compare runs=RUN,OTHER_RUN out=DIR     policies that are there already, imported or not

    The same undisturbed episodes for each, paired differences. Keys: episodes, seed, out.
    """
    if any(word.startswith("runs=") for word in words or []):
        cli_imported.compare_runs(words)
        return
    from robo_rl.training import compare as comparing
    from robo_rl.training import compare_findings, compare_report, config

    asked = comparing.ask(config.parse(words or []))
    result = comparing.compare(asked, console)
    path = compare_report.write(result, asked.folder, words_of.command("compare", None, words))
    columns = ("variant", "task return, median [95 %]", "seeds", "steps a run", "training, min")
    table = Table(*columns, title=f"Comparison on {asked.env}")
    for row in compare_report.terminal_rows(result):
        table.add_row(*map(escape, row))
    console.print(table)
    console.print(compare_findings.headline(result), highlight=False, markup=False, soft_wrap=True)
    console.print(f"Report: {escape(str(path))}", soft_wrap=True)
    if all(t.failure for t in result.trained):
        raise NotFiniteError("compare: every run crashed; the report says where.")


@app.command()
def safety(run: Annotated[Path, typer.Argument(help="A run folder.")], words: Words = None) -> None:
    """Run a safety suite on a policy; verdicts, JUnit, JSON, HTML, replays.

    robo-rl safety RUN suite=locomotion baseline=OLD_RUN

    Exit status 0 accept, 1 reject, 2 conditional, 3 error (numbers that are not finite, or a
    baseline that cannot be compared with), 64 wrong usage.
    Keys: suite (that of the robot's kind if left out), baseline, seed, out, episodes (of each
    scenario, looked at once; the suite's own plan doubles what is undecided), replays (bundles
    kept per scenario).
    """
    from robo_rl.report import page
    from robo_rl.safety_eval import study, study_report

    known = ("suite", "baseline", "seed", "episodes", "out", "replays")
    given = words_of.keys(words, known, "safety")
    suite = str(given["suite"]) if "suite" in given else study.default_suite(run)
    folder = Path(str(given.get("out", run / "safety" / Path(suite).stem)))
    replays = words_of.count(given, "replays", study_report.REPLAYS)
    seed = words_of.seed(given, study.HELD_OUT_SEED)
    episodes = words_of.count(given, "episodes", 1, least=1) if "episodes" in given else None
    page.claim(folder)
    with steps_bar("Safety suite") as show:
        result = study.study(
            run,
            suite,
            baseline=Path(str(given["baseline"])) if "baseline" in given else None,
            seed=seed,
            episodes=episodes,
            on_progress=show,
        )
    path = study_report.write(result, folder, words_of.command("safety", run, words), replays)
    safety_tables(result)
    console.print(f"[bold]{coloured(result.gate)}[/]: {escape(result.why)}", highlight=False)
    console.print(f"Report: {escape(str(path))}", soft_wrap=True)
    raise typer.Exit(result.gate.exit_code)


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="A replay bundle, or a folder of them.")],
    words: Words = None,
) -> None:
    """Run stored episodes again and check them to the last bit; gif=FILE draws one.

    robo-rl replay RUN/safety/locomotion/replays

    Exit status 0 where every one reproduces, 1 where one does not.
    """
    from robo_rl.safety_eval import replay as replaying

    given = words_of.keys(words, ("gif",), "replay")
    bundles = replaying.bundles(file)
    if "gif" in given and len(bundles) > 1:
        raise UserError(f"gif: one bundle is drawn at a time; {file} holds {len(bundles)}.")
    reproduced = 0
    for path in bundles:
        done = replaying.replay(path)
        show_replay(done)
        reproduced += done.reproduced
        if "gif" in given:
            console.print(f"Picture: {replaying.write_gif(done, Path(str(given['gif'])))}")
    if len(bundles) > 1:
        console.print(f"{reproduced} of {len(bundles)} reproduced.")
    if reproduced < len(bundles):
        raise typer.Exit(Exit.REJECT)


@app.command()
def gap(run: Annotated[Path, typer.Argument(help="A run folder.")], words: Words = None) -> None:
    """Measure how far a policy is from breaking on a real robot: breaking points and margins.

    robo-rl gap RUN profile=legged episodes=240

    Keys: profile (the robot's own if left out), seed, episodes (of each departure at most),
    episode_s, out, fail_on.
    Exit status 1 with a RED margin, 2 with an UNKNOWN one (fail_on=red lets it pass; fail_on=amber
    counts AMBER too), else 0; 3 where the policy gives numbers that are not finite.
    """
    from robo_rl.report import page
    from robo_rl.sim2real import gap as gaps
    from robo_rl.sim2real import gap_report

    known = ("profile", "seed", "episodes", "episode_s", "out", "fail_on")
    given = words_of.keys(words, known, "gap")
    fail_on = words_of.grade(given, "gap")
    folder = Path(str(given.get("out", run / "gap")))
    asked = {
        "seed": words_of.seed(given, gaps.GAP_SEED),
        "episodes": words_of.count(given, "episodes", gaps.EPISODES),
        "episode_s": words_of.positive(given, "episode_s"),
    }
    page.claim(folder)
    profile = str(given["profile"]) if "profile" in given else None
    with steps_bar("Gap study") as show:
        result = gaps.gap(run, profile, **asked, on_progress=show)
    path = gap_report.write(result, folder, words_of.command("gap", run, words))
    gap_table(result)
    console.print(f"Report: {escape(str(path))}", soft_wrap=True)
    raise typer.Exit(exit_of_grades(gap_report.grades_of(result), fail_on))


@app.command()
def checklist(
    run: Annotated[Path, typer.Argument(help="A run folder.")], words: Words = None
) -> None:
    """Write the sim-to-real risk checklist of a policy from the evidence in its run folder.

    Exit status 1 with a RED line, 2 with an UNKNOWN one (fail_on=red lets it pass; fail_on=amber
    counts AMBER too), else 0. The steps on the robot itself are UNKNOWN until they are done.
    """
    from robo_rl.report import page
    from robo_rl.sim2real import checklist as checks

    given = words_of.keys(words, ("out", "fail_on"), "checklist")
    fail_on = words_of.grade(given, "checklist")
    folder = Path(str(given.get("out", run / "checklist")))
    page.claim(folder)
    made = checks.checklist(run)
    path = checks.write(made, folder, words_of.command("checklist", run, words))
    checklist_table(made)
    console.print(f"Report: {escape(str(path))}", soft_wrap=True)
    raise typer.Exit(exit_of_grades((row.verdict for row in made.rows), fail_on))


@app.command("list")
def list_parts(
    kind: Annotated[str, typer.Argument(help="terms, injectors, metrics, engines, signals, ...")],
) -> None:
    """List what content files can name: terms, injectors, metrics, scenarios, and so on.

    robo-rl list injectors

    Kinds: terms, injectors, metrics, engines, signals, scenarios, suites, profiles. Environments
    are listed by robo-rl envs.
    """
    from robo_rl import parts

    table = Table("name", "takes", "unit or range", "meaning", title=kind.capitalize())
    for part in parts.listed(kind):
        table.add_row(*map(escape, part))
    console.print(table)


@app.command()
def check(
    folder: Annotated[
        Path | None, typer.Argument(help="A folder of content; the suite's own if left out.")
    ] = None,
) -> None:
    """Check every content file (rewards, scenarios, suites, profiles, robots); simulate nothing.

    Everything that is wrong is listed with its line and what is close. Exit status 0 where all is
    well, 1 where something is wrong. Python modules beside the content are imported, so that the
    environments they register are known; so are the folders that ROBO_RL_ENVS lists.
    """
    from robo_rl import check as checking

    found = checking.check(folder)
    for line in found.problems:
        console.print(escape(line), highlight=False, soft_wrap=True)
    console.print(f"{found.files} content files, {len(found.problems)} problems.")
    raise typer.Exit(Exit.REJECT if found.problems else Exit.ACCEPT)


@app.command()
def demo(words: Words = None) -> None:
    """See all of it in one go: PPO and SAC on one task, compare, safety, gap, checklist.

    Keys: out (default runs/demo), and those of configs/demo.yaml: env, ppo_steps, sac_steps, ...
    """
    from robo_rl import demo as demonstration
    from robo_rl.training import config

    demonstration.demo(config.parse(words or []), console)


app.command("import")(cli_imported.import_run)
app.command()(cli_imported.wiring)


def main() -> None:
    """Run the command line and exit with the status of its outcome, one of verdicts.Exit."""
    hear_ctrl_c()
    try:
        status = app(standalone_mode=False)  # returns the code of a typer.Exit
    except UserError as error:
        _complain(str(error))
        status = Exit.ERROR if isinstance(error, NotFiniteError) else Exit.USAGE
    except KeyboardInterrupt:
        status = _interrupted()
    except ModuleNotFoundError as error:
        said = extras.help_for(error)
        status = _unexpected(error) if said is None else Exit.USAGE
        if said:
            _complain(said)
    except Exception as error:
        status = _unexpected(error)
    sys.exit(int(status or Exit.ACCEPT))


def _unexpected(error: Exception) -> Exit:
    """Report an exception that is no UserError: wrong usage of a command, or a fault of ours."""
    if isinstance(error, typer.Abort):  # what typer makes of a KeyboardInterrupt
        return _interrupted()
    said = getattr(error, "format_message", None)  # typer has its own copy of click's exceptions
    if said is not None:
        if message := said():  # none where the help was printed instead
            _complain(message)
        return Exit.USAGE
    traceback.print_exception(error)
    _complain(f"internal error, please report it: {type(error).__name__}: {error}")
    return Exit.INTERNAL


def _interrupted() -> Exit:
    _complain("interrupted; nothing was judged or written.")
    return Exit.INTERRUPTED


def _complain(message: str) -> None:
    Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(message)}")
