from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.credit import parse_plans, read_values, token_pieces, value_masks
from hierlab.credit.plan_execute import TAGS, Plan, read_plan, write_plan

TURN = "<switch>SWITCH</switch><subgoal>find the key.</subgoal>\n<action>go east</action>"


def letters(*texts: str) -> tuple[list[list[str]], torch.Tensor]:
    """Responses of one-letter tokens, and their mask."""
    mask = torch.arange(max(map(len, texts), default=0)) < torch.tensor([len(text) for text in texts], dtype=torch.int64)[:, None]
    return [list(text) for text in texts], mask


def covered(pieces: list[str], mask: torch.Tensor) -> str:
    """The text of the tokens in a mask."""
    return "".join(piece for piece, inside in zip(pieces, mask.tolist(), strict=False) if inside)


# degenerate sizes


def test_no_rows_and_empty_responses():
    plans = parse_plans([], torch.zeros(0, 4, dtype=torch.bool))
    assert plans.switch.shape == plans.plan_end.shape == (0,)
    assert plans.action_mask.shape == (0, 4)
    empty = parse_plans([[]], torch.zeros(1, 3, dtype=torch.bool))
    assert not empty.switch.any()
    assert not empty.action_mask.any()


# what is read


def test_fields_of_a_response():
    pieces, mask = letters(TURN)
    plans = parse_plans(pieces, mask, include_tags=False)
    assert plans.switch.tolist() == [True]
    assert covered(pieces[0], plans.switch_mask[0]) == "SWITCH"
    assert covered(pieces[0], plans.subgoal_mask[0]) == "find the key"  # the full stop goes with the tag
    assert covered(pieces[0], plans.action_mask[0]) == "go east"
    tagged = parse_plans(pieces, mask)
    assert covered(pieces[0], tagged.switch_mask[0]) == "<switch>SWITCH</switch>"
    assert covered(pieces[0], tagged.subgoal_mask[0]) == "<subgoal>find the key.</subgoal>"
    assert covered(pieces[0], tagged.action_mask[0]) == "<action>go east</action>"
    assert TURN[plans.plan_end[0] :] == "\n<action>go east</action>"


@pytest.mark.parametrize(
    ("text", "switches"),
    [
        ("<switch>KEEP</switch>", False),
        ("<switch> keep\n</switch>", False),
        ("<switch>SWITCH</switch>", True),
        ("<switch>maybe</switch>", True),
        ("<switch></switch>", False),
        ("<switch>  </switch>", False),
        ("<switch>SWITCH", False),
        ("<SWITCH>SWITCH</SWITCH>", False),
        ("SWITCH</switch>", False),
        ("", False),
        ("<switch>KEEP</switch><switch>SWITCH</switch>", False),
        ("<switch>KEEP<switch>SWITCH</switch>", True),
    ],
)
def test_what_counts_as_a_switch(text, switches):
    assert parse_plans(*letters(text)).switch.tolist() == [switches]


def test_words_for_keeping_and_for_silence_can_be_chosen():
    pieces, mask = letters("<switch>stay</switch>", "nothing")
    assert parse_plans(pieces, mask, keep=("stay",)).switch.tolist() == [False, True]
    assert parse_plans(pieces, mask, missing="SWITCH").switch.tolist() == [True, True]


def test_without_an_action_the_whole_response_acts():
    pieces, mask = letters("<switch>KEEP</switch>go", "<action></action>x")
    assert torch.equal(parse_plans(pieces, mask).action_mask[0], mask[0])
    assert not parse_plans(pieces, mask, whole_response=False).action_mask[0].any()
    assert covered(pieces[1], parse_plans(pieces, mask).action_mask[1]) == "<action></action>"
    assert torch.equal(parse_plans(pieces, mask, include_tags=False).action_mask[1], mask[1])  # nothing between the tags


@pytest.mark.parametrize(
    ("text", "behind"),
    [
        ("<switch>KEEP</switch><subgoal>a</subgoal>b", "b"),
        ("<switch>KEEP</switch>b", "b"),
        ("<switch>KEEP</switch>b<subgoal>a</subgoal>", "b<subgoal>a</subgoal>"),  # nothing stands behind the subgoal
        ("go", "go"),
        ("<subgoal>a</subgoal>", "<subgoal>a</subgoal>"),
    ],
)
def test_where_the_plan_ends(text, behind):
    assert text[parse_plans(*letters(text)).plan_end[0] :] == behind


