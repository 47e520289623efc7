"""The experiment of the lab of in-context learning strategies: train networks over task diversity, then account for them.

`predicted_transitions` needs no network: losses of M and G by Monte Carlo and the account's formula. `trained_trajectories` trains one
network for each number of tasks, and `measure` holds every account against what they do, in cells it was fitted on and in others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hierlab.lab.errors import Refused
from hierlab.seeds import generator
from hierlab.theory import (
    ABLATIONS,
    BallsAndUrns,
    BestMixturePerCheckpoint,
    Classification,
    ConstantPrediction,
    FixedMixture,
    LinearRegression,
    OneStrategy,
    RationalAccount,
    Trajectory,
    predictor_bits,
    spearman,
    total_variation,
    transition_step,
)
from hierlab.theory.average_loss import average_loss
from hierlab.theory.rational_account import START, after_interpolation_threshold, divergences
from hierlab.train.icl_transformer import NetworkSize, TrainingPlan, train_icl

Setting = BallsAndUrns | LinearRegression | Classification
PUBLISHED = START["balls and urns"]
"""Parameters of the size that the paper finds for balls and urns: where its fits begin."""
RATIONAL = "rational account"
TRIVIAL = ("M alone", "G alone", "constant prediction", "one fixed mixture")
BOUND = "best mixture of each cell"
ACCOUNTS = (RATIONAL, *ABLATIONS, *TRIVIAL, BOUND)
STARTS: tuple[Mapping[str, float], ...] = ({}, {"beta": 1e-3}, {"gamma": 5e3}, {"gamma": 3e4})
"""Where every fit begins: as the paper's, and where complexity weighs little or evidence much, as ablations may need."""
AGREEMENT = ("kl_held_out", "tv_held_out", "r_held_out", "spearman_held_out", "kl_all", "tv_all", "r_all", "tv_fresh", "r_fresh")
"""What is measured of every account; see `measure`."""


def nested_tasks(setting: Setting, number: int, seed: int) -> Tensor:
    """Tasks from the prior; the first of them are those of a smaller number. [number, ...]"""
    return torch.cat([setting.draw_tasks(1, generator("icl", "task", seed, i)) for i in range(number)])


def strategy_losses(setting: Setting, tasks: Tensor, sequences: int, seed: int) -> tuple[float, float]:
    """Mean losses of M and G on the same training sequences, in nats."""
    drawn = setting.draw(tasks, sequences, generator("icl", "losses", seed, len(tasks)))
    predicted = setting.memorising(tasks, drawn), setting.generalising(drawn)
    return tuple(average_loss(setting.losses(p, tasks, drawn)) for p in predicted)


def setting_of(name: str, dims: int, length: int) -> Setting:
    """The setting of this name, with V or d dimensions and sequences of C items.

    Raises:
        ValueError: if there is no such setting or a size is out of range.
    """
    kinds = {kind.name: kind for kind in (BallsAndUrns, LinearRegression, Classification)}
    if name not in kinds:
        raise ValueError(f"setting must be one of {', '.join(kinds)}, got {name!r}")
    return kinds[name](dims, length)


def check_device(device: str) -> None:
    """Refuse a device that this machine has not, before anything starts.

    Raises:
        Refused: saying what to set instead.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise Refused("device=cuda needs a GPU that PyTorch can use, and there is none here; add --set device=cpu (it takes days)")


@dataclass(frozen=True)
class Evidence:
    """What the account needs to know, for several numbers of tasks.

    Attributes:
        tasks: [n] numbers of tasks D.
        losses: [n, 2] of M and G in nats.
        bits: [n, 2] their complexities.
    """

    tasks: tuple[int, ...]
    losses: np.ndarray
    bits: np.ndarray

    def transitions(self, **parameters: float) -> list[float]:
        """The predicted transition step for each D; NaN where M does not fit better."""
        return [transition_step(loss, bits, **parameters) for loss, bits in zip(self.losses.tolist(), self.bits.tolist(), strict=True)]

    def slope(self, **parameters: float) -> float:
        """Slope of the logarithm of the predicted transition on that of D: above 1 is super-linear."""
        return log_slope(self.tasks, self.transitions(**parameters))

    def evidence_slope(self, alpha: float) -> float:
        """The part of that slope that is due to M's shrinking advantage; the rest is due to its growing complexity."""
        return -log_slope(self.tasks, self.losses[:, 1] - self.losses[:, 0]) / (1 - alpha)


