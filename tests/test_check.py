"""What `robo-rl check` reads of a folder, and that no file hides what is wrong in another."""

from pathlib import Path

import pytest

from robo_rl import check as checking
from robo_rl import content
from robo_rl.check import check

SCENARIO = "claim: c.\nsource: s\nrequire: {r: {always: {alive: {above: 0.5}}}}\n"
REWARDS = "task:\n  alive: {term: alive, weight: 1}\ndone: "
DONE = "{{metric: {}, at_most: 1, unit: {}, reason: r}}\n"
SUITE = """
describe: d
scenarios: [../hard/push.yaml]
episodes: 64
most_episodes: 64
non_inferiority_margin: 0.1
criteria: {t: {metric: task, max_rate: 0.1, required: true, reason: r}}
"""


@pytest.fixture
def found(tmp_path, monkeypatch):
    """What check() says of files by their paths: how many it read, and the problems."""
    monkeypatch.setenv(content.OWN, "")

    def of(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return check(tmp_path)

    return of


@pytest.mark.parametrize(
    ("metric", "unit", "message"),
    [
        ("forward_sped", "m/s", "no metric named 'forward_sped'. Did you mean 'forward_speed'"),
        ("forward_speed", "km/h", "forward_speed is in 'm/s'; 'km/h' was given"),
        ("violation_rate", '"1"', "violation_rate needs a cost"),
    ],
)
def test_a_reward_file_whose_task_cannot_be_judged_is_a_problem(found, metric, unit, message):
    (problem,) = found({"rewards/own.yaml": REWARDS + DONE.format(metric, unit)}).problems
    assert message in problem and "own.yaml:3: done: " in problem
    assert not found({"rewards/own.yaml": REWARDS + DONE.format("fell", '"1"')}).problems


def test_a_file_that_would_be_passed_over_and_a_folder_nearly_called_right_are_problems(found):
    names = ("scenarios/x.yml", "scenarios/y.json", "sim2real/z.YAML", "envs/own/robot.yml")
    folders = ("scenario/a.yaml", "Rewards/b.yaml", "safety-eval/c.yaml")
    files = dict.fromkeys(
        (*names, *folders, "venv/d.txt", "docs/e.yaml", "scenarios/README.md"), ""
    )
    said = found(files | {"scenarios/x.yaml": SCENARIO})
    assert len(said.problems) == len(names) + len(folders) and said.files == 1
    for name in names:
        meant = Path(name).with_suffix(".yaml").name
        assert any(f"{name}: is not read. Did you mean {meant!r}?" in p for p in said.problems)
    for folder, meant in {"scenario": "scenarios", "Rewards": "rewards"}.items():
        assert any(f"/{folder}: nothing" in p and f"{meant!r}" in p for p in said.problems)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("claim: [a,\nsource: s\n", 3),
        ("a: b: c\n", 1),
        ("claim: c.\nsource: s\nclaim: d.\n", 3),
        ("when: 2026-13-45\n", None),
    ],
)
def test_what_is_no_yaml_is_one_problem_at_its_line(found, text, line):
    (problem,) = found({"scenarios/own.yaml": text}).problems
    assert "not valid YAML" in problem and (line is None or f"own.yaml:{line}: " in problem)


def test_a_broken_file_does_not_hide_the_others(found, monkeypatch):
    def breaks(name):
        return load(name) if "fine" not in name else {}[name]

    load = checking.LOADERS["scenarios"]
    monkeypatch.setitem(checking.LOADERS, "scenarios", breaks)
    broken = SCENARIO.replace("always:", "allways:")
    files = {"scenarios/fine.yaml": SCENARIO, "scenarios/own.yaml": broken}
    unforeseen, misspelt = found(files).problems
    assert "fine.yaml: cannot be used (KeyError" in unforeseen and "'always'" in misspelt


def test_the_scenario_files_that_a_suite_names_are_read_too(found):
    files = {"safety_eval/own.yaml": SUITE, "hard/push.yaml": SCENARIO + "clame: x\n"}
    said = found(files)
    (problem,) = said.problems
    assert said.files == 2 and "hard/push.yaml:4: " in problem and "'clame'" in problem
    (missing,) = found({"safety_eval/own.yaml": SUITE.replace("hard", "haard")}).problems
    assert "own.yaml:3: scenarios.0: no file '../haard/push.yaml'" in missing


def test_a_name_that_follows_from_the_files_own_is_not_written_in_it(found):
    said = found(
        {"scenarios/own.yaml": SCENARIO + "name: other\n", "safety_eval/s.yaml": "name: x"}
    )
    assert any("own.yaml:4: name: is not written" in p for p in said.problems)
