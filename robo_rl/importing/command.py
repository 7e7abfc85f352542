"""The import command: words to a request, and a request to a run folder with its page."""

import json
import math
import shutil
from collections.abc import Callable
from importlib.resources import files as resources
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from robo_rl.errors import UserError
from robo_rl.importing import page
from robo_rl.importing import run as runs
from robo_rl.importing import trial as trials
from robo_rl.importing.reading import Asked, as_given
from robo_rl.importing.source import is_assumed
from robo_rl.policy.mapping import Mapping

RANGES = ("forward_mps", "sideways_mps", "turn_radps")
KEYS = ("out", "robot", "policy", "mapping", "env", "reward", "base", "golden", "trust")
KEYS += ("initial", *RANGES)


class Done(NamedTuple):
    """What the import came to, for the terminal."""

    page: Path
    lines: tuple[str, ...]
    crashed: bool


def template() -> str:
    """A mapping to fill in, with every key explained."""
    return (resources("robo_rl.importing") / "template.yaml").read_text()


def schema() -> str:
    """The JSON Schema of a mapping."""
    return json.dumps(Mapping.model_json_schema(), indent=2)


def asked(source: str, given: dict[str, Any]) -> Asked:
    """The request of a command line.

    Raises UserError for keys that are missing or of the wrong kind.
    """
    if "out" not in given:
        raise UserError("import: out=DIR is needed: the run folder to make.")
    base = given.get("base")
    if base not in (None, "free", "fixed"):
        raise UserError(f"import: base={base!r}: free or fixed was expected.")
    command = {key: _numbers(given[key], key, 2) for key in RANGES if key in given}
    if "initial" in given:
        command["initial"] = _numbers(given["initial"], "initial", 3)

    def path(key: str) -> Path | None:
        return Path(str(given[key])) if key in given else None

    for key in ("golden", "mapping", "robot"):
        if (named := path(key)) is not None and not named.is_file():
            raise UserError(f"import: {key}={named}: no such file.")
    return Asked(
        source=source,
        out=Path(str(given["out"])),
        robot=path("robot"),
        policy=str(given["policy"]) if "policy" in given else None,
        mapping=path("mapping"),
        golden=path("golden"),
        base=cast(Literal["free", "fixed"] | None, base),
        env=str(given["env"]) if "env" in given else None,
        reward=str(given["reward"]) if "reward" in given else None,
        command=command,
        trust=given.get("trust") is True,
    )


def _numbers(value: Any, key: str, count: int) -> list[float]:
    found = list(value) if isinstance(value, list | tuple) else []
    if len(found) != count or not all(
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in found
    ):
        raise UserError(f"import: {key}={value!r}: {count} numbers were expected, as [a,b].")
    if count == 2 and found[0] > found[1]:
        raise UserError(f"import: {key}={value!r}: the lower end comes first.")
    return [float(v) for v in found]


def run(request: Asked, words: str, on_progress: Callable[[int, int], None] | None = None) -> Done:
    """Makes the run folder, runs the trial, writes the page."""
    made = runs.import_policy(request)
    try:
        return _tried(made, request, words, on_progress)
    except BaseException:
        shutil.rmtree(request.out, ignore_errors=True)  # whole, or not at all
        raise


def _tried(
    made: runs.Imported,
    request: Asked,
    words: str,
    on_progress: Callable[[int, int], None] | None,
) -> Done:
    trial, responses, golden = None, (), None
    if request.golden is not None:
        given = as_given(str(made.source.policy), made.policy.network)
        golden = trials.against_golden(made.env, made.policy, request.golden, given)
    if made.mapping.task == "velocity-tracking" and made.mapping.environment is None:
        command = made.mapping.command
        ranges = (command.forward_mps, command.sideways_mps, command.turn_radps)
        trial, responses = trials.trial(made.env, made.policy, command.initial, ranges, on_progress)
    path = page.write(made, trial, responses, golden, words)
    assumed = [f"{entry}: {why}" for entry, why in made.source.said.items() if is_assumed(why)]
    lines = [*assumed, *made.warnings, *made.assumed]
    return Done(path, (*lines, page.summary(trial, golden)), bool(trial and trial.crashed))
