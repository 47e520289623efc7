"""What a user can get wrong, said in one line."""

from __future__ import annotations

from collections.abc import Iterable


class Refused(ValueError):  # noqa: N818 (it reads as what happened)
    """A request that cannot be carried out. The message is one line: what, where, and what to do."""


def suggest(name: str, accepted: Iterable[str]) -> str:
    """The words that follow "no x 'name'": close matches, if there are any, and everything that is accepted."""
    from difflib import get_close_matches

    accepted = [str(a) for a in accepted]
    close = get_close_matches(str(name).lower(), accepted, n=2, cutoff=0.55)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return f"{hint}accepted: {', '.join(accepted) or 'none'}"
