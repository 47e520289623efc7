from __future__ import annotations

from threading import Thread

import pytest
import torch

from hierlab.trace import Tape, recording, show


def test_nothing_is_recorded_outside_a_tape():
    value = torch.ones(2)
    assert not recording()
    assert show("x", value) is value


def test_steps_are_recorded_in_order_with_their_formulas():
    with Tape() as tape:
        assert recording()
        show("a", 1, r"\alpha")
        show("b", "text")
        show("a", 2)
    show("c", 3)
    assert [(step.name, step.value, step.formula) for step in tape.steps] == [("a", 1, r"\alpha"), ("b", "text", ""), ("a", 2, "")]
    assert tape["a"] == 2


def test_tensors_are_copied_and_detached():
    x = torch.ones(2, requires_grad=True)
    with Tape() as tape:
        assert show("x", x) is x
    with torch.no_grad():
        x += 1
    assert tape["x"].tolist() == [1, 1]
    assert not tape["x"].requires_grad


def test_an_inner_tape_records_alone():
    with Tape() as outer:
        show("before", 1)
        with Tape() as inner:
            show("inside", 2)
        show("after", 3)
    assert [step.name for step in outer.steps] == ["before", "after"]
    assert [step.name for step in inner.steps] == ["inside"]


def test_a_tape_entered_again_goes_on():
    tape = Tape()
    for i in range(2):
        with tape:
            show("x", i)
    with tape, tape:
        show("x", 2)
    assert [step.value for step in tape.steps] == [0, 1, 2]
    assert not recording()


def test_an_error_ends_the_recording():
    with pytest.raises(RuntimeError, match="stop"), Tape():
        raise RuntimeError("stop")
    assert not recording()


def test_another_thread_has_a_tape_of_its_own():
    seen = []
    with Tape() as tape:
        thread = Thread(target=lambda: seen.append((recording(), show("x", 1))))
        thread.start()
        thread.join()
    assert seen == [(False, 1)]
    assert tape.steps == []


def test_a_missing_step_lists_those_there_are():
    with Tape() as tape:
        show("a", 1)
        show("b", 1)
    with pytest.raises(KeyError, match="no step 'c'; there are a, b"):
        tape["c"]
