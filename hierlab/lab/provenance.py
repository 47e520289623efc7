"""Where a result comes from: hardware, versions, commit, command."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hierlab.lab.places import cores, root
from hierlab.lab.units import versions

PACKAGES = ("torch", "numpy", "scipy", "transformers", "peft", "accelerate", "textworld", "reasoning-gym", "marimo", "papermill", "hierlab")


def provenance() -> dict[str, Any]:
    """Hardware, package versions and git commit, as the ledger holds them."""
    return {"hardware": hardware(), "versions": versions(PACKAGES), "commit": commit()}


def hardware() -> dict[str, Any]:
    """Processor, cores, memory, and the GPU if torch uses one."""
    record: dict[str, Any] = {
        "processor": _processor(),
        "cores": cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.system(),
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        record["gpu"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return record


def commit() -> str:
    """The repository's commit, with "+" if files differ from it; empty outside git."""
    try:
        head = _git("rev-parse", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def command(slug: str, scale: str, overrides: Mapping[str, Any], seeds: int | None) -> str:
    """The command that makes this run."""
    words = ["hierlab", "run", slug, "--scale", scale]
    for name, value in overrides.items():
        text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        words += ["--set", f"{name}={text}"]
    return shlex.join([*words, *(["--seeds", str(seeds)] if seeds else [])])


def _git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", str(root()), *arguments], capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
