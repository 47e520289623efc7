"""The complexity of a predictor in bits: its program and its table, compressed (arXiv 2506.17859).

Complexity is K = K_code + K_data. K_code is the source text of the predictor without comments, docstrings and white space; K_data
are the raw bytes of its prior. Both are compressed by several programs and the smallest result counts. A table of tasks drawn from
a continuous distribution does not compress, so that K_data(M) is nearly 64 bits a number and grows with D, while G's stays.

The bits of a program depend on how it is written and on the versions of the compressors. `CODE_BITS` are those that the authors'
classes were measured at; `source_bits` measures any other program.

Source: DanielWurgaft/rational-icl@7fcd0a6 `src/code/compression_utils.py`. It tries lzma, bz2, brotli, zstd, and brotli on
differences; here brotli and zstd join if they are installed (`pip install brotli zstandard`), and differences are tried with all.
"""

from __future__ import annotations

import ast
import bz2
import inspect
import io
import lzma
import textwrap
import tokenize
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from torch import Tensor

from hierlab.checks import check_choice

Setting = Literal["balls and urns", "linear regression", "classification"]

CODE_BITS: Mapping[str, Mapping[str, int]] = {
    "balls and urns": {"M": 4784, "G": 4328, "constant": 1912},
    "linear regression": {"M": 7392, "G": 6136, "constant": 1712},
    "classification": {"M": 4704, "G": 4552, "constant": 2096},
}
"""Bits of the program of each predictor, measured with the original code."""
PRIOR_BITS: Mapping[str, int] = {"balls and urns": 88, "linear regression": 96, "classification": 120}
"""Bits of G's prior: a handful of parameters, whatever D is."""


def _compressors() -> dict[str, Callable[[bytes], bytes]]:
    found: dict[str, Callable[[bytes], bytes]] = {
        "lzma": lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME),
        "bz2": lambda data: bz2.compress(data, compresslevel=9),
    }
    if find_spec("brotli"):
        import brotli

        found["brotli"] = lambda data: brotli.compress(data, quality=11)
    if find_spec("zstandard"):
        import zstandard

        found["zstd"] = lambda data: zstandard.ZstdCompressor(level=22).compress(data)
    return found


def _smallest(texts: list[bytes]) -> int:
    """Bits of the shortest compression of any of the texts; never more than the first as it is."""
    return 8 * min([len(texts[0]), *(len(compress(data)) for compress in _compressors().values() for data in texts)])


def compressed_bits(table: np.ndarray | Tensor | list) -> int:
    """Bits of a table of numbers, as it is or as differences of neighbours, compressed by the best program; at most its raw size.

    Args:
        table: numbers of any shape; their type counts, 64 bits a number in double precision.

    Raises:
        ValueError: if it holds no numbers.
    """
    values = table.detach().cpu().numpy() if isinstance(table, Tensor) else np.asarray(table)
    if values.size == 0 or values.dtype.kind not in "iufc":
        raise ValueError(f"a table of numbers is wanted, got {values.dtype} of shape {values.shape}")
    return _smallest([values.tobytes(), np.diff(values, prepend=values.flat[0]).tobytes()])


def source_bits(program: Callable[..., Any] | type) -> int:
    """Bits of a function's or class's source, without comments, docstrings and white space, compressed by the best program.

    Raises:
        ValueError: if its source cannot be found.
    """
    try:
        source = textwrap.dedent(inspect.getsource(program))
    except (OSError, TypeError) as error:
        raise ValueError(f"the source of {program!r} cannot be found: {error}") from error
    return _smallest([bare_source(source).encode()])


def bare_source(source: str) -> str:
    """A program's text without comments, docstrings and white space.

    Raises:
        SyntaxError: if it is no Python.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    tokens = tokenize.generate_tokens(io.StringIO(ast.unparse(tree)).readline)
    layout = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    return "".join("".join(token.string for token in tokens if token.type not in layout).split())


def predictor_bits(setting: Setting, tasks: Tensor) -> tuple[int, int]:
    """K of M and of G in bits: the authors' programs, and M's own table of tasks compressed.

    Args:
        setting: which of the three.
        tasks: [D, ...] the table of training tasks.

    Raises:
        ValueError: if the setting is unknown or the table empty.
    """
    check_choice("setting", setting, Setting)
    code = CODE_BITS[setting]
    return code["M"] + compressed_bits(tasks), code["G"] + PRIOR_BITS[setting]
