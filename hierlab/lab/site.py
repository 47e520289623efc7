"""Build the site with MkDocs, and serve it to this machine."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from hierlab.lab.errors import Refused
from hierlab.lab.places import root, shown


def build_site(target: Path | None = None) -> Path:
    """Build the site, warnings counting as errors, into `site/` or the given folder.

    Raises:
        Refused: if MkDocs is not installed, or finds anything wrong; its own words are printed before.
    """
    folder = target or root() / "site"
    # Without --quiet, which also keeps warnings from being counted.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=root(), capture_output=True, text=True, check=False)
    if "No module named mkdocs" in done.stderr:
        raise Refused("the site needs MkDocs: pip install 'hierlab[docs]'")
    if done.returncode:
        print((done.stdout + done.stderr).strip(), file=sys.stderr)
        raise Refused(f"the site could not be built from {shown(root() / 'docs')}: see MkDocs' words above")
    return folder


def serve_site(folder: Path, port: int) -> None:
    """Serve the folder on 127.0.0.1 until Ctrl-C.

    Raises:
        Refused: if the port is taken.
    """
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), partial(_Quiet, directory=str(folder)))
    except OSError as error:
        raise Refused(f"port {port} on 127.0.0.1 cannot be used ({error.strerror}): choose another with --port") from error
    print(f"http://127.0.0.1:{port}/  (Ctrl-C stops)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
    finally:
        server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    """Files only, and no line for each."""

    def log_message(self, *arguments: object) -> None:
        pass
