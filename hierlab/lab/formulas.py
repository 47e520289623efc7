r"""Formulas without a typesetter: LaTeX to the few tags that Plotly's text understands.

Plotly needs MathJax for LaTeX, which neither a static page nor an offline notebook has. Sub- and superscripts, italics, Greek,
accents and fractions on a line cover what an estimator's narration says: `A^S=(R_t-\overline{R})/F` becomes
`<i>A</i><sup><i>S</i></sup>=(<i>R</i><sub><i>t</i></sub>-<i>R̅</i>)/<i>F</i>`.
"""

from __future__ import annotations

import re
from html import escape

_GREEK = (
    "alpha α beta β gamma γ delta δ epsilon ϵ varepsilon ε zeta ζ eta η theta θ vartheta ϑ iota ι kappa κ lambda λ mu μ nu ν xi ξ pi π "
    "rho ρ varrho ϱ sigma σ tau τ upsilon υ phi ϕ varphi φ chi χ psi ψ omega ω Gamma Γ Delta Δ Theta Θ Lambda Λ Xi Ξ Pi Π Sigma Σ Phi Φ "
    "Psi Ψ Omega Ω"
)
_SYMBOLS = (
    "sum ∑ prod ∏ int ∫ cdot · times × div ÷ pm ± mp ∓ le ≤ leq ≤ ge ≥ geq ≥ ne ≠ neq ≠ approx ≈ equiv ≡ sim ∼ propto ∝ in ∈ notin ∉ "
    "subset ⊂ subseteq ⊆ cup ∪ cap ∩ emptyset ∅ infty ∞ partial ∂ nabla ∇ to → rightarrow → leftarrow ← gets ← mapsto ↦ Rightarrow ⇒ "
    "succ ≻ prec ≺ mid | vert | lvert | rvert | Vert ‖ lVert ‖ rVert ‖ lfloor ⌊ rfloor ⌋ lceil ⌈ rceil ⌉ langle ⟨ rangle ⟩ ldots … cdots ⋯ "
    "dots … forall ∀ exists ∃ neg ¬ land ∧ lor ∨ wedge ∧ vee ∨ oplus ⊕ odot ⊙ circ ∘ star ⋆ ast ∗ top ⊤ bot ⊥ prime ′ ell ℓ setminus ∖"
)
_PAIRS = (_GREEK + " " + _SYMBOLS).split()
_CHARACTERS = dict(zip(_PAIRS[::2], _PAIRS[1::2], strict=True))
_ACCENTS = {"overline": "̅", "bar": "̅", "tilde": "̃", "widetilde": "̃", "hat": "̂", "widehat": "̂", "vec": "⃗", "dot": "̇", "underline": "̲"}
_BLACKBOARD = {"E": "𝔼", "R": "ℝ", "N": "ℕ", "Z": "ℤ", "P": "ℙ", "Q": "ℚ", "C": "ℂ", "1": "𝟙"}
_UPRIGHT = {"mathrm", "text", "textrm", "operatorname", "mathsf", "texttt", "mathtt", "mbox"}
_ITALIC = {"mathcal", "mathit", "mathscr"}
_SPACES = {",": " ", ";": " ", ":": " ", " ": " ", "quad": "  ", "qquad": "    ", "!": ""}
_IGNORED = {"left", "right", "big", "Big", "bigl", "bigr", "Bigl", "Bigr", "displaystyle", "limits", "nolimits"}
_TOKEN = re.compile(r"\\([A-Za-z]+)[ ]*|\\(.)|([{}_^])|([A-Za-z])|(\s+)|(.)", re.DOTALL)


def formula_html(latex: str) -> str:
    """LaTeX as text with `<i>`, `<b>`, `<sub>` and `<sup>`. A command nobody listed here keeps its name, upright.

    Raises:
        ValueError: if braces do not match.
    """
    parser = _Parser(latex.strip().strip("$"))
    html = parser.sequence(until=None)
    return re.sub(r"</i><i>", "", html)


