"""The kernel a lab runs in: this environment's Python, whatever kernels the machine has installed, reached through a socket file."""

from __future__ import annotations

import sys
from pathlib import Path

from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from jupyter_core.paths import jupyter_runtime_dir
from traitlets import default


class Kernel(AsyncKernelManager):
    """Starts the interpreter that runs this very code. A kernel ends when the process that started it does."""

    transport = "ipc"

    @default("ip")
    def _in_the_runtime_folder(self) -> str:
        """Where the sockets are; by default they would be in the working directory, and two kernels there share them."""
        return str(Path(jupyter_runtime_dir()) / "kernel")

    @property
    def kernel_spec(self) -> KernelSpec:
        """The command that starts the kernel; no kernelspec is looked up on the machine."""
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="hierlab", language="python", name="python3")
