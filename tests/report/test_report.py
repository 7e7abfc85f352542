"""Reports say the same in HTML and Markdown, and their links lead where they say."""

import pytest

from robo_rl.report.page import Grid, Link, Report, Section, to_html, to_markdown


def page(*cells):
    grid = Grid(tuple(f"c{k}" for k in range(len(cells))), (cells,))
    return Report("Title", "", "Why.", (Section("Part", (grid,)),))


def test_a_link_leads_to_its_file_and_a_name_with_spaces_survives():
    made = page(Link("safety suite", "runs/my run/report.html"))
    assert '<a href="runs/my%20run/report.html">safety suite</a>' in to_html(made)
    assert "[safety suite](runs/my%20run/report.html)" in to_markdown(made)


@pytest.mark.parametrize("cell", ["REJECT", Link("REJECT", "safety/report.html")])
def test_a_verdict_is_marked_as_one_also_where_it_leads_somewhere(cell):
    assert '<span class="verdict bad">✘ REJECT</span>' in to_html(page(cell))
    assert "✘ REJECT" in to_markdown(page(cell))


def test_what_looks_like_html_in_a_cell_is_shown_and_not_run():
    made = to_html(page("<script>alert(1)</script>", Link("<b>", "x.html")))
    assert "<script>alert" not in made and "&lt;script&gt;" in made
    assert ">&lt;b&gt;</a>" in made


def test_a_bar_or_a_line_break_in_a_cell_does_not_break_the_markdown_table():
    line = to_markdown(page("a|b\nc", "d")).splitlines()[-1]
    assert line == "| a\\|b c | d |"
