"""import.json and the page of an import: where every entry came from, what it did, what is open."""

from pathlib import Path
from typing import Any

import numpy as np

from robo_rl import files
from robo_rl.envs.step import Environment
from robo_rl.errors import UserError
from robo_rl.importing.run import Imported
from robo_rl.importing.source import ASSUMED, is_assumed
from robo_rl.importing.trial import Golden, Response, Trial
from robo_rl.policy import contract
from robo_rl.report import page as report
from robo_rl.report import plots

NO_GOLDEN = (
    "No golden data was compared with (golden=FILE): a silent wiring mistake, say a joint order or"
    " a sign that happens to walk, is not excluded. `robo-rl wiring RUN` shows which ones this"
    " trial would have caught."
)


def write(
    made: Imported,
    trial: Trial | None,
    responses: tuple[Response, ...],
    golden: Golden | None,
    command: str,
) -> Path:
    """Writes import.json, the picture and the page into the run; returns the page's path."""
    picture = _picture(made.env, made.out / "robot.png") if made.mapping.environment is None else ""
    data: dict[str, Any] = {
        "command": command,
        "env": made.env.name,
        "kind": made.source.kind,
        "policy_sha256": made.policy.digest,
        "entries": dict(made.source.said),
        "robot": list(made.assumed),
        "warnings": list(made.warnings),
        "trial": trial.said() if trial else None,
        "response": [r.said() for r in responses],
        "golden": golden.said() if golden else None,
        "picture": picture,
        "versions": contract.versions(),
    }
    files.write_json(made.out / "import.json", data)
    title = f"Import: {made.source.kind} on {made.env.name}"
    page = report.Report(title, "", summary(trial, golden), _sections(made, data, responses))
    return report.write_report(made.out / "import", page, data)


def summary(trial: Trial | None, golden: Golden | None) -> str:
    """What the trial and the golden data came to, in sentences."""
    words = []
    if trial:
        asked = ", ".join(f"{value:g}" for value in trial.command)
        forward, sideways = trial.velocity_b_mps
        ended = (
            f"fell after {trial.seconds:g} s"
            if trial.fell
            else f"stayed up for {trial.seconds:g} s"
        )
        words.append(
            f"At the command ({asked}) it {ended}, moving at {forward:.3f} m/s forward,"
            f" {sideways:.3f} m/s sideways and {trial.yaw_rate_radps:.3f} rad/s."
        )
    if golden:
        found = "equals" if golden.equal else "DIFFERS from"
        largest = max(golden.observation, golden.action, golden.network)
        words.append(
            f"It {found} the golden data over {golden.steps} control steps (largest difference"
            f" {largest:.2g})."
        )
    else:
        words.append(NO_GOLDEN)
    return " ".join(words)


def _sections(
    made: Imported, data: dict[str, Any], responses: tuple[Response, ...]
) -> tuple[report.Section, ...]:
    said = made.source.said.items()
    assumed = [(entry, why.removeprefix(f"{ASSUMED}: ")) for entry, why in said if is_assumed(why)]
    read = [(entry, where) for entry, where in said if not is_assumed(where)]
    sections = [
        report.Section(
            "Assumed: read nowhere, check each",
            (report.Grid(("entry", "what was assumed, and why"), tuple(assumed)),)
            if assumed
            else (report.Paragraph("Nothing."),),
        ),
        report.Section("Read", (report.Grid(("entry", "from"), tuple(read)),)),
    ]
    if made.mapping.environment is None:
        robot: list[report.Block] = [
            report.Grid(("fact",), tuple((line,) for line in (*made.warnings, *made.assumed)))
        ]
        if data["picture"].endswith(".png"):
            robot.append(
                report.Paragraph("Its start pose is drawn in robot.png of the run folder.")
            )
        else:
            robot.append(report.Paragraph(f"No picture: {data['picture']}"))
        robot.append(_drives(made))
        sections.append(report.Section("Robot", tuple(robot)))
    if responses:
        sections.append(_response_section(responses))
    sections.append(report.reproduce(data["command"], contract.versions()))
    return tuple(sections)


def _drives(made: Imported) -> report.Grid:
    """What drives each joint, for the eye of the one who knows the robot."""
    deploy = made.policy.contract["deploy"]
    columns = ("joint", "default, rad", "stiffness, N m/rad", "damping, N m s/rad", "limit, N m")
    keys = ("default_rad", "stiffness_nm_per_rad", "damping_nms_per_rad", "torque_limit_nm")
    rows = zip(deploy["joints"], *(deploy[key] for key in keys), strict=True)
    return report.Grid(
        columns,
        tuple(
            (str(name), *("none said" if v is None else f"{v:.4g}" for v in values))
            for name, *values in rows
        ),
        "In the order of the policy's output.",
    )


def _response_section(responses: tuple[Response, ...]) -> report.Section:
    """What comes of commands, axis by axis: a table and a picture."""
    rows = []
    for r in responses:
        dead = (
            "follows none of its range"
            if r.least_followed is None
            else f"from {r.least_followed:.3g} {r.unit} on"
        )
        pairs = ", ".join(
            f"{a:.2g}: {'fell' if f else f'{g:.2g}'}"
            for a, g, f in zip(r.asked, r.given, r.fell, strict=True)
        )
        rows.append((r.axis, dead, pairs))
    grid = report.Grid(
        ("axis", "followed (at least half of what is asked)", "asked: given, m/s or rad/s"),
        tuple(rows),
        "One command at a time, the other axes at zero, undisturbed.",
    )
    svg = plots.response([(r.axis, r.unit, r.asked, r.given) for r in responses])
    caption = "Command response: what is given over what is asked; the line is given = asked."
    return report.Section("Command response", (grid, report.Figure("response", svg, caption)))


def _picture(env: Environment, path: Path) -> str:
    """Draws the robot at home; why not, where it cannot be drawn."""
    from robo_rl.report.rendering import Camera

    try:
        image = Camera(env).at_home()
    except UserError as error:
        return str(error)
    import imageio.v3

    imageio.v3.imwrite(path, np.asarray(image))
    return path.name
