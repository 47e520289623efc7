"""Long signatures, one parameter a line, as ruff would have them."""

import subprocess

import pytest
from ruff.__main__ import find_ruff_bin

from hierlab.lab.signatures import one_parameter_a_line


@pytest.mark.parametrize(
    "head",
    [
        "def f(rewards: Tensor, task: Sequence[Hashable], *, gamma: float = 1.0, scale: Literal['none', 'std'] = 'std') -> Tensor",
        "def f(values: dict[str, list[int]], names: tuple[str, ...] = ('a, b', 'c)'), *more_of_them: int, **rest) -> tuple[Tensor, Tensor]",
        "def f(evaluate: Callable[[Array, Sequence[int]], ArrayLike], tasks: int, a_long_name_of_it: int | None = None, /, *, b=1)",
    ],
)
def test_it_is_what_ruff_makes_of_it(head):
    command = [find_ruff_bin(), "format", "--config", "line-length=100", "--config", "format.quote-style='single'", "-"]
    wanted = subprocess.run(command, input=f"{head}: pass", capture_output=True, text=True, check=True).stdout
    assert one_parameter_a_line(f"{head}: pass", 100) == wanted


def test_no_parameters():
    assert one_parameter_a_line("def f() -> int: pass", 100) == "def f(\n) -> int:\n    pass\n"


def test_other_code_is_left_alone():
    assert one_parameter_a_line("Literal['a', 'b']", 10) == "Literal['a', 'b']"


def test_an_open_bracket_is_refused():
    with pytest.raises(ValueError, match="not closed"):
        one_parameter_a_line("def f(a, b", 10)
