"""Files that survive: atomic writes, readable errors, one lock per resource, content hashes."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_NUMBERS = re.compile(r'\[\n\s*([^\[\]{}"]+?)\s+\]')  # no text holds a bare line break, so this is a list of numbers, never part of a text


def cache_folder() -> Path:
    """Where compiled games and warm-started models are kept: `$HIERLAB_CACHE`, or `~/.cache/hierlab`."""
    return Path(os.environ.get("HIERLAB_CACHE") or Path.home() / ".cache" / "hierlab")


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, it becomes `path` in one step.

    A reader, or a kill at any moment, sees the old file or the new one, never a part.

    Raises:
        OSError: if the folder cannot be written or the disk is full; the old file is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomic(path: Path | str, data: bytes | str) -> None:
    """Replace the file by `data` in one step.

    Raises:
        OSError: as `replacing`.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as JSON, atomically, a list of numbers on one line. NaN and infinity are refused, since JSON has neither.

    Raises:
        ValueError: if a number is not finite.
        OSError: as `write_atomic`.
    """
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomic(path, _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n")


def read_json(path: Path | str, *, what: str = "file") -> Any:
    """The value in a JSON file.

    Raises:
        ValueError: if the file is not JSON; the message names it and the place where reading stopped.
        FileNotFoundError: if there is no such file.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{what} {path} is truncated or not JSON ({error}); delete it, or restore it from git, and run again") from error


def digest(value: Any) -> str:
    """SHA-256 of the value's canonical JSON: equal for equal content, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()).hexdigest()


@contextmanager
def locked(path: Path | str) -> Iterator[None]:
    """Hold an exclusive lock named `path` across processes; it ends with the process, however that dies."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