def visible_length(html: str) -> int:
    """How many characters a reader sees: tags and combining accents left out."""
    text = re.sub(r"<[^>]*>", "", html).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return len(re.sub("[̀-ͯ⃐-⃿]", "", text))


class _Parser:
    """Recursive descent over the tokens of one formula."""

    def __init__(self, latex: str):
        self._latex = latex
        self._tokens = [m.groups() for m in _TOKEN.finditer(latex)]
        self._at = 0

    def sequence(self, until: str | None) -> str:
        """Everything up to the closing brace, or to the end."""
        parts = []
        while self._at < len(self._tokens):
            if self._tokens[self._at][2] == "}":
                if until != "}":
                    raise ValueError(f"formula {self._latex!r} has a brace that closes nothing")
                self._at += 1
                return "".join(parts)
            parts.append(self._item())
        if until:
            raise ValueError(f"formula {self._latex!r} has a brace that is never closed")
        return "".join(parts)

    def _item(self) -> str:
        command, escaped, mark, letter, space, other = self._tokens[self._at]
        self._at += 1
        if command:
            return self._command(command)
        if escaped:
            return _SPACES.get(escaped, "‖" if escaped == "|" else escape(escaped, quote=False))
        if mark == "{":
            return self.sequence(until="}")
        if mark in ("_", "^"):
            tag = "sub" if mark == "_" else "sup"
            return f"<{tag}>{self._argument()}</{tag}>"
        if letter:
            return f"<i>{letter}</i>"
        if space:
            return ""
        return {"'": "′", "-": "−", "~": " ", "&": ""}.get(other, _spaced(escape(other, quote=False)))

    def _argument(self) -> str:
        """The next item, or group, as one argument."""
        while self._at < len(self._tokens) and self._tokens[self._at][4]:
            self._at += 1
        return self._item() if self._at < len(self._tokens) else ""

    def _raw_argument(self) -> str:
        """The plain characters of the next group: for text, where spaces count and letters stay upright."""
        start = self._at
        html = self._argument()
        if any(t[0] or t[2] in ("_", "^") for t in self._tokens[start : self._at]):
            return html
        return escape("".join("".join(filter(None, t)) for t in self._tokens[start : self._at]).strip("{}"), quote=False)

    def _command(self, name: str) -> str:
        if name in _CHARACTERS:
            return _spaced(_CHARACTERS[name])
        if name in _ACCENTS:
            return _accented(self._argument(), _ACCENTS[name])
        if name in ("frac", "dfrac", "tfrac"):
            above, below = self._argument(), self._argument()
            return f"{_bracketed(above)}/{_bracketed(below)}"
        if name == "sqrt":
            return f"√{_bracketed(self._argument())}"
        if name in _UPRIGHT:
            return self._raw_argument()
        if name in _ITALIC:
            return self._argument()
        if name in ("mathbf", "boldsymbol", "bm"):
            return f"<b>{self._argument()}</b>"
        if name in ("mathbb", "mathbf1", "mathds"):
            plain = self._raw_argument()
            return _BLACKBOARD.get(plain, plain)
        if name in _IGNORED:
            return ""
        return _SPACES.get(name, f"{name} ")


def _spaced(character: str) -> str:
    """Relations and sums with thin spaces, so that a line can be read."""
    return f" {character} " if character in "=≤≥≠≈≡∼∝∈∉→←↦⇒≻≺" else character


def _accented(html: str, accent: str) -> str:
    """The accent on every visible character, tags left as they are."""
    return re.sub(r"(<[^>]*>)|(&\w+;)|(.)", lambda m: m[1] or m[2] or m[3] + accent, html)


def _bracketed(html: str) -> str:
    """Brackets around anything longer than one symbol with its indices."""
    core = re.sub(r"<su[bp]>.*?</su[bp]>", "", html)
    return html if visible_length(core) <= 1 or re.fullmatch(r"\d+(\.\d+)?", core) else f"({html})"
