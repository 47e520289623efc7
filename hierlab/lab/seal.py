"""Sealed JSON: a result file carries the digest of its own content, so that an edit by hand is noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hierlab.files import digest, read_json, write_json
from hierlab.lab.errors import Refused
from hierlab.lab.places import shown

SEAL = "content"


def write_sealed(path: Path, record: dict[str, Any]) -> None:
    """Write the record with its seal, atomically.

    Raises:
        ValueError: if a number is not finite.
        OSError: if the file cannot be written; the old one is untouched.
    """
    write_json(path, {**record, SEAL: digest(record)})


def read_sealed(path: Path, what: str) -> dict[str, Any]:
    """The record in a sealed file, without its seal.

    Raises:
        FileNotFoundError: if there is no such file.
        Refused: if the file is truncated, not JSON, or its content does not match its seal.
    """
    try:
        record = read_json(path, what=what)
    except ValueError as error:
        raise Refused(str(error)) from None
    seal = record.pop(SEAL, None) if isinstance(record, dict) else None
    if seal is None or seal != digest(record):
        raise Refused(f"{what} {shown(path)} was changed after it was written; restore it from git, or delete it and run again")
    return record
