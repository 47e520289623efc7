"""What an experiment measured: arms at several rates over several seeds, and the comparisons that are fair.

Most apparent gains at one shared learning rate are step-size effects, so every arm is also shown at its own best rate. Choosing
the best rate on the seeds it is then measured with flatters every arm, and the unsteady ones most: with three rates that are
equally good and 5 seeds, an arm of unit deviation gains 0.22 over a steady one that is just as good. `best` therefore chooses each
seed's rate by the *other* seeds, which leaves 0.02 of it. No seed helps to choose the rate it is measured at, and an arm whose best
rate is hard to find pays for that. The price is a little dependence between seeds: in that same worst case a 95 % interval wrongly
supports a gain in 5 % of all experiments instead of 2.5 %, and where rates truly differ in 3 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from hierlab.lab.errors import suggest
from hierlab.lab.verdicts import interval

POINTS = 40
"""The most points of a curve in a ledger."""
Rate = float | None
Values = Mapping[str, float | list[float]]


@dataclass(frozen=True)
class Measured:
    """One arm over all seeds, each seed at a chosen rate. Metrics are attributes or items: `runs.best("GiGPO").auc`.

    Attributes:
        arm: its name.
        seeds: [n] the seeds.
        rates: [n] the rate each seed was measured at.
        units: [n] what each seed measured.
    """

    arm: str
    seeds: tuple[int, ...]
    rates: tuple[Rate, ...]
    units: tuple[Values, ...]

    def __getitem__(self, metric: str) -> tuple[Any, ...]:
        """One value a seed: a number, or a list if the metric is a curve.

        Raises:
            KeyError: if there is no such metric; the message lists those there are.
        """
        if metric not in self.units[0]:
            raise KeyError(f"{self.arm} has no metric {metric!r}: {suggest(metric, self.units[0])}")
        return tuple(unit[metric] for unit in self.units)

    def __getattr__(self, metric: str) -> tuple[Any, ...]:
        if metric.startswith("_"):
            raise AttributeError(metric)
        try:
            return self[metric]
        except KeyError as error:
            raise AttributeError(error.args[0]) from None

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """The metrics that are one number a seed."""
        return tuple(name for name, value in self.units[0].items() if not isinstance(value, list))


@dataclass(frozen=True)
class Results:
    """Everything one experiment measured.

    Attributes:
        experiment: its name.
        arms: names, in the order given.
        rates: the grid every arm was run at; `(None,)` if arms have no rate.
        seeds: the seeds, the same for every arm and rate.
        choose_by: the metric that chooses an arm's own best rate.
        lower: whether less of it is better.
        shared_rate: the rate at which `at()` compares all arms.
        units: what was measured, by (arm, rate, seed).
        source: one line: where the numbers come from.
    """

    experiment: str
    arms: tuple[str, ...]
    rates: tuple[Rate, ...]
    seeds: tuple[int, ...]
    choose_by: str | None
    lower: bool
    shared_rate: Rate
    units: Mapping[tuple[str, Rate, int], Values]
    source: str = ""

    def __post_init__(self):
        missing = [(a, r, s) for a in self.arms for r in self.rates for s in self.seeds if (a, r, s) not in self.units]
        if missing:
            raise ValueError(f"experiment {self.experiment!r} is incomplete: {len(missing)} units are missing, the first is {missing[0]}")
        if len(self.rates) > 1 and self.choose_by is None:
            raise ValueError(f"experiment {self.experiment!r} has several rates: say which metric chooses an arm's best, choose_by=...")
        names = {frozenset(name for name, value in values.items() if not isinstance(value, list)) for values in self.units.values()}
        if len(names) > 1:
            raise ValueError(f"all units of {self.experiment!r} must measure the same numbers, got {sorted(map(sorted, names))}")
        if reserved := {f.name for f in fields(Measured)} & set().union(*self.units.values()):
            raise ValueError(f"experiment {self.experiment!r} measures {sorted(reserved)[0]!r}: choose another name, this one is taken")
        if self.choose_by is not None and self.choose_by not in self.at(self.rates[0])[self.arms[0]].numbers:
            first = self.at(self.rates[0])[self.arms[0]]
            raise ValueError(
                f"choose_by={self.choose_by!r} is no number that {self.experiment!r} measures: {suggest(self.choose_by, first.numbers)}"
            )

    def at(self, rate: Rate | str = "shared") -> dict[str, Measured]:
        """Every arm at one rate; at the shared rate if none is given.

        Raises:
            ValueError: if the experiment was not run at this rate.
        """
        rate = self.shared_rate if rate == "shared" else rate
        if rate not in self.rates:
            raise ValueError(f"experiment {self.experiment!r} was run at rates {', '.join(map(str, self.rates))}, not at {rate}")
        return {arm: self._measured(arm, (rate,) * len(self.seeds)) for arm in self.arms}

    def best(self, arm: str) -> Measured:
        """An arm at its own best rate, each seed's rate chosen by the mean of `choose_by` over the other seeds.

        With one seed there are no others, and the rate is chosen by the seed itself.

        Raises:
            ValueError: if there is no such arm.
        """
        return self._measured(arm, tuple(self._best_rate(arm, without=seed) for seed in self.seeds))

    def best_rate(self, arm: str) -> Rate:
        """The rate that is best by all seeds: for the record and for later runs, not for measuring."""
        return self._best_rate(arm, without=None)

    def _best_rate(self, arm: str, without: int | None) -> Rate:
        if arm not in self.arms:
            raise ValueError(f"experiment {self.experiment!r} has no arm {arm!r}: {suggest(arm, self.arms)}")
        if len(self.rates) == 1:
            return self.rates[0]
        others = [s for s in self.seeds if s != without] or list(self.seeds)
        sign = -1 if self.lower else 1
        return max(self.rates, key=lambda rate: sign * sum(self.units[arm, rate, s][self.choose_by] for s in others))

    def _measured(self, arm: str, rates: tuple[Rate, ...]) -> Measured:
        units = tuple(self.units[arm, rate, seed] for rate, seed in zip(rates, self.seeds, strict=True))
        return Measured(arm, self.seeds, rates, units)

    @property
    def rule(self) -> str:
        """How an arm's best rate is chosen, in one sentence; empty if there is nothing to choose."""
        if len(self.rates) == 1:
            return ""
        word = "lowest" if self.lower else "highest"
        if len(self.seeds) == 1:
            return f"Best rate: the one with the {word} {self.choose_by}; with one seed this choice flatters every arm."
        return f"Best rate: for each seed, the rate with the {word} mean {self.choose_by} over the other seeds."

    def table(self, *metrics: str) -> tuple[list[str], list[list[str]]]:
        """Columns and rows: every arm's numbers at its best rate and, if there are several rates, at the shared one.

        Args:
            metrics: which numbers; all of them if none is named.
        """
        names = metrics or self.best(self.arms[0]).numbers
        several = len(self.rates) > 1
        columns = ["arm", *(["best rate"] if several else [])]
        columns += [f"{n}{suffix}" for n in names for suffix in ((" at best rate", f" at {self.shared_rate:g}") if several else ("",))]
        rows = []
        for arm in self.arms:
            choices = [self.best(arm), *([self.at()[arm]] if several else [])]
            cells = [mean_and_interval(choice[name]) for name in names for choice in choices]
            rows.append([arm, *([f"{self.best_rate(arm):g}"] if several else []), *cells])
        return columns, rows

    def record(self) -> dict[str, Any]:
        """The experiment as JSON has it; `from_record` is the way back.

        Every unit keeps its numbers. Curves are kept where they are looked at, at each arm's best rates and at the shared one, and
        at no more than `POINTS` points, the first and the last among them.
        """
        shown = {
            (arm, rate, s) for arm in self.arms for m in (self.best(arm), self.at()[arm]) for rate, s in zip(m.rates, m.seeds, strict=True)
        }
        return {
            "arms": list(self.arms),
            "rates": list(self.rates),
            "seeds": list(self.seeds),
            "choose_by": self.choose_by,
            "lower": self.lower,
            "shared_rate": self.shared_rate,
            "units": [
                {"arm": a, "rate": r, "seed": s, "values": _kept(v, (a, r, s) in shown)}
                for (a, r, s), v in sorted(self.units.items(), key=str)
            ],
        }

    def plot(self, x: str, y: str, *, rate: str | float = "both") -> Any:
        """Learning curves as a Plotly figure: the mean over seeds and its 95 % interval.

        Args:
            x: the metric along the bottom, a list of numbers in every unit, the same for all seeds of an arm.
            y: the metric upwards, a list of the same length.
            rate: "best" (each arm at its own), a rate of the grid, or "both": the shared rate above, the best rate below.
        """
        from hierlab.lab.figures import learning_curves

        return learning_curves(self, x, y, rate=rate)

    def _repr_markdown_(self) -> str:
        from hierlab.lab.display import markdown_table

        return "\n\n".join(filter(None, [self.source, markdown_table(*self.table()), self.rule]))


