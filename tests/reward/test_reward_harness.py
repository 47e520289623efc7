"""The benchmark's domains, judges, baselines, and the harness that puts models through them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.reward import (
    DOMAINS,
    ConstantReward,
    Item,
    LengthReward,
    RandomReward,
    RewardModel,
    evaluate,
    evaluate_baselines,
    evaluate_judge,
    final_score,
    section_scores,
    table,
)
from hierlab.reward.judge import (
    FirstAnswer,
    majority,
    parse_rating,
    parse_verdict,
    ranking_prompt,
    rating_credit,
    rating_prompt,
    swapped,
    verdict_credit,
)

MATH = Item("Math", "0", "1 + 1 ?", ("2", "3", "4", "5"))
TIED = [Item("Ties", "ref:0", "the first ?", ("good", "bad"), 1), Item("Ties", "tied:0", "any ?", ("good", "good enough", "bad"), 2)]


class Scorer:
    """Scores by a function of the response."""

    def __init__(self, function):
        self.function = function

    def score(self, prompts, responses):
        return torch.tensor([float(self.function(response)) for response in responses])


class Scripted:
    """A judge that answers by a function of the prompt."""

    def __init__(self, function):
        self.function = function

    def reply(self, prompts):
        return [self.function(prompt) for prompt in prompts]


def knows_two(prompt):
    """The letter of the answer that is `2`."""
    return next(f"[[{letter}]]" for letter in "ABCD" if f"[Answer of assistant {letter}]\n2\n" in prompt)


# the final score


def test_the_mean_of_a_published_row():
    row = dict(zip(DOMAINS, (65.7, 55.3, 81.1, 90.9, 86.7, 83.4), strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert round(final_score(row), 1) == 77.2


def test_missing_domains_are_named():
    with pytest.warns(UserWarning, match="over 2 of 6 domains; Factuality, Precise IF, Safety, Focus missing"):
        assert final_score({"Math": 0.5, "Ties": 1.01}) == pytest.approx(0.755)


@pytest.mark.parametrize(
    ("domains", "message"),
    [({}, "at least one of the domains"), ({"Maths": 1.0}, "no domain 'Maths'"), ({"Math": float("nan")}, "score of Math must be finite")],
)
def test_wrong_domains_are_refused(domains, message):
    with pytest.raises(ValueError, match=message):
        final_score(domains)


def test_sections_of_version_one():
    counts, sections = {"a": 3, "b": 1, "c": 0}, {"Chat": ["a", "b", "missing"], "Code": ["c"], "None": ["missing"]}
    assert section_scores(counts, sections, {"a": 1.0, "b": 0.0, "c": 1.0}) == {"Chat": 0.75, "Code": 0.0, "None": 0.0}
    with pytest.raises(ValueError, match="subset 'd' of Chat has a score, and needs its number of prompts"):
        section_scores(counts, {"Chat": ["d"]}, {"d": 1.0})


# items


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("Mathematics", "0", "?", ("a", "b")), "no domain 'Mathematics'"),
        (("Math", "0", "?", ("a",)), "a right and a wrong answer, got 1 right of 1"),
        (("Math", "0", "?", ("a", "b", "c"), 2), "only Ties may have several"),
    ],
)
def test_wrong_items_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Item(*arguments)


# what a judge is asked and how it is read


def test_swapping_moves_two_answers_only():
    answers = ("right", "x", "y", "z")
    assert swapped(answers, 0) == answers
    assert swapped(answers, 2) == ("y", "x", "right", "z")
    for place in range(4):
        assert swapped(answers, place)[place] == "right"


def test_prompts_hold_what_they_ask_about():
    prompt = ranking_prompt("why ?", ("p", "q", "r", "s"))
    assert all(f"[Answer of assistant {letter}]\n{answer}\n" in prompt for letter, answer in zip("ABCD", "pqrs", strict=True))
    assert "detailed" in rating_prompt("why ?", "so")
    assert "detailed" not in rating_prompt("why ?", "so", ties=True)


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [("[[B]]", "B"), ("[[C]] no, [[A]]", "A"), ("[[ A ]]", "error"), ("", "error"), ("[[E]]", "error")],
)
def test_verdicts(reply, verdict):
    assert parse_verdict(reply) == verdict


@pytest.mark.parametrize(
    ("reply", "rating"),
    [
        ("10", 10),
        ("a 9\n", 9),
        ("1", 1),
        ("0", -1),
        ("11", -1),
        ("100", -1),
        ("7/10", 10),
        ("8.", -1),
        ("**6**", -1),
        ("-3", 3),
        ("2.5", 5),
    ],
)
def test_ratings(reply, rating):
    assert parse_rating(reply) == rating


def test_credit_of_verdicts_and_ratings():
    assert [verdict_credit(v, 1) for v in ("B", "A", "error")] == [1.0, 0.0, 0.25]
    assert [rating_credit(r) for r in ([9, 8, 3], [9, 9, 3], [3, 9], [-1, -1, -1], [-1, 1], [5, 5, 5, 5])] == [1, 0.5, 0, 0.25, 0, 0.25]


def test_votes():
    assert majority(["A", "B", "A"]) == "A"
    assert majority(["error"]) == "error"
    assert majority(["error", "error", "A"]) == "error"  # as in the released code, an unread verdict votes
    assert majority(["A", "B", "C"]) == "error"


@given(st.lists(st.sampled_from(["A", "B", "C", "D", "error"]), min_size=1, max_size=7).filter(lambda v: len(v) % 2))
def test_a_vote_does_not_depend_on_the_order_of_judges(verdicts):
    assert majority(verdicts) == majority(verdicts[::-1]) == majority(sorted(verdicts))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ranking_prompt("?", ("a", "b")), "a ranking is of four answers, got 2"),
        (lambda: swapped(("a", "b", "c", "d"), 4), "place must be 0, 1, 2 or 3"),
        (lambda: majority(["A", "B"]), "odd number of judges, got 2"),
        (lambda: majority(["E"]), "a verdict is one of A, B, C, D and error"),
        (lambda: verdict_credit("A", 5), "place must be"),
        (lambda: rating_credit([11]), r"from 1 to 10, or -1 for none, got \[11\]"),
        (lambda: rating_credit([]), "ratings are whole numbers"),
        (lambda: rating_credit([1], error=2.0), "error must be a number"),
    ],
)
def test_wrong_judgements_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# the harness


def test_one_item_one_domain():
    report = evaluate(Scorer(lambda r: r == "2"), [MATH])
    assert report.domains == {"Math": 1.0}
    assert report.final == 1.0
    assert report.missing == ("Factuality", "Precise IF", "Safety", "Focus", "Ties")
    assert report.scores["Math", "0"] == (1.0, 0.0, 0.0, 0.0)


def test_ties_and_the_rest_side_by_side():
    report = evaluate(Scorer(lambda r: 1.0 if r in ("2", "good", "good enough") else 0.0), [*TIED, MATH])
    assert list(report.domains) == ["Math", "Ties"]
    assert report.domains["Ties"] == pytest.approx(1.01)
    assert evaluate(ConstantReward(), [MATH, *TIED]).domains == {"Math": 0.25, "Ties": 0.0}


def test_the_baselines_are_reward_models_and_know_nothing():
    items = [Item("Math", str(i), f"{i} ?", (str(i), "x", "y", "z")) for i in range(400)]
    reports = evaluate_baselines(items)
    assert list(reports) == ["constant", "random", "longest answer", "first answer"]
    assert reports["constant"].final == 0.25
    for name in ("random", "first answer"):
        assert reports[name].final == pytest.approx(0.25, abs=0.09)
    assert all(isinstance(m, RewardModel) for m in (ConstantReward(), RandomReward(), LengthReward()))
    assert LengthReward().score(["?", "?"], ["a b c", ""]).tolist() == [3.0, 0.0]
    assert RandomReward(3).score(["p"], ["r"]).equal(RandomReward(3).score(["p"], ["r"]))
    assert not RandomReward(3).score(["p"], ["r"]).equal(RandomReward(4).score(["p"], ["r"]))


def test_a_judge_that_knows_is_right_wherever_the_answer_stands():
    items = [Item("Math", str(i), "1 + 1 ?", ("2", "3", "4", "5")) for i in range(40)]
    report = evaluate_judge(Scripted(knows_two), items)
    assert report.final == 1.0
    assert set(report.places) == {0, 1, 2, 3}
    assert report.errors == 0
    assert sum(report.chosen().values()) == 40
    always = evaluate_judge(FirstAnswer(), items)
    assert always.final == pytest.approx(report.places.count(0) / 40)


def test_unread_verdicts_earn_chance():
    report = evaluate_judge(Scripted(lambda _: "I cannot decide"), [MATH])
    assert report.final == 0.25
    assert report.errors == 1
    assert report.chosen()["error"] == 1


def test_ratings_go_through_the_same_formulas():
    def rate(prompt):
        return "9" if "[Answer]\n2\n" in prompt or "[Answer]\ngood" in prompt else "none"

    report = evaluate_judge(Scripted(rate), [MATH, *TIED], mode="ratings")
    assert report.domains == {"Math": 1.0, "Ties": pytest.approx(1.01)}
    assert report.scores["Ties", "tied:0"] == (9.0, 9.0, -1.0)
    assert report.verdicts == ()


def test_a_ranking_judge_still_rates_the_ties():
    report = evaluate_judge(FirstAnswer(), [MATH, *TIED])
    assert report.domains["Ties"] == 0.0
    assert len(report.verdicts) == 1


def test_three_judges_vote():
    right, wrong = Scripted(knows_two), Scripted(lambda p: "[[A]]" if knows_two(p) != "[[A]]" else "[[B]]")
    items = [Item("Math", str(i), "1 + 1 ?", ("2", "3", "4", "5")) for i in range(12)]
    assert evaluate_judge([right, wrong, right], items).final == 1.0
    assert evaluate_judge([right, wrong, wrong], items).final == 0.0


def test_the_table_leaves_missing_domains_empty():
    columns, rows = table({"knows": evaluate(Scorer(lambda r: r == "2"), [MATH])})
    assert columns == ["model", "mean", *DOMAINS]
    assert rows == [["knows", "100.0", "", "", "100.0", "", "", ""]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evaluate(ConstantReward(), []), "at least one item"),
        (lambda: evaluate(ConstantReward(), [MATH, MATH]), "two items of Math are named 0"),
        (lambda: evaluate(Scorer(lambda r: float("nan")), [MATH]), "scores of item 0 of Math must be finite"),
        (lambda: evaluate_judge([FirstAnswer()] * 2, [MATH]), "an odd number of judges may rank and one may rate, got 2"),
        (lambda: evaluate_judge([FirstAnswer()] * 3, TIED), "got 3 and 2 items to rate"),
        (lambda: evaluate_judge(FirstAnswer(), [MATH], mode="pairs"), "mode must be one of 'ranking', 'ratings'"),
        (lambda: evaluate_judge(FirstAnswer(), [Item("Math", "0", "?", ("a", "b"))]), "a ranking is of four answers, got 2"),
    ],
)
def test_the_harness_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_model_with_too_few_scores_and_a_judge_with_too_few_replies():
    class Short:
        def score(self, prompts, responses):
            return torch.zeros(1)

        def reply(self, prompts):
            return []

    with pytest.raises(ValueError, match=r"one number for each response, \[4\], got shape \(1,\)"):
        evaluate(Short(), [MATH])
    with pytest.raises(ValueError, match="one reply for each prompt, got 0 for 1"):
        evaluate_judge(Short(), [MATH])


def test_credits_by_prompt_are_kept():
    items = [Item("Math", "0", "?", ("2", "2", "x", "y")), Item("Math", "1", "?", ("x", "2", "y", "z"))]
    assert np.array_equal(evaluate(Scorer(lambda r: r == "2"), items).credits["Math"], [0.5, 0.0])
