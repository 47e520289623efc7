"""Formulas: set while the site is built, or refused."""

import pytest

from hierlab.lab.errors import Refused
from hierlab.lab.mathml import mathml, typeset

pytest.importorskip("latex2mathml", reason="the docs extra is not installed: pip install 'hierlab[docs]'")


def test_a_page_without_formulas_is_left_alone():
    assert typeset("<p>no formula \\( here</p>") == "<p>no formula \\( here</p>"


def test_inline_and_block():
    html = typeset('<p><span class="arithmatex">\\(a_t\\)</span></p><div class="arithmatex">\n\\[\na &lt; b\n\\]\n</div>')
    assert '<math alttext="a_t"' in html
    assert '<div class="formula"><math alttext="a &lt; b"' in html
    assert 'display="block"' in html
    assert "arithmatex" not in html


def test_fractions_and_accents_become_elements():
    element = mathml(r"\frac{R-\overline{R}}{F_{\tilde s}}")
    assert all(f"<{tag}" in element for tag in ("mfrac", "mover", "msub"))


@pytest.mark.parametrize("latex", [r"\nosuch{x}", r"x^", r"\left( x", r"x_1_2"])
def test_what_cannot_be_set_is_refused(latex):
    with pytest.raises(Refused, match="formula"):
        mathml(latex)
