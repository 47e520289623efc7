"""A lab's settings: one frozen dataclass, its values at each scale, and what a reader overrides.

    @dataclass(frozen=True)
    class Settings:
        iterations: int = setting(60, "policy updates", least=1)
        rates: tuple[float, ...] = setting((0.6, 1.2, 2.4), "learning rates every method chooses from", above=0)

    settings(Settings, scale, overrides, smoke={"iterations": 2}, seeds={"smoke": 1, "reduced": 5})

The class body holds the values of the reduced scale. Values are parsed and checked by the type of their field, whether they
come from a lab (`iterations=2`), from JSON (`[0.6, 1.2]`) or from a command line (`"0.6,1.2"`).
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, field, fields, is_dataclass
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from hierlab.files import digest
from hierlab.lab.errors import Refused, suggest
from hierlab.lab.places import SCALES

S = TypeVar("S")
SEEDS = {"smoke": 1, "reduced": 5, "full": 3}


def setting(default: Any, doc: str, *, least: float | None = None, most: float | None = None, above: float | None = None) -> Any:
    """A field of a settings class: its value at reduced scale, one line of documentation, and its range.

    Args:
        default: the value at reduced scale.
        doc: what the setting is, in one line, with its unit.
        least: the smallest accepted number (of every element, for a tuple).
        most: the largest accepted number.
        above: numbers must be larger than this one.
    """
    return field(default=default, metadata={"doc": doc, "least": least, "most": most, "above": above})


@dataclass(frozen=True)
class Choice(Generic[S]):
    """The settings of one run.

    Attributes:
        values: an instance of the lab's settings class.
        scale: "smoke", "reduced" or "full".
        seeds: how many seeds this scale asks for.
        overrides: the fields that were overridden, with their parsed values.
    """

    values: S
    scale: str
    seeds: int
    overrides: Mapping[str, Any]

    @property
    def record(self) -> dict[str, Any]:
        """The values as JSON has them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self.values).items()}

    @property
    def hash(self) -> str:
        """Ten hexadecimal digits that change with any value."""
        return digest(self.record)[:10]

    @property
    def docs(self) -> dict[str, str]:
        """The line of documentation of every field."""
        return {f.name: f.metadata["doc"] for f in fields(self.values)}


def settings(
    kind: type[S],
    scale: str = "reduced",
    overrides: Mapping[str, Any] | None = None,
    *,
    smoke: Mapping[str, Any] | None = None,
    reduced: Mapping[str, Any] | None = None,
    full: Mapping[str, Any] | None = None,
    seeds: Mapping[str, int] | int = SEEDS,
) -> Choice[S]:
    """The settings of a lab at a scale, overridden where the reader asks for it.

    Args:
        kind: a frozen dataclass whose fields are made by `setting`.
        scale: "smoke", "reduced" or "full".
        overrides: values by field; texts are parsed by the field's type.
        smoke: values that differ from the class body at smoke scale.
        reduced: likewise at reduced scale, for values that differ from what the class body says.
        full: likewise at full scale.
        seeds: how many seeds each scale asks for.

    Raises:
        Refused: if the scale or a field is unknown, or a value is of the wrong type or out of range; the message lists what is
            accepted.
        TypeError: if the class is not a frozen dataclass whose every field is made by `setting`.
    """
    _check_class(kind)
    if scale not in SCALES:
        raise Refused(f"no scale {scale!r}: {suggest(scale, SCALES)}")
    seeds = {**SEEDS, **(dict.fromkeys(SCALES, seeds) if isinstance(seeds, int) else seeds)}
    own = {"smoke": smoke, "reduced": reduced, "full": full}
    for name, values in own.items():
        parse(kind, values or {}, where=f"{name} scale: ")
    chosen = parse(kind, overrides or {})
    given = {f.name: f.default for f in fields(kind)} | dict(own[scale] or {}) | chosen
    try:
        return Choice(kind(**parse(kind, given)), scale, seeds[scale], chosen)
    except Refused:
        raise
    except ValueError as error:  # from the class's own __post_init__
        raise Refused(f"settings do not fit together: {error}") from error


