"""The kernel a lab runs in: this environment's Python, whatever kernels the machine has installed, reached through a socket file."""

from __future__ import annotations

import sys

from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec


class Kernel(AsyncKernelManager):
    """Starts the interpreter that runs this very code. A kernel ends when the process that started it does."""

    transport = "ipc"

    @property
    def kernel_spec(self) -> KernelSpec:
        """The command that starts the kernel; no kernelspec is looked up on the machine."""
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="hierlab", language="python", name="python3")
