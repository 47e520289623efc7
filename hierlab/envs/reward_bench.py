"""The items of RewardBench 2 (allenai/reward-bench-2 on the Hugging Face hub), read from there or from a folder.

The data is not part of this repository. It is published under ODC-BY; some completions come from models with terms of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hierlab.reward.items import Item

HUB_ID = "allenai/reward-bench-2"


def check_readable(name: str) -> None:
    """Refuse a benchmark that could not be read, before anything else is done.

    Args:
        name: a hub id or a folder.

    Raises:
        ModuleNotFoundError: if the package that reads its files is missing; the message says how to get it.
        FileNotFoundError: if a folder holds no data.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        files = _files(folder)
        if not files:
            raise FileNotFoundError(
                f"{folder} holds neither *.parquet nor *.jsonl; get the data with: hf download {HUB_ID} --repo-type dataset"
            )
        parquet = any(path.suffix == ".parquet" for path in files)
    else:
        parquet = True
    if parquet and find_spec("pyarrow") is None:
        raise ModuleNotFoundError(f"{name} is read by pandas from parquet files, which needs pyarrow: pip install pyarrow")


def reward_bench_2(name: str = HUB_ID) -> list[Item]:
    """All items of the benchmark, the right answers first.

    Args:
        name: a hub id, which uses the network unless it was fetched before, or a folder with *.parquet or *.jsonl.

    Raises:
        ModuleNotFoundError, FileNotFoundError: as `check_readable`, and if the data cannot be fetched.
        ValueError: if a row lacks a column, or does not make an item.
    """
    check_readable(name)
    folder = Path(name).expanduser()
    files = _files(folder if folder.is_dir() else _from_hub(name))
    return [_item(row, number) for number, row in enumerate(row for path in files for row in _rows(path))]


def _files(folder: Path) -> list[Path]:
    return sorted(path for ending in ("*.parquet", "*.jsonl") for path in folder.rglob(ending))


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, repo_type="dataset", allow_patterns=["*.parquet", "*.jsonl"]))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FileNotFoundError(
            f"{name!r} is no folder here and cannot be fetched: {reason}; where there is a network, run "
            f"`hf download {name} --repo-type dataset`, or give the folder of a copy"
        ) from error


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    import pandas as pd

    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_json(path, lines=True)
    yield from frame.to_dict(orient="records")


def _item(row: Mapping[str, Any], number: int) -> Item:
    if missing := [name for name in ("id", "prompt", "chosen", "rejected", "subset") if name not in row]:
        raise ValueError(f"row {number} has no column {missing[0]!r}; there are {', '.join(map(str, row))}")
    right, wrong = list(row["chosen"]), list(row["rejected"])
    return Item(row["subset"], str(row["id"]), row["prompt"], (*right, *wrong), num_correct=len(right))
