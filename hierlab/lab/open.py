"""The server that shows a lab: marimo or JupyterLab, on this machine only, behind a token."""

from __future__ import annotations

import os
import sys

from hierlab.files import write_atomic
from hierlab.lab.export import exported
from hierlab.lab.places import lab_file, runs_folder


def server_command(slug: str, *, jupyter: bool = False, as_app: bool = False, port: int | None = None, browser: bool = True) -> list[str]:
    """The command that serves a lab; the servers make their own random token.

    In JupyterLab a copy is opened, so that what a reader changes there leaves the lab alone.

    Raises:
        Refused: if there is no such lab, or it cannot be exported.
        OSError: if the copy cannot be written.
    """
    path = lab_file(slug)
    if not jupyter:
        mode = ["run", str(path)] if as_app else ["edit", str(path), "--skip-update-check"]
        command = [sys.executable, "-m", "marimo", *mode, "--host", "127.0.0.1", "--token"]
        return [*command, *(["--port", str(port)] if port else []), *([] if browser else ["--headless"])]
    copy = runs_folder(slug) / "jupyter" / f"{slug}.ipynb"
    write_atomic(copy, exported(path).read_bytes())
    command = [sys.executable, "-m", "jupyterlab", str(copy), "--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={copy.parent}"]
    command += ["--allow-root"] if os.geteuid() == 0 else []  # in a container there is often nobody else
    return [*command, *([f"--ServerApp.port={port}"] if port else []), *([] if browser else ["--no-browser"])]