def parse(kind: type, values: Mapping[str, Any], *, where: str = "") -> dict[str, Any]:
    """The values as their fields' types.

    Raises:
        Refused: as `settings`.
    """
    known = {f.name: f for f in fields(kind)}
    hints = get_type_hints(kind)
    for name in values:
        if name not in known:
            raise Refused(f"{where}no setting {name!r}: {suggest(name, known)}")
    return {name: _checked(known[name], hints[name], value, where) for name, value in values.items()}


def assignments(pairs: list[str]) -> dict[str, str]:
    """`["a=1", "b=x"]` as a mapping.

    Raises:
        Refused: if one has no "=" or no name, or a name is given twice.
    """
    result: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise Refused(f"--set wants name=value, got {pair!r}; for example --set iterations=80")
        if name.strip() in result:
            raise Refused(f"--set {name.strip()} is given twice")
        result[name.strip()] = value.strip()
    return result


def _check_class(kind: type) -> None:
    if not (is_dataclass(kind) and kind.__dataclass_params__.frozen):
        raise TypeError(f"{kind.__name__} must be decorated with @dataclass(frozen=True)")
    for f in fields(kind):
        if "doc" not in f.metadata:
            raise TypeError(f"{kind.__name__}.{f.name} needs its line of documentation: {f.name}: ... = setting(default, 'what it is')")


def _checked(f: Field, hint: Any, value: Any, where: str) -> Any:
    try:
        result = _convert(value, hint)
    except (ValueError, TypeError):
        raise Refused(f"{where}{f.name} must be {_named(hint)}, got {value!r} ({f.metadata['doc']})") from None
    numbers = result if isinstance(result, tuple) else (result,)
    if numbers == () and f.default != ():
        raise Refused(f"{where}{f.name} must not be empty ({f.metadata['doc']})")
    for number in numbers:
        if isinstance(number, (int, float)) and not isinstance(number, bool) and (wanted := _out_of_range(number, f.metadata)):
            raise Refused(f"{where}{f.name} must be {wanted}, got {value!r} ({f.metadata['doc']})")
    return result


def _out_of_range(number: float, limits: Mapping[str, Any]) -> str | None:
    """The accepted range in words, if the number lies outside it."""
    least, most, above = limits["least"], limits["most"], limits["above"]
    inside = (least is None or number >= least) and (most is None or number <= most) and (above is None or number > above)
    words = [f"at least {least}" if least is not None else "", f"above {above}" if above is not None else ""]
    return None if inside else " and ".join(w for w in [*words, f"at most {most}" if most is not None else ""] if w)


def _convert(value: Any, hint: Any) -> Any:
    """`value` as the type `hint`; ValueError or TypeError if it is not one."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(value, args)
    if origin is Literal:
        matches = [a for a in args if a == value or (isinstance(value, str) and str(a) == value)]
        if not matches:
            raise ValueError
        return matches[0]
    if origin is tuple:
        items = [x.strip() for x in value.strip("()[] ").split(",") if x.strip()] if isinstance(value, str) else list(value)
        kinds = [args[0]] * len(items) if len(args) == 2 and args[1] is Ellipsis else list(args)
        if len(kinds) != len(items):
            raise ValueError
        return tuple(_convert(item, kind) for item, kind in zip(items, kinds, strict=True))
    return _SCALARS[hint](value)


def _convert_union(value: Any, args: tuple) -> Any:
    if type(None) in args and (value is None or (isinstance(value, str) and value.lower() == "none")):
        return None
    for arg in args:
        try:
            if arg is not type(None):
                return _convert(value, arg)
        except (ValueError, TypeError):
            continue
    raise ValueError


def _int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError
    return int(value)


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)) or not math.isfinite(float(value)):
        raise ValueError
    return float(value)


def _bool(value: Any) -> bool:
    names = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
    return value if isinstance(value, bool) else names[value.lower()] if isinstance(value, str) and value.lower() in names else _refuse()


def _str(value: Any) -> str:
    return value if isinstance(value, str) else _refuse()


def _refuse() -> Any:
    raise ValueError


_SCALARS = {int: _int, float: _float, bool: _bool, str: _str}


def _named(hint: Any) -> str:
    """A type in a reader's words."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_named(a) for a in args)
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}"
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return f"a list of {_named(args[0]).split(' ', 1)[1]}s, like 1,2"
    if origin is tuple:
        return f"{len(args)} values ({', '.join(_named(a) for a in args)})"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "none"}.get(hint, str(hint))
