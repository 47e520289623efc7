"""Searching a cheap function of the scales for its Pareto front, by NSGA-III (Deb and Jain 2014) from pymoo.

The settings are the released code's (luli-git/MAP, `MAP.py: find_pareto_front`, which uses DEAP): population and offspring 100,
simulated binary crossover with eta 20 in 70 % of the matings, polynomial mutation with eta 20 in 30 % with one gene in N, and the
front of *all* individuals ever evaluated. Two things differ and change no result that we could measure: pymoo may mutate a child of a
crossover where DEAP does either, and it refuses duplicates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

from hierlab.adaptation.scale_sampling import Floats, Randomness
from hierlab.checks import check_range
from hierlab.pareto import Directions, front
from hierlab.trace import recording, show

Bounds = tuple[float, float]


def reference_points(objectives: int, divisions: Sequence[int] = (2, 1), shrink: Sequence[float] = (1.0, 0.5)) -> Floats:
    """The directions that NSGA-III keeps a population spread along: layers of regular points on the unit simplex.

    Args:
        objectives: M.
        divisions: into how many parts each layer cuts an edge.
        shrink: how far each layer is moved towards the middle: 1 not at all, 0 into one point.

    Returns:
        [R, M] distinct points that sum to 1, in lexicographic order.

    Raises:
        ValueError: if there are no objectives, or the layers' numbers do not fit.

    Source: luli-git/MAP `MAP.py: create_reference_points`.
    """
    check_range("objectives", objectives, 1)
    if len(divisions) != len(shrink) or not len(divisions) or min(divisions) < 1:
        raise ValueError(f"each layer wants a number of divisions of at least 1 and a factor, got {divisions} and {shrink}")
    layers = [_simplex(objectives, parts) * factor + (1 - factor) / objectives for parts, factor in zip(divisions, shrink, strict=True)]
    return np.unique(np.concatenate(layers), axis=0)


def search_front(
    metrics: Callable[[Floats], Floats],
    tasks: int,
    random: Randomness,
    *,
    maximise: Directions = True,
    objectives: int | None = None,
    bounds: Bounds = (0.0, 1.0),
    population: int = 100,
    generations: int = 25,
) -> tuple[Floats, Floats]:
    """Scale vectors that no other one found is better than in all metrics, by a vectorised function that costs next to nothing.

    Args:
        metrics: [K, N] scale vectors to [K, M] metrics.
        tasks: N, the number of scales.
        random: seeds the search.
        maximise: whether more of a metric is better.
        objectives: M, if it differs from N.
        bounds: of every scale. MAP samples in [0, 1]; its released code searches in [-3, 3].
        population: individuals, and offspring a generation.
        generations: of offspring after the first population.

    Returns:
        The front's scale vectors, [F, N], and their metrics, [F, M].

    Raises:
        ValueError: if a number is out of range, or `metrics` returns another shape.
    """
    from pymoo.algorithms.moo.nsga3 import NSGA3
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.selection.rnd import RandomSelection

    m = tasks if objectives is None else objectives
    check_range("tasks", tasks, 1)
    check_range("generations", generations, 0)
    directions = reference_points(m)
    check_range("population", population, max(2, len(directions)))
    if not bounds[0] < bounds[1]:
        raise ValueError(f"bounds must be a lower and a higher number, got {bounds}")
    signs = np.where(np.broadcast_to(np.asarray(maximise), m), -1.0, 1.0)
    seen: list[tuple[Floats, Floats]] = []

    class Surrogates(Problem):
        def _evaluate(self, x, out, *args, **kwargs):
            values = np.asarray(metrics(x), dtype=np.float64)
            if values.shape != (len(x), m):
                raise ValueError(f"metrics must return one row a scale vector and {m} columns, got shape {values.shape}")
            seen.append((x.copy(), values))
            out["F"] = values * signs

    algorithm = NSGA3(
        directions,
        pop_size=population,
        n_offsprings=population,
        selection=RandomSelection(),
        crossover=SBX(prob=0.7, eta=20, n_offsprings=1),
        mutation=PM(prob=0.3, eta=20, prob_var=1 / tasks),
    )
    problem = Surrogates(n_var=tasks, n_obj=m, xl=np.full(tasks, bounds[0]), xu=np.full(tasks, bounds[1]))
    algorithm.setup(problem, termination=("n_gen", generations + 1), seed=int(_seed(random)), verbose=False)
    while algorithm.has_next():
        algorithm.next()
        if recording():
            show("population", algorithm.pop.get("F") * signs, r"\widetilde M(c)")
    scales, values = (np.concatenate(column) for column in zip(*seen, strict=True))
    kept = front(values, maximise=maximise)
    return scales[kept], values[kept]


def _simplex(objectives: int, parts: int) -> Floats:
    """All points of the unit simplex whose coordinates are multiples of 1 / parts."""
    choices = list(combinations(range(parts + objectives - 1), objectives - 1))
    bars = np.array(choices, dtype=int).reshape(len(choices), objectives - 1)
    edges = np.concatenate([np.full((len(bars), 1), -1), bars, np.full((len(bars), 1), parts + objectives - 1)], axis=1)
    return (np.diff(edges, axis=1) - 1) / parts


def _seed(random: Randomness) -> int:
    draw = random.integers if isinstance(random, np.random.Generator) else random.randint
    return draw(2**31 - 1)
