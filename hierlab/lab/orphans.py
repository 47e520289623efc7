"""No process outlives the one that asked for its work, however that one ends."""

from __future__ import annotations

import os
import threading
import time

_watched: set[int] = set()


def end_with_parent(parent: int | None = None) -> None:
    """End this process within half a second after its parent has ended, even if the parent was killed.

    Args:
        parent: the parent's process id; a process already adopted by another ends at once.
    """
    parent = parent or os.getppid()
    if parent not in _watched:
        _watched.add(parent)
        threading.Thread(target=_watch, args=(parent,), daemon=True, name="end-with-parent").start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
