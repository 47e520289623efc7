"""A lab as a Jupyter notebook: marimo writes it, the `parameters` cell gets the tag that papermill looks for."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from hierlab.files import write_atomic
from hierlab.lab.errors import Refused
from hierlab.lab.places import runs_folder, shown

PARAMETERS = ("scale", "seeds", "overrides")


def exported(path: Path) -> Path:
    """The lab as an .ipynb file, made anew only when the lab or marimo changed.

    Raises:
        Refused: if marimo cannot export it, or it has no cell named `parameters`.
        OSError: if the folder of its runs cannot be written.
    """
    version = metadata.version("marimo")
    name = hashlib.sha256(version.encode() + path.read_bytes()).hexdigest()[:12]
    target = runs_folder(path.stem) / "exported" / f"{name}.ipynb"
    if not target.exists():
        write_atomic(target, json.dumps(tagged(_export(path), path), indent=1, ensure_ascii=False))
        for old in sorted(target.parent.glob("*.ipynb"), key=lambda p: p.stat().st_mtime)[:-4]:
            old.unlink(missing_ok=True)
    return target


def tagged(notebook: dict, path: Path) -> dict:
    """The notebook with its `parameters` cell tagged and a kernel named, so that papermill and JupyterLab know what to do.

    Raises:
        Refused: if there is not exactly one cell named `parameters`.
    """
    cells = [c for c in notebook["cells"] if c["metadata"].get("marimo", {}).get("name") == "parameters"]
    if len(cells) != 1:
        raise Refused(f"{shown(path)}: wants one cell named parameters (def parameters():) with {', '.join(PARAMETERS)}, has {len(cells)}")
    cells[0]["metadata"]["tags"] = ["parameters"]
    notebook["metadata"]["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return notebook


def _export(path: Path) -> dict:
    done = subprocess.run([sys.executable, "-m", "marimo", "export", "ipynb", str(path)], capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        last = (done.stderr or done.stdout).strip().splitlines()
        raise Refused(f"{shown(path)}: marimo cannot export it: {last[-1] if last else f'exit {done.returncode}'}") from None
