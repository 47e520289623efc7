"""Seeds by name: every random choice has its own generator, derived from what it is for.

A generator made from `(seed, "tasks", iteration)` does not depend on what was drawn before, so a resumed run needs no saved
generator state, and adding a draw in one place changes nothing in another.
"""

from __future__ import annotations

import hashlib

import torch


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed that depends on every part and on their order.

    Raises:
        TypeError: if a part is neither an integer nor a string.
    """
    for part in parts:
        if not isinstance(part, int | str) or isinstance(part, bool):
            raise TypeError(f"a seed is derived from integers and strings, got {part!r}")
    digest = hashlib.sha256("\x1f".join(f"{type(part).__name__}:{part}" for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*parts: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator seeded by `derive_seed(*parts)`."""
    return torch.Generator(device=device).manual_seed(derive_seed(*parts))
