"""Words of verdicts: their order, how they look, what a shell sees."""

import ast
from pathlib import Path

import pytest

from robo_rl.verdicts import (
    LOOKS,
    SEVERITY,
    Exit,
    Gate,
    Grade,
    Tone,
    Verdict,
    exit_of_grades,
    grade_of,
    tally,
    tally_words,
    worst,
)

ROOT = Path(__file__).parents[1] / "robo_rl"
WORDS = {str(word) for kind in (Verdict, Gate, Grade) for word in kind}


def test_the_worst_of_nothing_is_unknown_and_one_red_is_enough():
    assert worst([]) is Grade.UNKNOWN
    assert worst([Grade.GREEN, Grade.AMBER]) is Grade.AMBER
    assert worst([Grade.GREEN, Grade.RED, Grade.UNKNOWN]) is Grade.RED


def test_a_tally_goes_from_the_worst_on_and_its_words_leave_out_what_was_not_given():
    counts = tally([Grade.GREEN, Grade.RED, Grade.GREEN])
    assert list(counts.items()) == [("RED", 1), ("UNKNOWN", 0), ("AMBER", 0), ("GREEN", 2)]
    assert tally_words(counts) == "1 RED, 2 GREEN"


@pytest.mark.parametrize("word", sorted(WORDS))
def test_every_word_has_a_look_that_is_not_its_colour_alone(word):
    look = LOOKS[word]
    assert look.symbol and look.colour.startswith("#")
    assert look.style in {"good", "bad", "unsure", "broken"}
    assert [look.marker == other.marker for other in LOOKS.values()] == [
        look.tone is other.tone for other in LOOKS.values()
    ]


def test_no_two_tones_look_alike():
    assert len({tone.value for tone in Tone}) == len(Tone)


def test_what_is_not_decided_is_no_green_risk_and_what_failed_is_a_red_one():
    assert grade_of(Verdict.PASS) is Grade.GREEN
    assert grade_of(Verdict.INCONCLUSIVE) is Grade.AMBER
    assert grade_of(Verdict.FAIL) is grade_of(Verdict.ERROR) is Grade.RED


@pytest.mark.parametrize("grade", SEVERITY)
def test_a_shell_sees_no_success_where_a_grade_is_as_bad_as_it_may_not_be(grade):
    seen = exit_of_grades([Grade.GREEN, grade], fail_on=grade)
    assert seen is (Exit.REJECT if grade is Grade.RED else Exit.CONDITIONAL)


def test_nobody_else_writes_the_words_of_a_verdict():
    """In code; sentences for people may have them."""
    for path in ROOT.rglob("*.py"):
        found = {
            node.value
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant) and node.value in WORDS
        }
        assert not found or path.name == "verdicts.py", f"{path}: {found}"
