"""Tiny labs, one for every way a run can end, run once for all tests of this folder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hierlab.files import locked

FIXTURES = Path(__file__).parent / "fixtures"
ENDINGS = ("gigpo", "hiper", "hgpo", "himac", "hapo", "rose", "hicra")


def hierlab(root, *arguments, **options):
    """Run the command line in a root of its own."""
    command = [sys.executable, "-m", "hierlab", *map(str, arguments)]
    environment = {**os.environ, "HIERLAB_ROOT": str(root), "COLUMNS": "200", **options}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)


def new_root(folder):
    """A fresh copy of the tiny labs."""
    shutil.copytree(FIXTURES, folder)
    return folder


@pytest.fixture(scope="session")
def endings(tmp_path_factory):
    """A root in which all the tiny labs have been run by one command, and what that command said.

    Test processes running side by side share one.
    """
    base = tmp_path_factory.getbasetemp()
    base = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    root, said = base / "endings", base / "endings.json"
    with locked(base / "endings.lock"):
        if not said.exists():
            done = hierlab(new_root(root), "run", *ENDINGS, "--jobs", 2, "--workers", 2)
            said.write_text(json.dumps({"code": done.returncode, "out": done.stdout, "err": done.stderr}))
    return root, json.loads(said.read_text())


@pytest.fixture
def root_of(endings, tmp_path, monkeypatch):
    """A private copy of the root of `endings`, entered as the root of this process."""
    root = tmp_path / "root"
    shutil.copytree(endings[0], root, symlinks=True)
    monkeypatch.setenv("HIERLAB_ROOT", str(root))
    return root
