from __future__ import annotations

import pytest

from hierlab.credit.strategic_grams import grams_of
from hierlab.lab.planning_figures import credit_of_words, frequent_grams, phases
from hierlab.lab.results import Measured

CURVES = ("planning_perplexity", "execution_perplexity", "planning_entropy", "execution_entropy", "token_entropy", "semantic_entropy")


def test_a_panel_an_answer_and_a_dot_a_word():
    figure = credit_of_words({"right": ["a", "b"], "wrong": ["c"]}, {"GRPO": {"right": [1, 1], "wrong": [-1]}})
    assert [list(trace.x) for trace in figure.data] == [[1, 1], [-1]]
    assert list(figure.layout.yaxis.ticktext) == ["a", "b"]
    assert figure.layout.xaxis.range == figure.layout.xaxis2.range
    assert [trace.showlegend for trace in figure.data] == [True, False]


def test_an_advantage_for_each_word():
    with pytest.raises(ValueError, match="'right' has 2 words, but GRPO gives 1 advantages"):
        credit_of_words({"right": ["a", "b"]}, {"GRPO": {"right": [1]}})


def test_grams_count_once_an_answer_and_stand_in_order_of_frequency():
    answers = ["let us go let us go", "let us go 1"]
    planted, others = frequent_grams(answers, set(grams_of("let us go")), 0.5, shown=3).data
    assert (list(planted.x), list(planted.y)) == ([1], [1.0])
    assert list(others.y) == [0.5, 0.5]
    assert list(planted.hovertext) == ["let us go"]


def test_phases_average_seeds_and_begin_at_one():
    unit = {name: [2.0, 4.0] for name in CURVES} | {"updates": [0.0, 1.0], "length": [5.0, 6.0]}
    other = unit | {"planning_perplexity": [1.0, 1.0]}
    figure = phases(Measured("GRPO", (0, 1), (None, None), (unit, other)))
    lines = {trace.name: list(trace.y) for trace in figure.data if trace.yaxis == "y"}
    assert lines == {"planning": [1.0, 1.5], "execution": [1.0, 2.0]}
    shown = [trace.name for trace in figure.data if trace.showlegend]
    assert len(shown) == len(set(shown)) == 5
