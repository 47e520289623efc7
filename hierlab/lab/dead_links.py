"""Links of a built site that lead nowhere, and anything it would fetch from another host."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from posixpath import join, normpath
from urllib.parse import unquote, urlsplit

_TAG = re.compile(r"<([a-zA-Z][\w-]*)((?:\s+[^<>]*)?)>")
_ATTRIBUTE = re.compile(r"""(?<![\w-])(href|src|srcset|id|name|data-figure|data-plotly|poster)=(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
_OPENED_BY_READER = {"a", "area"}


def dead_links(site: Path) -> list[str]:
    """Every broken link of every page, in words: "labs/gigpo/index.html: ../hgpo/ leads nowhere".

    Checked are links, images, scripts, styles and figures: files must exist, fragments must name an element of their page, and
    whatever the page itself loads must come from the site. Links that a reader follows to other hosts are not visited.
    """
    # Pages and files by path below the site, so that a link costs a look-up: a site has tens of thousands.
    files = {file.relative_to(site).as_posix() for file in site.rglob("*") if file.is_file()}
    pages = {file: _attributes((site / file).read_text(encoding="utf-8")) for file in sorted(files) if file.endswith(".html")}
    names = {page: {value for _, name, value in found if name in ("id", "name")} for page, found in pages.items()}
    return [
        f"{page}: {problem}"
        for page, found in pages.items()
        for tag, name, value in found
        if name not in ("id", "name") and (problem := _problem(files, page, tag, value, names))
    ]


def _problem(files: set[str], page: str, tag: str, address: str, names: dict[str, set[str]]) -> str | None:
    parts = urlsplit(address)
    if parts.scheme in ("mailto", "data", "javascript"):
        return None
    if parts.scheme or parts.netloc:
        return None if tag in _OPENED_BY_READER else f"{tag} would load {address} from another host"
    path = unquote(parts.path)
    target = page if not path else normpath(path.lstrip("/") if path.startswith("/") else join(page, "..", path))
    if target not in files:
        target = normpath(join(target, "index.html"))
    if target not in files:
        return f"{address} leads nowhere"
    fragment = unquote(parts.fragment)
    if fragment and "=" not in fragment and target.endswith(".html") and fragment not in names[target]:
        return f"{address}: there is no {fragment!r} on that page"
    return None


def _attributes(html: str) -> list[tuple[str, str, str]]:
    """(tag, attribute, value) of everything that links, loads, or can be linked to."""
    return [(tag.lower(), name, unescape(value)) for tag, text in _TAG.findall(html) for name, value in _values(text)]


def _values(text: str) -> Iterator[tuple[str, str]]:
    for name, double, single, bare in _ATTRIBUTE.findall(text):
        value = double or single or bare
        yield name, value.split(",")[0].split()[0] if name == "srcset" and value.strip() else value