def test_tags_may_straddle_tokens():
    pieces = [["so <swi", "tch>KE", "EP</sw", "itch> <", "action>go", " east</ac", "tion> ."]]
    mask = torch.ones(1, 7, dtype=torch.bool)
    plans = parse_plans(pieces, mask, include_tags=False)
    assert plans.switch_mask.tolist() == [[False, True, True, False, False, False, False]]
    assert plans.action_mask.tolist() == [[False, False, False, False, True, True, False]]
    assert plans.plan_end.tolist() == [4]
    tagged = parse_plans(pieces, mask)
    assert tagged.switch_mask.tolist() == [[True, True, True, True, False, False, False]]
    assert tagged.action_mask.tolist() == [[False, False, False, True, True, True, True]]


@given(
    st.lists(
        st.sampled_from(["<switch>", "</switch>", "<subgoal>", ".</subgoal>", "<action>", "]</action>", "KEEP", "go ", ""]), max_size=12
    )
)
def test_a_field_runs_from_the_first_opening_tag_to_the_nearest_closing_one(words):
    text = "".join(words)
    pieces, mask = letters(text)
    plans = parse_plans(pieces, mask, include_tags=False, whole_response=False)
    for name in ("switch", "subgoal", "action"):
        opened = text.find(f"<{name}>")
        content = text[opened + len(name) + 2 :] if opened >= 0 else ""
        ends = [found.start() for found in re.finditer(rf"</{name}>" if name == "switch" else rf"[\].)]?</{name}>", content)]
        assert covered(pieces[0], getattr(plans, f"{name}_mask")[0]) == (content[: min(ends)] if ends else "")


def test_values_are_read_where_the_masks_say():
    pieces, mask = letters(TURN, "<switch>KEEP</switch>go", "go")
    plans = parse_plans(pieces, mask)
    read = value_masks(plans.plan_end, torch.tensor([True, False, True]), mask)
    places = torch.arange(mask.shape[1], dtype=torch.float64).expand(mask.shape)
    assert read_values(places, read.low, mask).tolist() == [plans.plan_end[0], len("<switch>KEEP</switch>"), 0]
    assert read.high.sum(1).tolist() == [1, 0, 1]
    assert read_values(places, read.high, mask).tolist() == [0, mask[1].sum() - 1, 0]  # no mask: the last response token
    assert read_values(places, read.switch, mask).tolist() == [0, 0, 0]


def test_pieces_of_a_tokenizer():
    ids = torch.tensor([[2, 1, 0], [1, 1, 1]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert token_pieces(ids, mask, lambda token: f"<{token}>") == [["<2>", "<1>"], ["<1>"] * 3]


# wrong usage


def test_pieces_and_mask_must_match():
    pieces, mask = letters("abc", "ab")
    with pytest.raises(ValueError, match="row 1 has 1 texts and 2 tokens"):
        parse_plans([pieces[0], ["a"]], mask)
    with pytest.raises(ValueError, match="pieces: 1, response_mask: 2"):
        parse_plans(pieces[:1], mask)
    gap = mask.clone()
    gap[1] = torch.tensor([False, True, True])
    with pytest.raises(ValueError, match="one run of tokens from the first position, but row 1 is not"):
        parse_plans(pieces, gap)
    with pytest.raises(ValueError, match=r"value_mask must have shape \(2, 3\), got \(2, 2\)"):
        read_values(torch.zeros(2, 3), mask[:, :2], mask)


# what a response says


@pytest.mark.parametrize(
    ("response", "plan"),
    [
        ("", Plan(False, "", "")),
        (TURN, Plan(True, "find the key", "go east")),
        (" go east ", Plan(False, "", "go east")),
        ("< switch >", Plan(False, "", "< switch >")),
        ("<switch>SWITCH</switch> <subgoal> a <action> go </action>", Plan(True, "", "go")),
        ("<switch> </switch><action></action>", Plan(False, "", "")),
    ],
)
def test_what_a_response_says(response, plan):
    assert read_plan(response) == plan


@given(st.lists(st.sampled_from([*TAGS, "KEEP", "keep", "SWITCH", "go", " ", ".", "\n"])).map("".join))
def test_reading_and_parsing_agree(response):
    plans = parse_plans(*letters(response))
    assert read_plan(response).switch == bool(plans.switch[0])
    assert not read_plan(response).subgoal or plans.subgoal_mask[0].any()


@given(st.booleans(), st.sampled_from(["", "find the key", "put the cup on the shelf"]), st.sampled_from(["", "go east"]))
def test_plans_are_read_as_they_were_written(switch, subgoal, action):
    plan = Plan(switch, subgoal, action)
    assert read_plan(write_plan(plan)) == plan
