"""Which files a robot model is made of, found as MuJoCo finds them, and which are missing."""

import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from robo_rl.errors import UserError

FILE_KEYS = ("file", "fileright", "fileleft", "fileup", "filedown", "filefront", "fileback")
MODELS = ("include", "model")  # elements whose file is read as a model in turn
FOLDER_OF = {"mesh": "meshdir", "hfield": "meshdir", "skin": "meshdir", "flexcomp": "meshdir"}
FOLDER_OF |= {"texture": "texturedir"}
LEVELS_UP = 6  # how far above a URDF a package folder is looked for


@dataclass(frozen=True)
class Missing:
    """A file that a model names and that is not there."""

    kind: str  # the element: mesh, texture, hfield, skin, include ...
    name: str  # of the asset; its file's stem if it has none
    file: str  # as it is written


@dataclass
class Files:
    """What was found: paths as they are, and what is missing."""

    found: list[Path] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)


def collect(main: Path) -> Files:
    """The model, what it includes, and every asset of either; absolute paths, each once."""
    files = Files()
    documents = [*_documents(main, main.parent, files)]
    folders = _asset_folders([root for _, root in documents])
    for holder, root in documents:
        for element in root.iter():
            if element.tag not in MODELS:
                _assets(element, {holder, main.parent}, folders, files)
    files.found = list(dict.fromkeys(files.found))
    return files


def in_package(uri: str, urdf: Path) -> Path | None:
    """The file of a package://PACKAGE/PATH: PACKAGE is looked for above the URDF, then PATH."""
    package, _, inside = re.sub(r"^(package|model)://", "", uri).partition("/")
    for folder in urdf.absolute().parents[:LEVELS_UP]:
        for place in (folder / package / inside, folder / inside):
            if place.is_file() and (place.parent != folder or folder.name == package):
                return place
    return None


def common_folder(paths: list[Path]) -> Path:
    """The folder under which all these files lie."""
    return Path(os.path.commonpath([path.parent for path in paths]))


def parse(path: Path) -> ElementTree.Element:
    """The root element of an XML file; UserError where it is none."""
    try:
        return ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path}: not readable XML: {error}") from error


def _documents(path: Path, main: Path, files: Files) -> Iterator[tuple[Path, ElementTree.Element]]:
    """Every XML file of a model with its folder, the model itself first."""
    files.found.append(path)
    root = parse(path)
    yield path.parent, root
    for element in root.iter():
        written = element.get("file") if element.tag in MODELS else None
        if not written:
            continue
        found = _existing([path.parent / written, main / written])
        if not found:
            files.missing.append(Missing(element.tag, element.get("name", written), written))
        for inner in found:
            if inner not in files.found:
                yield from _documents(inner, main, files)


def _asset_folders(roots: list[ElementTree.Element]) -> dict[str, list[str]]:
    """Every folder that a compiler element gives for meshes and for textures, the bare one last."""
    folders: dict[str, list[str]] = {"meshdir": [], "texturedir": []}
    for compiler in (c for root in roots for c in root.iter("compiler")):
        for kind, known in folders.items():
            for key in (kind, "assetdir"):
                if compiler.get(key):
                    known.append(compiler.get(key, ""))
    return {kind: [*dict.fromkeys(known), ""] for kind, known in folders.items()}


def _assets(
    element: ElementTree.Element, bases: set[Path], folders: dict[str, list[str]], files: Files
) -> None:
    kind = FOLDER_OF.get(element.tag)
    if kind is None:
        return
    for key in FILE_KEYS:
        written = element.get(key)
        if not written:
            continue
        places = [base / folder / written for base in bases for folder in folders[kind]]
        places += [base / folder / Path(written).name for base in bases for folder in folders[kind]]
        found = _existing(places)
        files.found += found
        if not found:
            name = element.get("name", Path(written).stem if key == "file" else "")
            lost = Missing(element.tag, name, written)
            if (lost.kind, lost.name) not in {(m.kind, m.name) for m in files.missing}:
                files.missing.append(lost)


def _existing(places: list[Path]) -> list[Path]:
    return [Path(os.path.abspath(place)) for place in dict.fromkeys(places) if place.is_file()]
