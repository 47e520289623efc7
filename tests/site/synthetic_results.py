"""A root folder with made-up results, for tests of the site: every number in it says of itself that it is synthetic.

What is really published is copied; a lab whose article has nothing published yet gets whatever its article asks for.
"""

from __future__ import annotations

import json
import math
import shlex
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import torch

from hierlab.credit import gigpo
from hierlab.files import write_json
from hierlab.lab import ledger, stepper
from hierlab.lab.claims import Claims, Part
from hierlab.lab.figures import COLOURS, house_style
from hierlab.lab.results import Results, summary
from hierlab.lab.site_pages import MARKER
from hierlab.lab.verdicts import judge
from hierlab.papers import Paper, paper
from hierlab.trace import Tape

REPOSITORY = Path(__file__).parents[2]
LAB = '"""A stand-in for the lab: the tests of the site do not run it."""\n\nimport marimo\n\napp = marimo.App()\n'
FIGURES = ("stepper", "microscope", "learning-curves")


def write_root(root: Path, slug: str = "gigpo") -> Path:
    """Fill `root` with the repository's labs and results, and with synthetic ones for `slug` if it has none."""
    for name in ("data/results", "figures", "labs"):
        shutil.copytree(REPOSITORY / name, root / name, dirs_exist_ok=True)
    if not (root / "data" / "results" / f"{slug}.reduced.json").is_file():
        info = paper(slug)
        lab = root / "labs" / info.family / f"{slug}.py"
        lab.exists() or lab.write_text(LAB)
        article = REPOSITORY / "docs" / "labs" / f"{slug}.md"
        asked = [(m[1], shlex.split(m[2])) for m in MARKER.finditer(article.read_text())] if article.is_file() else []
        write_synthetic(root, info, asked)
    return root


def write_synthetic(root: Path, info: Paper, asked: list[tuple[str, list[str]]]) -> None:
    """A ledger and figures that hold what the markers in `asked` ask for."""
    names = list(dict.fromkeys([*(given[0] for name, given in asked if name == "figure"), *FIGURES]))
    for name in names:
        write_figure(root / "figures" / info.slug / name, stepper_figure() if "step" in name else curves())
    write_ledger(root / "data" / "results" / f"{info.slug}.reduced.json", record(info, names, asked))


def write_ledger(path: Path, content: dict) -> None:
    """Write a ledger as a run would."""
    ledger.write(path, content)


def record(info: Paper, figures: list[str] = FIGURES, asked: list[tuple[str, list[str]]] = ()) -> dict:
    """A ledger's content: all four verdicts, several parts, two rates."""
    seeds = [0, 1, 2, 3, 4]
    claims = Claims(info, "reduced")
    tests = [("C1", "", 0.3, "greater", 0.0), ("C3", "without the episode term", 0.4, "greater", 0.0)]
    tests += [("C3", "without the step term", -0.5, "greater", 0.0), ("C4", "", 0.02, "within", 0.05), ("C2", "", 0.01, "greater", 0.0)]
    for claim, part, effect, direction, margin in tests:
        if claim in {c.id for c in info.claims}:
            measured, baseline = [0.5 + effect + 0.02 * math.cos(s) for s in seeds], [0.5 + 0.02 * math.sin(3 * s) for s in seeds]
            found = judge(measured, baseline, direction=direction, margin=margin)
            claims.add(claim, Part(part, found, measured, baseline, direction, margin, "seeds", "Synthetic numbers."))
    metrics: dict[str, dict] = {}
    for name, given in asked:
        if name == "value":
            metrics.setdefault(given[1], {})[given[0]] = summary([0.5, 0.52, 0.47, 0.55, 0.51])
    experiments = {given[0]: experiment(given[0], given[1:], seeds) for name, given in asked if name == "experiment"}
    return {
        "schema": 1, "lab": info.slug, "scale": "reduced",
        "settings": {"tasks": 8, "rates": [0.6, 1.2], "model": "synthetic"}, "settings_hash": "0123456789",
        "settings_docs": {"tasks": "tasks an iteration", "rates": "learning rates to choose from", "model": "what acts"},
        "overrides": {}, "seeds": seeds, "metrics": metrics,
        "tables": {given[0]: {"columns": ["arm", "value"], "rows": [["synthetic", 0.5]]} for name, given in asked if name == "table"},
        "claims": claims.rows(), "experiments": experiments,
        "figures": [
            {"name": n, "title": f"Synthetic {n}", "caption": "Made-up numbers, for tests only.", "alt": f"A synthetic {n}.", "digest": ""}
            for n in figures
        ],
        "wall_seconds": 252.0, "unit_seconds": 433.5, "resumed_units": 0, "workers": 2, "peak_memory_mb": 812.0,
        "hardware": {"processor": "synthetic processor", "cores": 2, "memory_gb": 8.0, "system": "Linux"},
        "versions": {"python": "3.11.0", "torch": "2.13.0"}, "commit": "0" * 40, "code": {"lab": "0" * 64},
        "started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T00:04:12+00:00",
        "command": f"hierlab run {info.slug} --scale reduced",
    }  # fmt: skip


def experiment(name: str, metrics: list[str], seeds: list[int]) -> dict:
    """Two arms at two rates."""
    measured = metrics or ["auc"]
    units = {
        (a, r, s): dict.fromkeys(measured, 0.4 + 0.1 * r + 0.01 * s + 0.05 * i)
        for i, a in enumerate(("GRPO", "GiGPO"))
        for r in (0.6, 1.2)
        for s in seeds
    }
    results = Results(name, ("GRPO", "GiGPO"), (0.6, 1.2), tuple(seeds), measured[0], False, 0.6, units)
    return results.record()


def write_figure(path: Path, figure: go.Figure) -> None:
    """The figure's JSON, and a grey still."""
    write_json(path.with_suffix(".json"), json.loads(figure.to_json()))
    path.with_suffix(".png").write_bytes(grey_png(16, 9))


def stepper_figure() -> go.Figure:
    """The real stepper over a tiny real batch: three trajectories of one task."""
    rewards, trajectory, turn = torch.tensor([0.0, 0, 10, 0, 0, 0, 10]), [0, 0, 0, 1, 1, 2, 2], torch.tensor([0, 1, 2, 0, 1, 0, 1])
    with Tape() as tape:
        gigpo(rewards, ["task"] * 7, trajectory, turn, ["hall", "room 1", "hall", "hall", "room 1", "hall", "room 2"])
    return stepper(tape, trajectory=trajectory, turn=turn.tolist())


def curves() -> go.Figure:
    """Three rising lines."""
    x = np.arange(0, 60)
    figure = go.Figure(
        [
            go.Scatter(x=x, y=1 - np.exp(-x / t), name=n, line={"color": c})
            for n, t, c in zip(("GRPO", "GiGPO", "step only"), (30, 15, 20), COLOURS, strict=False)
        ]
    )
    figure.update_layout(xaxis_title="iteration", yaxis_title="success", legend={"orientation": "h", "y": -0.2, "x": 0})
    return house_style(figure, height=380)


def grey_png(width: int, height: int) -> bytes:
    """A grey picture, without a drawing library."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\xcc" * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