def from_record(experiment: str, record: Mapping[str, Any], source: str) -> Results:
    """The results that `Results.record` wrote."""
    units = {(u["arm"], u["rate"], u["seed"]): u["values"] for u in record["units"]}
    listed = {name: tuple(record[name]) for name in ("arms", "rates", "seeds")}
    rest = {name: record[name] for name in ("choose_by", "lower", "shared_rate")}
    return Results(experiment=experiment, **listed, **rest, units=units, source=source)


def _kept(values: Values, curves: bool) -> dict[str, float | list[float]]:
    """What the record holds of one unit."""
    return {
        name: _thinned(value) if isinstance(value, list) else value
        for name, value in values.items()
        if curves or not isinstance(value, list)
    }


def _thinned(curve: list[float]) -> list[float]:
    """At most `POINTS` entries, evenly spaced; curves of one length lose the same ones."""
    if len(curve) <= POINTS:
        return curve
    return [curve[round(i * (len(curve) - 1) / (POINTS - 1))] for i in range(POINTS)]


def summary(per_seed: Sequence[float]) -> dict[str, Any]:
    """Per-seed numbers with their mean and 95 % interval, as the ledger holds them; no interval for a single seed."""
    if len(per_seed) < 2:
        return {"per_seed": list(per_seed), "mean": per_seed[0], "low": None, "high": None}
    mean, low, high = interval(per_seed)
    return {"per_seed": list(per_seed), "mean": mean, "low": low, "high": high}


def mean_and_interval(per_seed: Sequence[float]) -> str:
    """Mean and interval for a reader: "0.72 (0.69 to 0.75)"."""
    s = summary(per_seed)
    return f"{s['mean']:.3g}" if s["low"] is None else f"{s['mean']:.3g} ({s['low']:.3g} to {s['high']:.3g})"
