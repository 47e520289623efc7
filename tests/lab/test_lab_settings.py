"""Settings: scales, overrides, and every way to get them wrong."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from hierlab.lab.errors import Refused
from hierlab.lab.settings import assignments, setting, settings


@dataclass(frozen=True)
class Settings:
    tasks: int = setting(8, "tasks an iteration", least=1, most=100)
    rates: tuple[float, ...] = setting((0.6, 1.2), "learning rates", above=0)
    corners: tuple[int, float] = setting((1, 0.5), "a pair")
    model: str = setting("tiny", "which model")
    scaling: Literal["none", "std"] = setting("none", "what to divide by")
    limit: int | None = setting(None, "most tokens, or none for no limit", least=1)
    history: bool = setting(True, "whether the prompt has a history")
    beta: float = setting(0.0, "weight of the KL term", least=0)


def test_no_overrides_gives_the_class_body():
    choice = settings(Settings, "reduced", {})
    assert choice.values == Settings()
    assert (choice.scale, choice.seeds, choice.overrides) == ("reduced", 5, {})


def test_scale_then_override_win_over_the_class_body():
    choice = settings(Settings, "smoke", {"tasks": "3"}, smoke={"tasks": 2, "model": "smaller"}, full={"tasks": 99}, seeds={"smoke": 2})
    assert (choice.values.tasks, choice.values.model, choice.seeds) == (3, "smaller", 2)
    assert settings(Settings, "full", {}, full={"tasks": 99}, seeds=7).seeds == 7


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("tasks", "12", 12),
        ("rates", "0.1,2", (0.1, 2.0)),
        ("rates", "(3,)", (3.0,)),
        ("rates", [1, 2], (1.0, 2.0)),
        ("corners", "4,0.25", (4, 0.25)),
        ("model", "5", "5"),
        ("scaling", "std", "std"),
        ("limit", "none", None),
        ("limit", "4", 4),
        ("limit", None, None),
        ("history", "false", False),
        ("history", "Yes", True),
        ("beta", "1e-3", 1e-3),
        ("beta", 1, 1.0),
    ],
)
def test_values_are_read_by_the_type_of_their_field(name, text, value):
    result = getattr(settings(Settings, "reduced", {name: text}).values, name)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("tasks", "many", "tasks must be a whole number, got 'many' (tasks an iteration)"),
        ("tasks", "1.5", "whole number"),
        ("tasks", True, "whole number"),
        ("tasks", 2.0, "whole number"),
        ("tasks", "0", "tasks must be at least 1 and at most 100"),
        ("tasks", 101, "at most 100"),
        ("rates", "0.1,-1", "rates must be above 0"),
        ("rates", "0.1,x", "rates must be a list of numbers, like 1,2"),
        ("rates", "", "rates must not be empty"),
        ("rates", 3, "list of numbers"),
        ("corners", "1", "2 values (a whole number, a number)"),
        ("model", 5, "a text"),
        ("scaling", "sdt", "one of none, std"),
        ("limit", "few", "a whole number or none"),
        ("limit", "0", "at least 1"),
        ("history", "maybe", "true or false"),
        ("history", 1, "true or false"),
        ("beta", "nan", "a number"),
        ("beta", "inf", "a number"),
        ("beta", False, "a number"),
    ],
)
def test_ill_typed_and_out_of_range_values_are_refused(name, value, words):
    with pytest.raises(Refused) as caught:
        settings(Settings, "reduced", {name: value})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_names_list_the_accepted_ones_and_the_closest():
    with pytest.raises(Refused, match=r"no setting 'task': did you mean tasks\? accepted: tasks, rates, .*beta"):
        settings(Settings, "reduced", {"task": 1})
    with pytest.raises(Refused, match=r"no scale 'smok': did you mean smoke\? accepted: smoke, reduced, full"):
        settings(Settings, "smok", {})
    with pytest.raises(Refused, match="full scale: no setting 'modell'"):
        settings(Settings, "smoke", {}, full={"modell": "x"})


def test_settings_that_do_not_fit_together_are_refused():
    @dataclass(frozen=True)
    class Pair:
        low: int = setting(1, "the smaller")
        high: int = setting(2, "the larger")

        def __post_init__(self):
            if self.low > self.high:
                raise ValueError(f"low {self.low} is above high {self.high}")

    with pytest.raises(Refused, match="do not fit together: low 3 is above high 2"):
        settings(Pair, "reduced", {"low": 3})


def test_a_class_must_be_frozen_and_documented():
    @dataclass
    class Loose:
        tasks: int = setting(1, "tasks")

    @dataclass(frozen=True)
    class Silent:
        tasks: int = field(default=1)

    with pytest.raises(TypeError, match="frozen"):
        settings(Loose)
    with pytest.raises(TypeError, match=r"Silent.tasks needs its line of documentation"):
        settings(Silent)


def test_the_hash_changes_with_any_value_and_with_nothing_else():
    base = settings(Settings, "reduced", {})
    assert base.hash == settings(Settings, "full", {"tasks": "8"}).hash
    assert len({base.hash, *(settings(Settings, "reduced", o).hash for o in ({"tasks": 9}, {"beta": 0.1}, {"limit": 3}))}) == 4
    assert base.record["rates"] == [0.6, 1.2]
    assert base.docs["beta"] == "weight of the KL term"


def test_assignments():
    assert assignments(["a=1", "b = x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    for wrong in (["a"], ["=1"], ["a=1", "a=2"]):
        with pytest.raises(Refused, match="--set"):
            assignments(wrong)
