"""Opening a lab: a server for this machine only, behind a token, and a button instead of a long computation."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from conftest import new_root

CHROMIUM = os.environ.get("BROWSER_PATH") or shutil.which("chromium")


@pytest.fixture
def address(tmp_path):
    """The address of a lab opened in marimo, with its token."""
    root = new_root(tmp_path / "root")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "hierlab", "open", "gigpo", "--no-browser", "--port", str(port)]
    environment = {**os.environ, "HIERLAB_ROOT": str(root)}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    for line in server.stdout:
        if found := re.search(r"http://\S*access_token=\S+", line):
            break
    yield found.group(0)
    os.killpg(server.pid, signal.SIGTERM)
    server.wait(timeout=20)


def status(address):
    """Where a browser ends up that follows redirects and keeps cookies, or the error's number."""
    end = time.monotonic() + 20
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    while True:
        try:
            return browser.open(address, timeout=10).url
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            assert time.monotonic() < end, "the server does not answer"
            time.sleep(0.2)


def test_the_server_wants_its_token(address):
    bare = address.split("?")[0]
    assert "/auth/login" in str(status(bare)) or status(bare) in (401, 403)
    assert "/auth/login" not in str(status(address))


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium found: install chromium or set BROWSER_PATH")
def test_a_lab_waits_for_its_button_and_then_runs_in_place(address):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        page = browser.new_page()
        page.goto(address)
        page.get_by_text("Not run yet").wait_for(timeout=60_000)
        assert page.get_by_text("Run here: scale reduced").count() == 0
        page.get_by_role("button", name=re.compile("Run the experiment here")).click()
        page.get_by_text("Run here: scale reduced").wait_for(timeout=60_000)
        page.get_by_text("without the episode term").first.wait_for(timeout=60_000)
        browser.close()
