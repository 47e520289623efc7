"""The bench a lab stands on: its paper, settings, experiments, figures, claims and ledger.

    bench = Bench("gigpo", settings(Settings, scale, overrides, smoke={"iterations": 2}), seeds=seeds)
    runs = bench.compare("searchhouse", arms, train=train, rates=bench.settings.rates, choose_by="auc", run=button.value)
    bench.claim("C1", measured=runs.best("GiGPO").auc, baseline=runs.best("GRPO").auc)
    bench.verdicts()

Opened by a reader, the bench shows what was published, or what this machine has already run, and waits for the button. Under
`hierlab run` it runs, and writes a ledger when the last verdict is in.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hierlab.lab import display, ledger
from hierlab.lab.claims import Claims, Part
from hierlab.lab.digests import differences, experiment_code, lab_code
from hierlab.lab.errors import Refused
from hierlab.lab.notebook import Notebook, read_notebook
from hierlab.lab.places import cores, lab_file, run_folder
from hierlab.lab.progress import watched
from hierlab.lab.results import Rate, Results, Values, from_record, summary
from hierlab.lab.settings import Choice
from hierlab.lab.units import Unit, check_train, describe_arm, finished, key_of, peak_memory_mb, run_units
from hierlab.lab.verdicts import Direction, judge
from hierlab.papers import paper

if TYPE_CHECKING:
    import plotly.graph_objects as go


class Bench:
    """One lab at one scale.

    Args:
        slug: the lab's name, as in the register of papers.
        choice: what `hierlab.lab.settings` chose.
        seeds: how many seeds; 0 for as many as the scale asks for.
        workers: how many processes run units side by side; by default `--workers`, or one a core (at full scale one).

    Attributes:
        settings: the lab's settings, an instance of its own class.
        scale: "smoke", "reduced" or "full".
        seeds: (0, 1, ...).
        folder: where this run keeps everything.

    Raises:
        Refused: if the number of seeds or workers is not positive, or there is no such lab.
    """

    def __init__(self, slug: str, choice: Choice, *, seeds: int = 0, workers: int | None = None):
        if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 0:
            raise Refused(f"seeds must be a whole number of at least 1 (0: as many as the scale asks for), got {seeds!r}")
        self.slug, self.choice = slug, choice
        self.settings, self.scale = choice.values, choice.scale
        self.seeds = tuple(range(seeds or choice.seeds))
        self.workers = workers or _workers(self.scale)
        self.folder = run_folder(slug, self.scale, choice.hash)
        self.info = paper(slug)
        self._file = lab_file(slug)
        # Headlessly, what runs is the lab as it is now, whatever becomes of its file meanwhile. A reader may go on editing it.
        self._frozen = read_notebook(self._file) if display.headless() else None
        self._code = lab_code(self._frozen) if self._frozen else {}
        self._started, self._clock = datetime.now(UTC), time.monotonic()
        self._metrics: dict[str, dict[str, Any]] = {}
        self._tables: dict[str, Any] = {}
        self._figures: dict[str, dict[str, str]] = {}
        self._experiments: dict[str, Results] = {}
        self._work = {"unit_seconds": 0.0, "saved_seconds": 0.0, "resumed_units": 0, "peak_unit_mb": 0.0}
        self.claims = Claims(self.info, self.scale)
        display.show_controls_in_jupyter()

    def paper(self) -> Any:
        """Title, idea, and the claims with the published figures."""
        info = self.info
        lines = [f"# {info.name}", f"*{info.title}* · [arXiv {info.arxiv}]({info.url}) · {info.month}", info.idea]
        claims = display.markdown_table(["claim", "statement", "published"], [[c.id, c.statement, c.published] for c in info.claims])
        return display.markdown("\n\n".join([*lines, claims, self._settings_line()]))

    def _settings_line(self) -> str:
        docs = self.choice.docs
        rows = [
            [name, value, "set here" if name in self.choice.overrides else "", docs[name]] for name, value in self.choice.record.items()
        ]
        head = f"Scale **{self.scale}**, {len(self.seeds)} seed{'s' * (len(self.seeds) > 1)}, settings `{self.choice.hash}`:"
        return f"{head}\n\n{display.markdown_table(['setting', 'value', '', 'what it is'], rows)}"

    def button(self) -> Any:
        """A button that runs the experiment, for a cell of its own; give its `.value` to `compare(run=...)`."""
        import marimo

        published = self._published
        cost = f" (published run: {published['wall_seconds'] / 60:.1f} min)" if published else ""
        return marimo.ui.run_button(label=f"Run the experiment here{cost}")

    def compare(
        self,
        experiment: str,
        arms: Mapping[str, Any],
        *,
        train: Callable[..., Values],
        rates: Sequence[float] = (),
        choose_by: str | None = None,
        lower: bool = False,
        shared_rate: float | None = None,
        seeds: int | None = None,
        run: bool = False,
    ) -> Results:
        """Train every arm at every rate with every seed; finished units are kept and never run twice.

        Headlessly it runs. Opened by a reader it shows what this machine has run with these settings and this code, else what was
        published with these settings, else it stops the cell with a word on how to run it.

        Args:
            experiment: its name, a literal text, used once in a lab.
            arms: what is compared, by name; each is handed to `train` as it is.
            train: a function of the arm and any of `rate`, `seed`, `settings`, `report`, `scratch`, by name. It returns finite
                numbers and lists of finite numbers (curves) by name. `report(done, total, **values)` moves the progress bar;
                `scratch` is a folder for the unit's own checkpoints. It runs in another process: it may use anything a plain
                function may, but changes nothing here.
            rates: the grid from which each arm chooses its own best rate.
            choose_by: the metric that chooses.
            lower: whether less of it is better.
            shared_rate: the rate at which all arms are compared; the middle of the grid by default.
            seeds: run the first so many of the bench's seeds only, for an experiment too costly for all of them.
            run: run now, though a reader is watching.

        Raises:
            Refused: if the experiment is named twice, there are no arms, or a kept unit was changed by hand.
            UnitFailed: if a unit raises or is killed.
        """
        if not arms or (experiment in self._experiments and display.headless()):
            raise Refused(f"{self.slug}: experiment {experiment!r} {'is named twice' if arms else 'has no arms'}")
        check_train(train)
        grid: tuple[Rate, ...] = tuple(rates) or (None,)
        shape = {"choose_by": choose_by, "lower": lower, "shared_rate": grid[len(grid) // 2] if shared_rate is None else shared_rate}
        chosen = self.seeds[:seeds]
        units = self._units(experiment, arms, grid, chosen, train)
        kept = {unit: record for unit in units if (record := finished(unit, self.folder))}
        if run or display.headless():
            self._run(experiment, [u for u in units if u not in kept], arms, train)
            self._count_work(units, kept)
        elif len(kept) < len(units):
            return self._published_results(experiment, len(kept), len(units))
        measured = {(u.arm, u.rate, u.seed): (kept.get(u) or finished(u, self.folder))["values"] for u in units}
        source = f"Run here: scale {self.scale}, {len(chosen)} seeds, settings {self.choice.hash}."
        results = Results(experiment, tuple(arms), grid, chosen, units=measured, source=source, **shape)
        self._experiments[experiment] = results
        self._record_metrics(results)
        return results

    @property
    def _notebook(self) -> Notebook:
        return self._frozen or read_notebook(self._file)

    def _units(self, experiment: str, arms: Mapping[str, Any], grid: tuple[Rate, ...], seeds: Sequence[int], train: Callable) -> list[Unit]:
        code = experiment_code(self._notebook, experiment)
        common = {"lab": self.slug, "experiment": experiment, "settings": self.choice.record, "code": code, "train": describe_arm(train)}
        return [
            Unit(experiment, name, rate, seed, key_of(**common, arm=[name, describe_arm(arm)], rate=rate, seed=seed))
            for seed in seeds
            for rate in grid
            for name, arm in arms.items()
        ]

    def _run(self, experiment: str, units: list[Unit], arms: Mapping[str, Any], train: Callable) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._alone(), watched(self.folder, experiment, len(units)) as bar:
            for _ in run_units(units, self.folder, train, arms, self.settings, self.workers):
                bar.refresh()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the run's lock, which under `hierlab run` the runner holds already."""
        from hierlab.lab.locks import only_one

        if display.headless():
            yield
        else:
            with only_one(self.folder):
                yield

    def _count_work(self, units: list[Unit], kept: Mapping[Unit, Any]) -> None:
        records = [finished(unit, self.folder) for unit in units]
        self._work["unit_seconds"] += sum(r["seconds"] for r in records)
        self._work["saved_seconds"] += sum(r["seconds"] for r in kept.values()) / self.workers
        self._work["resumed_units"] += len(kept)
        self._work["peak_unit_mb"] = max(self._work["peak_unit_mb"], *(r["peak_memory_mb"] for r in records))

    def _record_metrics(self, results: Results) -> None:
        for arm in results.arms:
            best = results.best(arm)
            for name in best.numbers:
                self.metric(arm, f"{results.experiment}: {name}", best[name])

    @cached_property
    def _published(self) -> dict[str, Any] | None:
        """The published ledger of this scale, if it was made with these settings."""
        record = ledger.published(self.slug, self.scale)
        return record if record and record["settings_hash"] == self.choice.hash else None

    def _published_results(self, experiment: str, done: int, wanted: int) -> Results:
        record = (self._published or {}).get("experiments", {}).get(experiment)
        if record is None:
            begun = f" {done} of {wanted} units are finished and will not be run again." if done else ""
            display.stop(
                f"**Not run yet.** Nothing is published for these settings ({self.scale}, {self.choice.hash}).{begun} Press the button "
                f"(in Jupyter: pass `run=True`), or type `{self._command()}`."
            )
        age = " by other code than the present" if differences(self._published["code"], lab_code(self._notebook)) else ""
        source = f"Published result of {self._published['finished'][:10]}, made{age} on {self._published['hardware']['processor']}."
        return from_record(experiment, record, f"{source} Press the button to run it here.")

    def _command(self) -> str:
        from hierlab.lab.provenance import command

        seeds = len(self.seeds) if len(self.seeds) != self.choice.seeds else None
        return command(self.slug, self.scale, self.choice.overrides, seeds)

    def metric(self, arm: str, name: str, per_seed: Sequence[float]) -> None:
        """Put a metric into the ledger: one number a seed, with its mean and 95 % interval."""
        self._metrics.setdefault(arm, {})[name] = summary([float(v) for v in per_seed])

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
        """Put a table into the ledger, and show it.

        Raises:
            ValueError: if a row has not one cell a column.
        """
        if bad := [row for row in rows if len(row) != len(columns)]:
            raise ValueError(f"table {name!r} has {len(columns)} columns, but a row of {len(bad[0])}: {bad[0]}")
        cells = [[v if isinstance(v, str | int | float | bool | None) else str(v) for v in row] for row in rows]
        self._tables[name] = {"columns": list(columns), "rows": cells}
        return display.markdown(display.markdown_table(columns, rows))

    def figure(self, name: str, figure: go.Figure, *, title: str, caption: str, alt: str) -> go.Figure:
        """Give a figure our style, keep it with the run under this name, and hand it back to be shown.

        Args:
            name: lower-case letters, digits and hyphens: its file and its address on the page.
            figure: a Plotly figure without a title of its own.
            title: what it shows, in a few words; the page sets it above the figure.
            caption: how to read it, in one or two sentences.
            alt: what a reader who cannot see it needs to know.

        Raises:
            Refused: if the name is badly formed, a text is empty, or the figure is too large for a page.
        """
        from hierlab.lab.figures import house_style, write_figure

        if not name or not all(part.isalnum() and part == part.lower() for part in name.split("-")):
            raise Refused(f"a figure's name is made of lower-case letters, digits and hyphens, got {name!r}")
        if not (title.strip() and caption.strip() and alt.strip()):
            raise Refused(f"figure {name!r} needs a title, a caption and an alternative text")
        house_style(figure)
        if display.headless():
            text = write_figure(figure, self.folder / "figures" / f"{name}.json")
            self._figures[name] = {"name": name, "title": title, "caption": caption, "alt": alt, "digest": ledger.text_digest(text)}
        return figure

    def claim(
        self,
        claim_id: str,
        *,
        measured: Sequence[float],
        baseline: Sequence[float] | float,
        direction: Direction = "greater",
        margin: float = 0.0,
        part: str = "",
        over: str = "seeds",
        note: str = "",
    ) -> Any:
        """Hold one of the paper's claims, or one part of it, against measurements.

        Args:
            claim_id: as in the register: "C3".
            measured: one number a seed.
            baseline: one number for the same seeds, in the same order; or one number that all are held against.
            direction: the claim says that measured is "greater" than, "less" than, or "within" `margin` of the baseline.
            margin: by how much at least (for "within": at most).
            part: what this call tests, if a claim needs several calls; the claim holds only if every part does.
            over: what the pairs are: seeds, tasks, items.
            note: what a reader must know to judge the verdict.

        Returns:
            The judgement, in words, to be shown.

        Raises:
            ValueError: if the paper has no such claim, the part is named twice, or the numbers are not paired and finite.
        """
        judgement = judge(measured, baseline, direction=direction, margin=margin, over=over)
        numbers = [float(v) for v in measured], float(baseline) if np.ndim(baseline) == 0 else [float(v) for v in baseline]
        added = self.claims.add(claim_id, Part(part, judgement, *numbers, direction, margin, over, note))
        return display.markdown(added)

    def not_tested(self, claim_id: str, reason: str) -> None:
        """Say why this lab does not test a claim.

        Raises:
            ValueError: if the paper has no such claim, or the lab does test it.
        """
        self.claims.leave_out(claim_id, reason)

    def verdicts(self) -> Any:
        """The table of claims with effect, interval and verdict. Under `hierlab run` it also writes the ledger: call it last."""
        if display.headless():
            self._write_ledger()
        rows = [
            [c["id"], c["statement"], c["published"], c["measured"], f"**{c['verdict']}**", c["test"] or c["note"]]
            for c in self.claims.rows()
        ]
        return display.markdown(display.markdown_table(["claim", "statement", "published", "measured", "verdict", "by"], rows))

    def _write_ledger(self) -> None:
        from hierlab.lab.provenance import provenance

        record = {
            "schema": ledger.SCHEMA,
            "lab": self.slug,
            "scale": self.scale,
            "settings": self.choice.record,
            "settings_docs": self.choice.docs,
            "settings_hash": self.choice.hash,
            "overrides": {k: self.choice.record[k] for k in self.choice.overrides},
            "seeds": list(self.seeds),
            "metrics": self._metrics,
            "tables": self._tables,
            "claims": self.claims.rows(),
            "figures": list(self._figures.values()),
            "experiments": {name: results.record() for name, results in self._experiments.items()},
            "wall_seconds": round(time.monotonic() - self._clock + self._work["saved_seconds"], 1),
            "unit_seconds": round(self._work["unit_seconds"], 1),
            "resumed_units": self._work["resumed_units"],
            "workers": self.workers,
            "peak_memory_mb": round(peak_memory_mb() + (self._work["peak_unit_mb"] * self.workers if self.workers > 1 else 0), 1),
            **provenance(),
            "code": self._code,
            "started": _iso(self._started),
            "finished": _iso(datetime.now(UTC)),
            "command": self._command(),
        }
        ledger.write(self.folder / ledger.NAME, record)


def _workers(scale: str) -> int:
    asked = os.environ.get("HIERLAB_WORKERS")
    if asked:
        return max(1, int(asked))
    return cores() if scale == "reduced" else 1


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
