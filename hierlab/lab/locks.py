"""One run at a time in one folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hierlab.lab.errors import Refused
from hierlab.lab.places import shown


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. It ends with the process, however that dies.

    Raises:
        Refused: if another process holds it; the message names that process.
        OSError: if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "another process"
            raise Refused(f"{shown(folder)} is being run by {owner}: wait for it, or choose other settings") from None
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        yield
