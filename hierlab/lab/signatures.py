"""Long signatures on one line a parameter, for the reference.

mkdocstrings asks a formatter to do it, in a process of its own for every signature: hundreds of processes a build.
"""

from __future__ import annotations

_OPEN, _CLOSE, _QUOTES = "([{", ")]}", "'\""


def one_parameter_a_line(code: str, line_length: int) -> str:
    """A function's head with its body `pass`, broken after every parameter; any other code as it is.

    Args:
        code: such as `def f(a, b) -> int: pass`.
        line_length: not looked at, since only what is too long for a line comes here.
    """
    if not code.startswith("def "):
        return code
    start = code.index("(")
    parts, end = _parameters(code, start + 1)
    lines = "".join(f"\n    {part}," for part in parts)
    return f"{code[: start + 1]}{lines}\n{code[end:].removesuffix('pass').rstrip()}\n    pass\n"


def _parameters(code: str, start: int) -> tuple[list[str], int]:
    """What stands between the commas of the outermost bracket, and where that bracket closes."""
    parts, depth, quote, begin = [], 0, "", start
    for at in range(start, len(code)):
        letter = code[at]
        if quote:
            quote = "" if letter == quote else quote
        elif letter in _QUOTES:
            quote = letter
        elif letter in _OPEN:
            depth += 1
        elif letter in _CLOSE and depth:
            depth -= 1
        elif letter in _CLOSE or (letter == "," and not depth):
            parts.append(code[begin:at].strip())
            begin = at + 1
            if letter in _CLOSE:
                return [part for part in parts if part], at
    raise ValueError(f"a bracket is not closed in {code!r}")
