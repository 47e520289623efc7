"""LaTeX to Plotly's tags."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hierlab.lab.formulas import formula_html, visible_length


@pytest.mark.parametrize(
    ("latex", "html"),
    [
        ("", ""),
        ("x", "<i>x</i>"),
        ("ab", "<i>ab</i>"),
        ("x_t", "<i>x</i><sub><i>t</i></sub>"),
        ("x_{t+1}^2", "<i>x</i><sub><i>t</i>+1</sub><sup>2</sup>"),
        (r"\gamma^k", "γ<sup><i>k</i></sup>"),
        (r"A^E=(R(\tau)-\overline{R})/F", "<i>A</i><sup><i>E</i></sup> = (<i>R</i>(τ)−<i>R̅</i>)/<i>F</i>"),
        (r"R(\tau)=\sum_t r_t", "<i>R</i>(τ) = ∑<sub><i>t</i></sub><i>r</i><sub><i>t</i></sub>"),
        (r"|G(\tilde s)|", "|<i>G</i>(<i>s̃</i>)|"),
        (r"\overline{ab}", "<i>a̅b̅</i>"),
        (r"\frac{a}{b}", "<i>a</i>/<i>b</i>"),
        (r"\frac{a-b}{\mathrm{std}}", "(<i>a</i>−<i>b</i>)/(std)"),
        (r"\frac{r_t}{2}", "<i>r</i><sub><i>t</i></sub>/2"),
        (r"\sqrt{x}", "√<i>x</i>"),
        (r"\text{if } x<0", "if <i>x</i>&lt;0"),
        (r"\min(\rho A)", "min (ρ<i>A</i>)"),
        (r"\mathbb{E}[x]", "𝔼[<i>x</i>]"),
        (r"\left(x\right)", "(<i>x</i>)"),
        (r"\{x\}", "{<i>x</i>}"),
        (r"\mathbf{w}", "<b><i>w</i></b>"),
        (r"x'", "<i>x</i>′"),
        (r"\unheardof{x}", "unheardof <i>x</i>"),
        (r"$x \le y$", "<i>x</i> ≤ <i>y</i>"),
    ],
)
def test_formulas(latex, html):
    assert formula_html(latex) == html


@pytest.mark.parametrize("latex", ["{x", "x}", r"\frac{a", "x_{"])
def test_unmatched_braces_are_refused(latex):
    with pytest.raises(ValueError, match="brace"):
        formula_html(latex)


def test_visible_length_counts_what_is_seen():
    assert visible_length(formula_html(r"\overline{R}_t<1")) == 4


@given(st.text(alphabet="abx_^+-=<>&/()0123 \\gamma,|", max_size=30))
def test_any_text_without_braces_gives_balanced_tags(latex):
    html = formula_html(latex)
    for tag in ("i", "b", "sub", "sup"):
        assert html.count(f"<{tag}>") == html.count(f"</{tag}>")


def test_narrations_of_the_library_are_legible():
    """Every formula that `show` narrates in the methods can be rendered, and no command is left over."""
    import ast
    from pathlib import Path

    import hierlab

    found = []
    for path in Path(hierlab.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", "") == "show"
                and len(node.args) == 3
                and isinstance(node.args[2], ast.Constant)
            ):
                found.append(node.args[2].value)
    assert len(found) >= 5
    for latex in found:
        assert "\\" not in formula_html(latex)
