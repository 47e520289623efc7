"""The ledger: everything one complete run found, in one sealed file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from hierlab.lab.places import result_file
from hierlab.lab.seal import read_sealed, write_sealed

SCHEMA = 1
NAME = "ledger.json"


def write(path: Path, record: dict[str, Any]) -> None:
    """Write a ledger, atomically and sealed.

    Raises:
        OSError: if it cannot be written.
    """
    write_sealed(path, record)


def read(path: Path) -> dict[str, Any]:
    """A ledger, as it was written.

    Raises:
        FileNotFoundError: if there is none.
        Refused: if it is truncated or was changed.
    """
    return read_sealed(path, "result file")


def published(slug: str, scale: str) -> dict[str, Any] | None:
    """The published ledger of a lab at a scale, if there is one.

    Raises:
        Refused: as `read`.
    """
    try:
        return read(result_file(slug, scale))
    except FileNotFoundError:
        return None


def text_digest(text: str) -> str:
    """SHA-256 of a text: ties a figure's file to the ledger that names it."""
    return hashlib.sha256(text.encode()).hexdigest()
