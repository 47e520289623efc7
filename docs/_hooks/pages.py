"""What MkDocs calls while it builds the site: the generated pages, their formulas, and a last look for dead links."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache, wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from mkdocstrings_handlers.python._internal import rendering

from hierlab.lab import reference_pages, site_pages
from hierlab.lab.dead_links import dead_links
from hierlab.lab.entries import Entry, entries
from hierlab.lab.errors import Refused
from hierlab.lab.mathml import typeset
from hierlab.lab.places import root
from hierlab.lab.searchable import searchable
from hierlab.lab.signatures import one_parameter_a_line


def _refusals_fail_the_build(hook: Callable) -> Callable:
    @wraps(hook)
    def run(*args: Any, **named: Any) -> Any:
        try:
            return hook(*args, **named)
        except Refused as error:
            raise PluginError(str(error)) from None

    return run


@cache
def _shelf() -> dict[str, Entry]:
    return {entry.paper.slug: entry for entry in entries()}


@_refusals_fail_the_build
def on_config(config: Any) -> None:
    """Add the generated pages to the navigation: after the front page, and at the end."""
    _shelf.cache_clear()
    rendering._get_formatter = lambda: one_parameter_a_line  # there is no option for it; without it ruff is called, as before
    families, reference = site_pages.navigation(_shelf())
    config.nav = [config.nav[0], families, *config.nav[1:], reference]


def on_files(files: Any, config: Any) -> None:
    """Add the generated pages, the published figures, and Plotly."""
    generated = reference_pages.reference_pages() | {
        path: text for path, text in site_pages.paper_pages(_shelf()).items() if files.get_file_from_path(path) is None
    }
    for path, text in generated.items():
        files.append(File.generated(config, path, content=text))
    for figure in sorted((root() / "figures").rglob("*")):
        if figure.suffix in (".json", ".png"):
            files.append(File.generated(config, figure.relative_to(root()).as_posix(), abs_src_path=str(figure)))
    plotly = Path(find_spec("plotly").submodule_search_locations[0], "package_data", "plotly.min.js")
    files.append(File.generated(config, "assets/plotly.min.js", abs_src_path=str(plotly)))


@_refusals_fail_the_build
def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Fill the markers, except in the guide and the reference, which write about them."""
    if page.file.src_uri.startswith(("guide/", "reference/")):
        return markdown
    to_root = os.path.relpath(".", page.url or ".").replace(os.sep, "/") + "/"
    return site_pages.filled(markdown, page.file.src_uri, to_root, _shelf())


@_refusals_fail_the_build
def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Set the formulas, and lay the page aside while the search reads its words."""
    page.whole = typeset(html)
    return searchable(page.whole)


def on_page_context(context: Any, page: Any, config: Any, nav: Any) -> None:
    """Give the page back: hooks are called after plugins, so the search has read it."""
    page.content = page.whole


def on_post_build(config: Any) -> None:
    """Refuse a site with dead links."""
    if problems := dead_links(Path(config.site_dir)):
        raise PluginError("\n".join(["dead links:", *problems[:40], *([f"and {len(problems) - 40} more"] if len(problems) > 40 else [])]))
