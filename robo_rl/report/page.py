"""One report for every study: verdict first, then why, then evidence, then how to reproduce it.

The same blocks become self-contained HTML, Markdown with the figures beside it, and JSON.
"""

import base64
import contextlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import jinja2

from robo_rl import files
from robo_rl.content import read_json
from robo_rl.errors import UserError
from robo_rl.verdicts import LOOKS

WRITTEN = ("results.json", "report.html", "report.md", "junit.xml")  # what a study leaves
BUNDLE = {"meta.npy", "actions.npy", "final_bits.npy"}  # what every replay bundle holds


class Paragraph(NamedTuple):
    """Plain text."""

    text: str


class Code(NamedTuple):
    """A command or other literal text."""

    text: str


class Link(NamedTuple):
    """Text in a table that leads to another file, named relative to the report's folder."""

    text: str
    path: str


Cell = str | Link


class Grid(NamedTuple):
    """A table; a cell whose text is exactly a verdict is shown as one everywhere."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""


class Figure(NamedTuple):
    """A picture with what it shows in words."""

    name: str
    svg: str
    caption: str


Block = Paragraph | Code | Grid | Figure


class Section(NamedTuple):
    """A heading and what stands under it."""

    title: str
    blocks: tuple[Block, ...]


def reproduce(command: str, facts: Mapping[str, str]) -> Section:
    """How a study is repeated: the command, and what it was made with."""
    return Section("Reproduce", (Code(command), Grid(("what", "value"), tuple(facts.items()))))


class Report(NamedTuple):
    """A study's result for people."""

    title: str
    verdict: str  # one of verdicts.LOOKS, or "" for a study that gives none
    why: str
    sections: tuple[Section, ...]


def claim(folder: Path) -> None:
    """Makes a place for a report before the study is run; nothing is written.

    What an earlier study left there goes, so that no old verdict stands beside a study that failed.
    Raises UserError where it is no folder, cannot be written to, or holds files of a report's names
    that no study wrote.
    """
    standing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not standing.is_dir() or not os.access(standing, os.W_OK):
        raise UserError(f"out={folder}: {standing} is no folder that can be written to.")
    found = [name for name in WRITTEN if (folder / name).exists()]
    if found and not _is_a_studys(folder):
        raise UserError(
            f"out={folder}: it holds {', '.join(found)}, which no study of this suite wrote."
            " Nothing was touched; name another folder."
        )
    bundles = filter(_is_a_bundle, (folder / "replays").glob("*.npz"))
    for path in (*(folder / name for name in found), *bundles):
        path.unlink()


def _is_a_bundle(path: Path) -> bool:
    with contextlib.suppress(OSError, zipfile.BadZipFile):
        return set(zipfile.ZipFile(path).namelist()) >= BUNDLE
    return False


def _is_a_studys(folder: Path) -> bool:
    """Whether a study's results.json stands there; it is the first file that a study writes."""
    try:
        return {"title", "verdict", "why", "versions"} <= read_json(folder / "results.json").keys()
    except UserError:
        return False


def write_report(folder: Path, report: Report, data: dict[str, Any]) -> Path:
    """Writes results.json, report.html, report.md with figures/; returns the HTML's path."""
    files.write_json(
        folder / "results.json",
        {"title": report.title, "verdict": report.verdict, "why": report.why, **data},
    )
    files.write_text(folder / "report.html", to_html(report))
    files.write_text(folder / "report.md", to_markdown(report))
    for block in (b for s in report.sections for b in s.blocks if isinstance(b, Figure)):
        files.write_text(folder / "figures" / f"{block.name}.svg", block.svg)
    return folder / "report.html"


def to_html(report: Report) -> str:
    """The report as one HTML file that needs no network."""
    source = Path(__file__).parent / "templates"
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(source), autoescape=True)
    template = environment.get_template("report.html.j2")
    return template.render(report=report, looks=LOOKS, kind=_kind, data_uri=_data_uri, quote=quote)


def to_markdown(report: Report) -> str:
    """The report as Markdown; figures are links to figures/<name>.svg."""
    lines = [f"# {report.title}", ""]
    if report.verdict:
        lines += [f"**{_marked(report.verdict)}**: {report.why}", ""]
    elif report.why:
        lines += [report.why, ""]
    for section in report.sections:
        lines += [f"## {section.title}", ""]
        for block in section.blocks:
            lines += [_block_markdown(block), ""]
    return "\n".join(lines)


def quantity(value: float, unit: str) -> str:
    """A number with its unit; the unit 1 is not written."""
    return f"{value:.3g}" if unit == "1" else f"{value:.3g} {unit}"


def _block_markdown(block: Block) -> str:
    if isinstance(block, Paragraph):
        return block.text
    if isinstance(block, Code):
        return f"```sh\n{block.text}\n```"
    if isinstance(block, Figure):
        return f"![{block.caption}](figures/{block.name}.svg)\n\n{block.caption}"
    rows = [
        " | ".join(_marked(cell).replace("|", "\\|").replace("\n", " ") for cell in row)
        for row in block.rows
    ]
    head = [" | ".join(block.columns), " | ".join("---" for _ in block.columns)]
    caption = [block.caption, ""] if block.caption else []
    return "\n".join([*caption, *(f"| {line} |" for line in head + rows)])


def _marked(cell: Cell) -> str:
    if isinstance(cell, Link):
        return f"[{_marked(cell.text)}]({quote(cell.path)})"
    return f"{LOOKS[cell].symbol} {cell}" if cell in LOOKS else cell


def _kind(block: Block | Cell) -> str:
    return type(block).__name__


def _data_uri(figure: Figure) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(figure.svg.encode()).decode()
