"""FINN.no's slates: the data set of the paper, read from a folder the user names.

The package recsys-slates-dataset and the repository finn-no/recsys_slates_dataset hold code, not data; they fetch `data.npz` (2.3 million
users, 20 steps, 25 entries) and `itemattr.npz` (the group of each of 1.3 million items) from outside. Put both files into one folder.

Source: the data set's documentation in finn-no/recsys_slates_dataset@b394e52. We have not had the files: what is read here is checked for
its keys and shapes, and refused with what was found if they differ.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hierlab.recommendation.slates import SlateLog

FILES = {"data.npz": ("slate", "click", "click_idx"), "itemattr.npz": ("category",)}
HOW = (
    "get them with: pip install recsys-slates-dataset && python -c "
    "\"from recsys_slates_dataset.data_helper import download_data_files as d; d('FOLDER')\""
)


def check_finn(folder: Path | str) -> None:
    """Refuse a folder without the files.

    Raises:
        FileNotFoundError: naming the file that is missing, and how to get it.
    """
    for name in FILES:
        if not (Path(folder) / name).is_file():
            raise FileNotFoundError(f"{name} of the FINN.no slates is not in {Path(folder).absolute()}; {HOW}")


def read_finn(folder: Path | str, *, users: int | None = None) -> tuple[SlateLog, Tensor]:
    """The log, and the group of every item.

    Args:
        folder: where data.npz and itemattr.npz are.
        users: read the first so many only.

    Returns:
        The log [N, T, S], and [I] groups numbered from 0.

    Raises:
        FileNotFoundError: as `check_finn`.
        ValueError: if a file lacks a key or shapes do not fit.
    """
    check_finn(folder)
    arrays = {}
    for name, keys in FILES.items():
        with np.load(Path(folder) / name, allow_pickle=False) as file:
            if missing := [key for key in keys if key not in file]:
                raise ValueError(f"{name} lacks {', '.join(missing)}; it has {', '.join(file)}")
            arrays |= {key: torch.from_numpy(file[key].astype(np.int64)) for key in keys}
    rows = slice(0, users)
    log = SlateLog(arrays["slate"][rows], arrays["click"][rows], arrays["click_idx"][rows])
    group = arrays["category"].unique(return_inverse=True)[1]
    if int(log.slate.max()) >= len(group):
        raise ValueError(f"itemattr.npz has {len(group)} items, but slates show id {int(log.slate.max())}")
    return log, group