def gather_evidence(setting: Setting, tasks: Sequence[int], sequences: int, seed: int) -> Evidence:
    """Losses by Monte Carlo and complexities by compression of each table, without any training."""
    table = nested_tasks(setting, max(tasks), seed)
    losses = [strategy_losses(setting, table[:number], sequences, seed) for number in tasks]
    bits = [predictor_bits(setting.name, table[:number]) for number in tasks]
    return Evidence(tuple(tasks), np.array(losses), np.array(bits, dtype=float))


def log_slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Least-squares slope of log y on log x, over the pairs where y is positive and finite.

    Raises:
        ValueError: if there are fewer than two of those.
    """
    pairs = [(math.log(a), math.log(b)) for a, b in zip(x, y, strict=True) if math.isfinite(b) and b > 0]
    if len(pairs) < 2:
        raise ValueError(f"a slope needs two positive numbers, got {len(pairs)} of {len(x)}")
    return float(np.polyfit(*zip(*pairs, strict=True), 1)[0])


@dataclass(frozen=True)
class Grid:
    """Networks over task diversity and training.

    Attributes:
        trained: a trajectory for each D on sequences of training tasks, from the interpolation threshold on.
        fresh: the same on sequences of tasks that no network has seen.
        whole: the trajectories on training tasks from the first checkpoint on.
    """

    trained: list[Trajectory]
    fresh: list[Trajectory]
    whole: list[Trajectory]

    def split(self, share: float = 0.8) -> tuple[list[Trajectory], list[list[bool]]]:
        """Cells to fit on, and which cells of `trained` are held out.

        The first `share` of the numbers of tasks and of the checkpoints, both rounded up, are fitted on, as in the released code.

        Raises:
            ValueError: if nothing would be held out.
        """
        tasks, steps = math.ceil(len(self.trained) * share), math.ceil(len(self.trained[0].steps) * share)
        if tasks == len(self.trained) and steps == len(self.trained[0].steps):
            raise ValueError(
                f"of {tasks} numbers of tasks and {steps} checkpoints behind the interpolation threshold, {share:g} of each is all of "
                "them: nothing would be held out; train on more numbers of tasks or keep more checkpoints"
            )
        fitted = [t.at(range(steps)) for t in self.trained[:tasks]]
        held_out = [[row >= tasks or place >= steps for place in range(len(t.steps))] for row, t in enumerate(self.trained)]
        return fitted, held_out


def train_grid(
    setting: Setting,
    tasks: Sequence[int],
    size: NetworkSize,
    plan: TrainingPlan,
    *,
    seed: int,
    loss_sequences: int,
    threshold: float = 0.2,
    folder: Path | None = None,
    device: str = "cpu",
    report: Callable[..., Any] | None = None,
) -> Grid:
    """Train a network for each number of tasks.

    Args:
        setting: what is learnt.
        tasks: the numbers of tasks, rising.
        size: of the networks.
        plan: of their training.
        seed: of everything random.
        loss_sequences: sequences on which the losses of M and G are averaged.
        threshold: share of the interpolation distance's range at which the grid begins.
        folder: where the runs are kept, to be resumed.
        device: where the networks live.
        report: as `bench.compare` hands it to a unit.
    """
    trained, fresh = [], []
    for place, number in enumerate(tasks):

        def moved(done: int, total: int, place: int = place) -> None:
            if report:
                report(place * total + done, len(tasks) * total)

        where = folder / f"{number}-tasks" if folder else None
        run = train_icl(setting, number, size, plan, seed=seed, folder=where, device=device, report=moved)
        losses = torch.tensor(strategy_losses(setting, run.tasks, loss_sequences, seed), dtype=torch.float64)
        bits = torch.tensor(predictor_bits(setting.name, run.tasks), dtype=torch.float64)
        for column, sequences, network in ((trained, run.trained, run.on_trained), (fresh, run.fresh, run.on_fresh)):
            strategies = torch.stack([setting.memorising(run.tasks, sequences), setting.generalising(sequences)]).to(torch.float64)
            column.append(Trajectory(number, run.steps, network, strategies, losses, bits, setting.distance))
    kept = after_interpolation_threshold(trained, threshold)
    first = len(trained[0].steps) - len(kept[0].steps)
    return Grid(kept, [t.at(range(first, len(t.steps))) for t in fresh], trained)


def grid_of(settings: Any, tasks: Sequence[int], mlp_factor: float, **run: Any) -> Grid:
    """The grid that the lab's settings ask for, with these numbers of tasks and this width of the MLP.

    Args:
        settings: those of the lab.
        tasks: as in `train_grid`.
        mlp_factor: width of the MLP in units of the network's.
        run: `seed`, `folder` and `report`, as in `train_grid`.
    """
    plan = TrainingPlan(
        steps=settings.steps,
        checkpoints=settings.checkpoints,
        first_checkpoint=min(20, max(1, settings.steps // 4)),
        batch=settings.batch,
        learning_rate=settings.rate,
        warmup=settings.warmup,
        sequences=settings.sequences,
        fresh_tasks=settings.sequences,
    )
    return train_grid(
        setting_of(settings.learnt, settings.dims, settings.length),
        tasks,
        NetworkSize(settings.hidden, settings.layers, 1, mlp_factor),
        plan,
        loss_sequences=settings.loss_sequences,
        threshold=settings.threshold,
        device=settings.device,
        **run,
    )


def accounts(setting: Setting) -> dict[str, Any]:
    """Every account by name: the rational one, its ablations, the trivial ones, and the bound."""
    start = START[setting.name]
    fixed = {"M alone": OneStrategy(0), "G alone": OneStrategy(1), "one fixed mixture": FixedMixture(), BOUND: BestMixturePerCheckpoint()}
    fixed["constant prediction"] = ConstantPrediction(0.0 if isinstance(setting, LinearRegression) else 1 / _outcomes(setting))
    starts = [{**start, **other} for other in STARTS]
    found = {RATIONAL: RationalAccount(start=starts)}
    found |= {name: RationalAccount(start=starts, **ablated) for name, ablated in ABLATIONS.items()}
    return found | {name: fixed[name] for name in (*TRIVIAL, BOUND)}


def _outcomes(setting: BallsAndUrns | Classification) -> int:
    return setting.alphabet if isinstance(setting, BallsAndUrns) else setting.labels


def measure(setting: Setting, grid: Grid) -> dict[str, float | list[float]]:
    """Fit every account on the first cells of a grid, and hold it against the others.

    Returns:
        Numbers: the fitted parameters, `transience` (weight of M at the last checkpoint minus at the first, mean over D),
        `timescale_slope` (of the measured transition step on D, logarithms), `memorised` (mean weight of M over the grid's checkpoints),
        `logistic_r2`, `logistic_r2_linear` (see `logistic_r2`), `kept_checkpoints`. Lists: for each quantity of `AGREEMENT` one number
        for each of `ACCOUNTS`; `steps`, `weight_D` (measured) and `predicted_D` for each number of tasks D; and `example_M`, `example_G`,
        `example_network`, `example_account`, what they expect in one context.
    """
    fitted, held_out = grid.split()
    observed = [t.relative_distance for t in grid.trained]
    fresh_observed = [t.relative_distance for t in grid.fresh]
    table: dict[str, list[float]] = {name: [] for name in AGREEMENT}
    values: dict[str, Any] = {}
    for name, account in accounts(setting).items():
        account.fit(fitted)
        for metric, value in _agreement(account, grid, observed, fresh_observed, held_out).items():
            table[metric].append(value)
        if name == RATIONAL:
            values |= account.parameters | {"fitted_kl": account.loss_}
            values |= {"logistic_r2": logistic_r2(grid.trained, account.alpha_), "logistic_r2_linear": logistic_r2(grid.trained, 0.0)}
            weights = account.predict_weights(grid.trained)
            values |= {f"predicted_{t.tasks}": w[:, 0].tolist() for t, w in zip(grid.trained, weights, strict=True)}
            values |= _example(grid, weights)
    values |= {f"weight_{t.tasks}": t.relative_distance for t in grid.whole}
    transitions = [measured_transition(t.steps.tolist(), t.relative_distance) for t in grid.whole]
    return {
        **values,
        "transience": float(np.mean([w[-1] - w[0] for w in observed])),
        "timescale_slope": log_slope([t.tasks for t in grid.whole], transitions),
        "memorised": float(np.mean(observed)),
        "kept_checkpoints": len(grid.trained[0].steps),
        "separation": float(min(_separation(t) for t in grid.trained)),
        "steps": grid.whole[0].steps.tolist(),
        "kept_steps": grid.trained[0].steps.tolist(),
        "transition": transitions,
        **table,
    }


def weights_of(grid: Grid) -> dict[str, float | list[float]]:
    """The measured weights of M alone, of networks that are only compared: `steps`, `weight_D` for each D, `mean_weight` over all."""
    curves = {f"weight_{t.tasks}": t.relative_distance for t in grid.whole}
    return {"mean_weight": float(np.mean(list(curves.values()))), "steps": grid.whole[0].steps.tolist(), **curves}


def _agreement(
    account: Any, grid: Grid, observed: list[list[float]], fresh_observed: list[list[float]], held_out: list[list[bool]]
) -> dict[str, float]:
    everywhere = [[True] * len(flags) for flags in held_out]
    trained, fresh = account.predict(grid.trained), account.predict(grid.fresh)
    weights = _memorising_weights(account, grid.trained)
    fresh_weights = _memorising_weights(account, grid.fresh)
    at_held_out = {f"{name}_held_out": value for name, value in _distances(grid.trained, trained, held_out).items()}
    at_all = {f"{name}_all": value for name, value in _distances(grid.trained, trained, everywhere).items() if name != "spearman"}
    return {
        **at_held_out,
        **at_all,
        "r_held_out": correlation(_chosen(weights, held_out), _chosen(observed, held_out)),
        "r_all": correlation(_chosen(weights, everywhere), _chosen(observed, everywhere)),
        "tv_fresh": _distances(grid.fresh, fresh, everywhere)["tv"],
        "r_fresh": correlation(_chosen(fresh_weights, everywhere), _chosen(fresh_observed, everywhere)),
    }


def _memorising_weights(account: Any, trajectories: list[Trajectory]) -> list[list[float]]:
    """The weights of M; constant for an account that has none."""
    if not hasattr(account, "predict_weights"):
        return [[0.5] * len(t.steps) for t in trajectories]
    return [w[:, 0].tolist() for w in account.predict_weights(trajectories)]


def _distances(trajectories: list[Trajectory], predicted: list[Tensor], chosen: list[list[bool]]) -> dict[str, float]:
    """Mean over the chosen cells: divergence, total variation, and rank correlation (both 0 for predicted values)."""
    cells: dict[str, list[float]] = {"kl": [], "tv": [], "spearman": []}
    for t, p, flags in zip(trajectories, predicted, chosen, strict=True):
        places = [place for place, flag in enumerate(flags) if flag]
        if not places:
            continue
        network, account = t.network[places].to(torch.float64), p[places]
        cells["kl"] += divergences(t.at(places), account).tolist()
        for place in range(len(places)) if t.distance == "kl" else ():
            cells["tv"].append(total_variation(network[place], account[place]))
            cells["spearman"].append(spearman(network[place], account[place]))
    return {name: float(np.mean(values)) if values else 0.0 for name, values in cells.items()}


def _chosen(values: list[list[float]], flags: list[list[bool]]) -> list[float]:
    return [v for row, keep in zip(values, flags, strict=True) for v, flag in zip(row, keep, strict=True) if flag]


def correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Pearson's r; 0 where one of the two does not vary, and so explains nothing."""
    if len(x) < 2 or np.std(x) < 1e-12 or np.std(y) < 1e-12:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def _example(grid: Grid, weights: Sequence[Tensor]) -> dict[str, list[float]]:
    """What M, G, the network and the account expect in one context: where M and G differ most, for the middle D, after training."""
    row = len(grid.trained) // 2
    t, last = grid.trained[row], weights[row][-1]
    if t.distance != "kl":
        return {}
    apart = (t.strategies[0] - t.strategies[1]).abs().sum(-1)
    place = np.unravel_index(int(apart.argmax()), apart.shape)
    memorising, generalising = (strategy[place] for strategy in t.strategies[:2])
    shown = {"M": memorising, "G": generalising, "network": t.network[-1][place], "account": last[0] * memorising + last[1] * generalising}
    return {f"example_{name}": distribution.tolist() for name, distribution in shown.items()}


def _separation(t: Trajectory) -> float:
    """How many times farther M is from G than the network from their mixture at its last checkpoint: below 5 a weight is noise."""
    from hierlab.theory.strategy_distance import DISTANCES

    apart = float(DISTANCES[t.distance](t.strategies[0], t.strategies[1]))
    return min(apart / max(t.at([len(t.steps) - 1]).interpolation_distance[0], 1e-12), 1e6)


def measured_transition(steps: Sequence[float], weights: Sequence[float], level: float = 0.5) -> float:
    r"""The step at which the weight of M first reaches a level, on a straight line in $\sqrt{\mathrm{step}}$ between two checkpoints.

    A weight that is at the level from the first checkpoint on, or never reaches it, is censored there: the first or the last step is
    given. Both make the timescale's slope on D smaller than it is.

    Args:
        steps: [K] checkpoints, rising.
        weights: [K] measured weights of M.
        level: between 0 and 1.
    """
    roots = np.sqrt(np.asarray(steps, dtype=float))
    if weights[0] >= level:
        return float(steps[0])
    for place in range(1, len(weights)):
        low, high = weights[place - 1], weights[place]
        if high >= level:
            return float((roots[place - 1] + (level - low) / (high - low) * (roots[place] - roots[place - 1])) ** 2)
    return float(steps[-1])


def logistic_r2(trajectories: Sequence[Trajectory], alpha: float) -> float:
    r"""How well logistic curves in $N^{1-\alpha}$ describe the measured weights of M: R², mean over D.

    Each D has a curve of its own, with a place and a steepness, both fitted. 1 - R² counts against the variance of that D's weights.
    """
    from scipy.optimize import curve_fit
    from scipy.special import expit

    shares = []
    for t in trajectories:
        y, x = np.array(t.relative_distance), t.steps.numpy() ** (1 - alpha)
        x = (x - x.mean()) / max(x.std(), 1e-12)
        spread = float(((y - y.mean()) ** 2).sum())
        if len(y) < 3 or spread < 1e-12:
            continue
        centre = float(np.log(np.clip(y.mean(), 0.01, 0.99) / np.clip(1 - y.mean(), 0.01, 0.99)))
        (a, b), _ = curve_fit(lambda v, a, b: expit(a + b * v), x, y, p0=(centre, 1.0), bounds=([-30, -30], [30, 30]))
        shares.append(1 - float(((y - expit(a + b * x)) ** 2).sum()) / spread)
    return float(np.mean(shares)) if shares else 0.0


def strategies_on_new_tasks(settings: Mapping[str, Setting], tasks: Sequence[int], sequences: int, seed: int) -> list[dict[str, Any]]:
    """What M and G lose on the tasks of M's table and on fresh ones, in every setting and for every D: exact predictors, no training.

    Returns:
        One record a setting and D: `setting`, `tasks`, `M trained`, `G trained`, `M fresh`, `G fresh`, `constant`.
    """
    records = []
    for name, setting in settings.items():
        table, fresh = nested_tasks(setting, max(tasks), seed), setting.draw_tasks(200, generator("icl", "new tasks", seed))
        new = setting.draw(fresh, sequences, generator("icl", "new", seed))
        for number in tasks:
            seen = setting.draw(table[:number], sequences, generator("icl", "seen", seed, number))
            mean = {
                "M trained": setting.losses(setting.memorising(table[:number], seen), table[:number], seen),
                "G trained": setting.losses(setting.generalising(seen), table[:number], seen),
                "M fresh": setting.losses(setting.memorising(table[:number], new), fresh, new),
                "G fresh": setting.losses(setting.generalising(new), fresh, new),
                "constant": setting.losses(setting.constant(seen), table[:number], seen),
            }
            records.append({"setting": name, "tasks": number, **{key: float(value.mean()) for key, value in mean.items()}})
    return records
