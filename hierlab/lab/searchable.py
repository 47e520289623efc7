"""What the search reads of a page: its words.

The index is made by parsing every page as HTML, tag by tag, and on our pages most tags set code and formulas: a third of the time to
build the site. Code stays out of the index (what it defines is found by its documentation), and so does each single parameter in the
reference, which is half of its text; formulas keep their letters.
"""

from __future__ import annotations

import re

_UNREAD = re.compile(
    r'<pre\b.*?</pre>|<svg\b.*?</svg>|<details class="mkdocstrings-source">.*?</details>|<li class="doc-section-item.*?</li>', re.DOTALL
)
_MARKUP = re.compile(r"</?(?:div|span|math|m[a-z]+|semantics|table|thead|tbody|tr|strong|em)\b[^>]*>")
_CELL = re.compile(r"</?(?:td|th|dt|dd)\b[^>]*>")


def searchable(html: str) -> str:
    """The page's content with its headings, paragraphs and lists, but without code and without what only sets the text."""
    return _CELL.sub(" ", _MARKUP.sub("", _UNREAD.sub(" ", html)))
