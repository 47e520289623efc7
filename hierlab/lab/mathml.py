"""Formulas for a page that loads nothing from anywhere: LaTeX becomes MathML while the site is built."""

from __future__ import annotations

import re
from functools import cache
from html import escape, unescape

from hierlab.lab.errors import Refused

_MARKED = re.compile(r'<(span|div) class="arithmatex">\s*(?:\\\((.*?)\\\)|\\\[(.*?)\\\])\s*</\1>', re.DOTALL)


def typeset(html: str) -> str:
    """The page with every formula that Markdown marked as one in MathML.

    Raises:
        Refused: if a formula cannot be set, as `mathml`.
    """
    return _MARKED.sub(lambda m: mathml(unescape(m[2] if m[2] is not None else m[3]).strip(), block=m[2] is None), html)


@cache
def mathml(latex: str, *, block: bool = False) -> str:
    """One formula as a `<math>` element, which keeps the LaTeX as its alternative text.

    Raises:
        Refused: if the formula is malformed, or uses a command that cannot be set.
    """
    from latex2mathml.converter import convert

    try:
        element = convert(latex, display="block" if block else "inline")
    except Exception as error:  # it raises a dozen classes of its own, without a common base
        raise Refused(f"formula {latex!r} is malformed: {type(error).__name__} {error}".rstrip()) from error
    if unknown := re.findall(r"\\[A-Za-z]+", re.sub(r"<[^>]*>", " ", element)):
        raise Refused(f"formula {latex!r}: {', '.join(sorted(set(unknown)))} cannot be set; write it with other commands")
    element = element.replace("<math ", f'<math alttext="{escape(latex)}" ', 1)
    return f'<div class="formula">{element}</div>' if block else element
