"""The code that made a cached file, as part of the file's name: change the code, and the file is made anew."""

from __future__ import annotations

import inspect
from types import ModuleType

from hierlab.files import digest


def source_digest(*modules: ModuleType) -> str:
    """SHA-256 of the sources of some modules. Any edit counts, so that a cache errs on the side of working again."""
    return digest([inspect.getsource(module) for module in modules])
