"""Figures of planning tokens: what phrases occur how often, what credit each word of an answer gets, and how the two classes of tokens
change in training."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from hierlab.credit.strategic_grams import Gram, grams_of
from hierlab.lab.figures import COLOURS, NEUTRAL, house_style

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from hierlab.lab.results import Measured

ROW = 17
"""Height of a word's row in pixels."""


def credit_of_words(answers: Mapping[str, Sequence[str]], credit: Mapping[str, Mapping[str, Sequence[float]]]) -> go.Figure:
    """Answers written downwards, a word a line, with the advantages that methods give each word beside it.

    Args:
        answers: the words of each answer, by the title of its panel.
        credit: for each method and answer, one advantage a word.

    Raises:
        ValueError: if an answer has not as many advantages as words.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    lengths = [len(words) for words in answers.values()]
    reach = 1.1 * max(abs(value) for by_answer in credit.values() for values in by_answer.values() for value in values)
    heights = [length / sum(lengths) for length in lengths]
    gap = 46 / (ROW * sum(lengths) + 46 * len(lengths))
    figure = make_subplots(rows=len(answers), cols=1, subplot_titles=list(answers), row_heights=heights, vertical_spacing=gap)
    for row, (title, words) in enumerate(answers.items(), start=1):
        for number, (method, by_answer) in enumerate(credit.items()):
            values = by_answer[title]
            if len(values) != len(words):
                raise ValueError(f"{title!r} has {len(words)} words, but {method} gives {len(values)} advantages")
            place = [i + 0.18 * (number - (len(credit) - 1) / 2) for i in range(len(words))]
            marker = {"color": COLOURS[number], "size": 8, "symbol": ("circle", "diamond", "square", "x")[number % 4]}
            hover = [f"{word}: {value:.3g} ({method})" for word, value in zip(words, values, strict=True)]
            dots = go.Scatter(x=list(values), y=place, mode="markers", marker=marker, name=method, legendgroup=method, hovertext=hover)
            figure.add_trace(dots.update(showlegend=row == 1, hoverinfo="text"), row=row, col=1)
        ticks = {"tickmode": "array", "tickvals": list(range(len(words))), "ticktext": list(words), "tickfont": {"size": 12}}
        figure.update_yaxes(**ticks, range=[len(words) - 0.5, -0.5], showgrid=True, row=row, col=1)
        figure.update_xaxes(zeroline=True, zerolinecolor=NEUTRAL, range=[-reach, reach], row=row, col=1)
    figure.update_xaxes(title_text="advantage", row=len(answers), col=1)
    figure.update_layout(legend={"orientation": "h", "y": -0.14, "yanchor": "top", "x": 0}, margin={"l": 44, "r": 12, "t": 36, "b": 44})
    figure.update_annotations(font={"size": 13, "color": NEUTRAL}, x=0, xanchor="left", xref="paper")
    return house_style(figure, height=ROW * sum(lengths) + 60 * len(lengths) + 100)


def frequent_grams(answers: Sequence[str], planted: Collection[Gram], threshold: float, *, shown: int = 120) -> go.Figure:
    """The grams of a corpus by the share of answers that hold them, coloured by whether they lie in a planted phrase.

    Args:
        answers: the corpus.
        planted: the grams of the phrases that were put there.
        threshold: the share at which a line is drawn.
        shown: so many of the most frequent.
    """
    import plotly.graph_objects as go

    counts: dict[Gram, int] = {}
    for answer in answers:
        for gram in dict.fromkeys(grams_of(answer)):
            counts[gram] = counts.get(gram, 0) + 1
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:shown]
    figure = go.Figure()
    for number, (name, wanted) in enumerate({"inside a planted phrase": True, "holds a digit": False}.items()):
        chosen = [(rank, gram, count) for rank, (gram, count) in enumerate(ranked, start=1) if (gram in planted) == wanted]
        bars = go.Bar(
            x=[rank for rank, *_ in chosen],
            y=[count / len(answers) for *_, count in chosen],
            hovertext=[" ".join(gram) for _, gram, _ in chosen],
            name=name,
            marker={"color": COLOURS[number], "line": {"width": 0}},
        )
        figure.add_trace(bars)
    figure.add_hline(y=threshold, line={"color": NEUTRAL, "dash": "dash"})
    figure.update_layout(bargap=0, legend={"orientation": "h", "y": -0.25, "yanchor": "top", "x": 0})
    figure.update_xaxes(title_text="phrases of 3 to 5 words, by rank")
    figure.update_yaxes(title_text="share of answers", tickformat=".0%")
    return house_style(figure, height=360)


def phases(measured: Measured, x: str = "updates") -> go.Figure:
    """How planning and execution tokens change in training, means over seeds: perplexity beside the start, entropy, and variety.

    Args:
        measured: of an arm whose units have the curves of `hierlab.rollout.marks.token_classes`.
        x: the curve along the bottom.
    """
    import numpy as np
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    def mean(name: str, *, relative: bool = False) -> list[float]:
        curves = np.array(measured[name], dtype=float)
        return [float(f"{v:.4g}") for v in (curves / curves[:, :1] if relative else curves).mean(axis=0)]

    panels = {
        "perplexity, in multiples of the start": {"planning": "planning_perplexity", "execution": "execution_perplexity"},
        "entropy of a token, nats": {"planning": "planning_entropy", "execution": "execution_entropy", "all tokens": "token_entropy"},
        "semantic entropy, nats": {"phrases of a batch": "semantic_entropy"},
        "tokens an answer": {"length": "length"},
    }
    figure = make_subplots(rows=len(panels), cols=1, subplot_titles=list(panels), shared_xaxes=True, vertical_spacing=0.07)
    along = [round(v, 4) for v in measured[x][0]]
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(dict.fromkeys(n for p in panels.values() for n in p))}
    for row, (title, lines) in enumerate(panels.items(), start=1):
        for name, curve in lines.items():
            y = mean(curve, relative=title.startswith("perplexity"))
            line = go.Scatter(x=along, y=y, name=name, mode="lines", line={"color": colours[name], "width": 2}, legendgroup=name)
            figure.add_trace(line.update(showlegend=name not in {t.name for t in figure.data}), row=row, col=1)
    figure.update_xaxes(title_text=x, row=len(panels), col=1)
    figure.update_layout(legend={"orientation": "h", "y": -0.08, "yanchor": "top", "x": 0})
    figure.update_annotations(font={"size": 13, "color": NEUTRAL}, x=0, xanchor="left", xref="paper")
    return house_style(figure, height=180 * len(panels) + 80)
