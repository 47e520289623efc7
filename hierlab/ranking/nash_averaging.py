r"""Nash averaging: evaluate agents by how they do in the equilibrium of a game, so that copies of a task or agent change nothing.

Agents play against tasks: whoever chooses agents is paid the score $P_{at}$, whoever chooses tasks pays it. Of all equilibria the one of
largest entropy is taken, $(x,y)$; agent a is worth $(Py)_a$. All agents that the equilibrium plays are worth the same, the value of the
game: Nash averaging tells the good from the bad, not the good from each other.

Reference: google-deepmind/open_spiel@112b7770, open_spiel/python/algorithms/nash_averaging.py (Balduzzi et al., arXiv 1806.02643,
Appendix D). It writes one constraint for every agent and task, $(Py)_a\le(P^Tx)_t$; one number between them, $(Py)_a\le v\le(P^Tx)_t$, says
the same with m + n constraints instead of m n.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from hierlab.checks import check_range
from hierlab.ranking.win_matrix import Array, as_square


@dataclass(frozen=True)
class NashAverage:
    """The equilibrium of largest entropy between agents and tasks.

    Attributes:
        agents: [m] how often each agent is played.
        tasks: [n] how often each task is.
        agent_values: [m] what each agent gains on the equilibrium's tasks.
        task_values: [n] what each task gains against the equilibrium's agents: minus their score.
    """

    agents: Array
    tasks: Array
    agent_values: Array
    task_values: Array


def nash_average(scores: Array, *, eps: float = 0.0, constant: str = "drop") -> NashAverage:
    """Nash averaging of agents against tasks.

    Args:
        scores: [m, n] agents by tasks, higher is better; each task is scaled to [0, 1] by its worst and best agent.
        eps: the least probability of every agent and task. Above 0 there may be no such equilibrium.
        constant: tasks on which all agents score the same: "drop" (they get probability 0), or "refuse". The reference divides by 0.

    Raises:
        ValueError: if the table is not finite, no task tells agents apart, a constant task is to be refused, or a switch is unknown.
        RuntimeError: if the solver finds no equilibrium.
    """
    check_range("eps", eps, 0, 0.5)
    if constant not in ("drop", "refuse"):
        raise ValueError(f"constant must be 'drop' or 'refuse', got {constant!r}")
    table = np.asarray(scores, dtype=float)
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise ValueError(f"scores must be a finite table [agents, tasks], got shape {table.shape}")
    spread = np.ptp(table, axis=0)
    live = spread > 0
    if not live.all() and constant == "refuse":
        raise ValueError(f"all agents score {table[0, ~live][0]:g} on task {int(np.flatnonzero(~live)[0])}: it cannot be scaled")
    if not live.any():
        raise ValueError("no task tells two agents apart")
    payoffs = (table[:, live] - table[:, live].min(axis=0)) / spread[live]
    x, y = _equilibrium(payoffs, eps)
    tasks, task_values = np.zeros(table.shape[1]), np.zeros(table.shape[1])
    tasks[live], task_values[live] = y, -payoffs.T @ x
    return NashAverage(x, tasks, payoffs @ y, task_values)


def nash_average_agents(payoffs: Array, *, eps: float = 1e-9) -> tuple[Array, Array]:
    """Nash averaging of agents against each other.

    Args:
        payoffs: [m, m] antisymmetric: what row gains from column.
        eps: the least probability of every agent.

    Returns:
        [m] how often the equilibrium of largest entropy plays each agent, and [m] what each gains against it, never above 0.

    Raises:
        ValueError: if the matrix is not antisymmetric or not finite.
        RuntimeError: if the solver finds no equilibrium.
    """
    check_range("eps", eps, 0, 0.5)
    gains = as_square("payoffs", payoffs)
    if not np.array_equal(gains, -gains.T) or not np.isfinite(gains).all():
        raise ValueError("payoffs must be finite and antisymmetric: what row gains from column, column loses to row")
    problem, matrix, x, least = _symmetric_program(len(gains))
    matrix.value, least.value = gains, eps
    return (chosen := _solved(problem, x)[0]), gains @ chosen


def _equilibrium(payoffs: Array, eps: float) -> tuple[Array, Array]:
    problem, matrix, x, y, least = _program(*payoffs.shape)
    matrix.value, least.value = payoffs, eps
    agents, tasks = _solved(problem, x, y)
    return agents, tasks


def _solved(problem: Any, *variables: Any) -> list[Array]:
    import cvxpy

    try:
        problem.solve(solver=cvxpy.CLARABEL)
    except cvxpy.SolverError as error:
        raise RuntimeError(f"no equilibrium found: {error}") from error
    if problem.status not in ("optimal", "optimal_inaccurate"):
        raise RuntimeError(f"no equilibrium found: the program is {problem.status} (eps above 0 may leave none)")
    return [np.clip(v.value, 0, None) for v in variables]


@lru_cache(maxsize=16)
def _program(agents: int, tasks: int) -> tuple[Any, ...]:
    """The convex program for tables of one size, compiled once."""
    import cvxpy

    matrix, least = cvxpy.Parameter((agents, tasks)), cvxpy.Parameter(nonneg=True)
    x, y, value = cvxpy.Variable(agents), cvxpy.Variable(tasks), cvxpy.Variable()
    constraints = [x >= least, y >= least, cvxpy.sum(x) == 1, cvxpy.sum(y) == 1, matrix @ y <= value, matrix.T @ x >= value]
    objective = cvxpy.Maximize(cvxpy.sum(cvxpy.entr(x)) + cvxpy.sum(cvxpy.entr(y)))
    return cvxpy.Problem(objective, constraints), matrix, x, y, least


@lru_cache(maxsize=16)
def _symmetric_program(agents: int) -> tuple[Any, ...]:
    """The convex program for games of one size, compiled once."""
    import cvxpy

    matrix, least = cvxpy.Parameter((agents, agents)), cvxpy.Parameter(nonneg=True)
    x = cvxpy.Variable(agents)
    constraints = [x >= least, cvxpy.sum(x) == 1, matrix @ x <= 0]
    return cvxpy.Problem(cvxpy.Maximize(cvxpy.sum(cvxpy.entr(x))), constraints), matrix, x, least
