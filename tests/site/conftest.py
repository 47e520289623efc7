"""The site, built once, served on this machine, and a real browser that fails a test on the first complaint."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from synthetic_results import REPOSITORY, write_root

from hierlab.lab.publish import browser as find_browser

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


@dataclass(frozen=True)
class Built:
    """A built site: where it is, what MkDocs said, and the processor time it took."""

    folder: Path
    words: str
    code: int
    seconds: float


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Built:
    """The repository's own pages, with made-up results where nothing is published."""
    folder = tmp_path_factory.mktemp("site")
    root = write_root(folder / "root")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(REPOSITORY / "mkdocs.yml"), "--site-dir"]
    done = subprocess.run(
        [*command, str(folder / "site")],
        env=os.environ | {"HIERLAB_ROOT": str(root), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Built(folder / "site", done.stdout + done.stderr, done.returncode, seconds)


@pytest.fixture(scope="session")
def site(built) -> Path:
    """The folder of the built site."""
    assert built.code == 0, built.words
    return built.folder


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="session")
def address(site):
    """Where the site is served, with a slash at the end."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def chromium():
    """A running Chromium."""
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium found: install it (Debian: apt install chromium) or set BROWSER_PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def visit(chromium, address):
    """Open a page: `visit("labs/gigpo/", width=390, scheme="dark")`.

    At the end of the test, any console error, any uncaught error, any failed request and any request to another host fails it.
    """
    contexts, complaints = [], []

    def open_page(path: str = "", *, width: int = 1280, height: int = 900, scheme: str = "light", **options):
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("console", lambda m: complaints.append(f"console: {m.text}") if m.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on(
            "request", lambda r: complaints.append(f"another host: {r.url}") if not r.url.startswith((address, "data:", "blob:")) else None
        )
        page.on("response", lambda r: complaints.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
        page.goto(address + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints, "\n".join(complaints)
