"""Units in this process: what is kept, what is refused, and how far they are."""

from functools import partial

import numpy as np
import pytest

from hierlab.lab.errors import Refused
from hierlab.lab.locks import only_one
from hierlab.lab.progress import Progress
from hierlab.lab.units import Unit, UnitFailed, append_event, check_train, describe_arm, finished, key_of, run_unit, run_units

UNIT = Unit("bandit", "A / b", 0.5, 3, "0123456789abcdef")


def test_names():
    assert UNIT.label == "A / b at rate 0.5, seed 3"
    assert UNIT.stem == "A_b-0.5-s3-0123456789"
    assert Unit("e", "arm", None, 0, "k" * 12).stem == "arm-s0-kkkkkkkkkk"


def test_a_unit_gets_what_it_asks_for_and_is_kept(tmp_path):
    seen = {}

    def train(arm, seed, rate, settings, scratch, report):
        seen.update(arm=arm, seed=seed, rate=rate, settings=settings, scratch=scratch)
        (scratch / "state").write_text("x")
        report(1, 2, loss=0.123456)
        return {"final": np.float32(0.5), "curve": np.array([1 / 3, 2]), "count": 3}

    assert finished(UNIT, tmp_path) is None
    run_unit(UNIT, tmp_path, train, "the arm", {"x": 1})
    assert finished(UNIT, tmp_path)["values"] == {"final": 0.5, "curve": [0.333333, 2.0], "count": 3.0}
    assert seen["settings"] == {"x": 1}
    assert not seen["scratch"].exists()
    progress = Progress(tmp_path / "events.jsonl").read()
    assert progress.parts == {UNIT.stem: 1.0}
    assert progress.values == {"loss": 0.123}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": float("nan")}, "'a' of A / b at rate 0.5, seed 3 is nan: a run that diverges should report its worst value"),
        ({"a": [1.0, float("inf")]}, "is inf"),
        ({"a": "much"}, "must be a number or a list of numbers, got 'much'"),
        ({"a": [[1.0]]}, "must be a number or a list of numbers"),
        ({}, "got dict"),
        ({1: 1.0}, "by name"),
        (0.5, "got float"),
        (None, "got NoneType"),
    ],
)
def test_anything_but_finite_numbers_by_name_is_refused_and_not_kept(tmp_path, value, words):
    with pytest.raises(ValueError, match=words):
        run_unit(UNIT, tmp_path, lambda arm: value, None, None)
    assert finished(UNIT, tmp_path) is None


def test_a_failing_unit_is_named(tmp_path):
    def train(arm):
        raise KeyError("missing")

    with pytest.raises(UnitFailed, match=r"A / b at rate 0.5, seed 3 of 'bandit' failed: KeyError: 'missing'"):
        list(run_units([UNIT], tmp_path, train, {"A / b": None}, None, workers=1))


def test_functions_that_cannot_be_called_are_refused():
    def of_nothing():
        return {}

    check_train(lambda arm, seed, rate, report: {})
    check_train(lambda arm, *, scratch, other=1: {})
    with pytest.raises(TypeError, match="asks for model"):
        check_train(lambda arm, model: {})
    with pytest.raises(TypeError, match="takes nothing"):
        check_train(of_nothing)


def test_keys_change_with_every_part():
    keys = {key_of(arm=a, rate=r) for a in ("a", "b") for r in (0.1, 0.2)}
    assert len(keys) == 4
    assert key_of(arm="a", rate=0.1) in keys


def test_arms_are_described_by_what_they_do():
    assert describe_arm(partial(max, 1, key=len)) == ["max", [1], {"key": "len"}]
    assert describe_arm({"weight": 0.5, "of": [1, None]}) == {"of": [1, None], "weight": 0.5}
    assert describe_arm(partial(max, key=0.1)) != describe_arm(partial(max, key=0.2))


def test_progress_survives_torn_lines(tmp_path):
    file = tmp_path / "events.jsonl"
    progress = Progress(file)
    assert progress.read().in_words() == "starting"
    append_event(file, cell=3, of=9)
    assert progress.read().in_words() == "cell 3 of 9"
    append_event(file, begin="e", units=4)
    append_event(file, unit="u1", label="A, seed 0", part=0.5, values={"loss": 0.25})
    with file.open("a") as stream:
        stream.write('{"unit": "u2", \nnot json\n[1]\n{"unit": "u3", "label"')
    progress.read()
    assert progress.done == 0.5
    assert progress.in_words() == "0 of 4 units · A, seed 0 · loss 0.25"
    with file.open("a") as stream:
        stream.write(': "B, seed 1", "part": 1.0}\n')
    assert progress.read().done == 1.5


def test_events_never_stop_a_run(tmp_path):
    append_event(tmp_path / "absent" / "events.jsonl", cell=1, of=2)


def test_one_run_at_a_time(tmp_path):
    with only_one(tmp_path / "run"):
        with pytest.raises(Refused, match=r"is being run by process \d+: wait for it"), only_one(tmp_path / "run"):
            pass
        with only_one(tmp_path / "other"):
            pass
    with only_one(tmp_path / "run"):
        pass
