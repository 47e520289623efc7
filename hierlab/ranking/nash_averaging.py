r"""Nash averaging: evaluate agents by how they do in the equilibrium of a game, so that copies of a task or agent change nothing.

Agents play against tasks: whoever chooses agents is paid the score $P_{at}$, whoever chooses tasks pays it. Of all equilibria the one of
largest entropy is taken, $(x,y)$; agent a is worth $(Py)_a$. All agents that the equilibrium plays are worth the same, the value of the
game: Nash averaging tells the good from the bad, not the good from each other.

Reference: google-deepmind/open_spiel@112b7770, open_spiel/python/algorithms/nash_averaging.py (Balduzzi et al., arXiv 1806.02643,
Appendix D). It solves one convex program, at which solvers fail now and then, because an equilibrium that is the only one is a set
without an inside. Noisy scores have one equilibrium only: here a linear program finds it and a linear system makes it exact, and the convex
program is left for games that have several.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from hierlab.checks import check_range
from hierlab.ranking.win_matrix import Array, as_square

SLACKS = (None, 1e-9, 1e-7, 1e-6)
"""How the value is handled, in turn: as a variable; then as a known number that may be missed by so much."""
ACCURACY = 1e-5
"""What either side may gain by deviating from what is given as an equilibrium, of payoffs in [0, 1]."""


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
    program = _symmetric_program(len(gains))
    program.matrix.value, program.least.value = gains, eps
    status, played = _solve(program.problem), program.strategies[0].value
    if played is None or (gains @ played).max() > ACCURACY:
        raise RuntimeError(f"no equilibrium found: the program is {status} (eps above 0 may leave none)")
    return np.clip(played, 0, None), gains @ played


def _equilibrium(payoffs: Array, eps: float) -> tuple[Array, Array]:
    """The strategies of largest entropy of rows and columns that hold each other to the value of the game. [m], [n]"""
    x, y, value = _some_equilibrium(payoffs)
    if (only := _only_equilibrium(payoffs, x, y)) is not None:
        if min(only[0].min(), only[1].min()) < eps:
            raise RuntimeError(f"no equilibrium found: the only one has a probability below eps={eps:g}")
        return only
    status = "not solved"
    for slack in SLACKS:  # among several equilibria: a convex program
        program = _free_program(*payoffs.shape) if slack is None else _held_program(*payoffs.shape)
        if slack is not None:
            program.held.value = value + np.array([slack, -slack])
        program.matrix.value, program.least.value = payoffs, eps
        status = _solve(program.problem)
        x, y = (strategy.value for strategy in program.strategies)
        if x is not None and y is not None and (payoffs @ y).max() - (payoffs.T @ x).min() < ACCURACY:
            return np.clip(x, 0, None), np.clip(y, 0, None)
    raise RuntimeError(f"no equilibrium found: the program is {status} (eps above 0 may leave none)")


def _some_equilibrium(payoffs: Array) -> tuple[Array, Array, float]:
    """Any equilibrium, by linear programming: strategies of rows and columns, and the value of the game."""
    from scipy.optimize import linprog

    m, n = payoffs.shape
    found = linprog(
        np.append(np.zeros(n), 1.0),
        A_ub=np.hstack([payoffs, -np.ones((m, 1))]),
        b_ub=np.zeros(m),
        A_eq=np.append(np.ones(n), 0.0)[None, :],
        b_eq=[1.0],
        bounds=[(0, None)] * n + [(None, None)],
    )
    if not found.success:
        raise RuntimeError(f"no equilibrium found: {found.message}")
    return -found.ineqlin.marginals, found.x[:-1], float(found.fun)


def _only_equilibrium(payoffs: Array, x: Array, y: Array, margin: float = 1e-7) -> tuple[Array, Array] | None:
    """The same equilibrium from the linear system it solves, if there is no other; else None.

    It is the only one if as many rows as columns are played, all others would lose by the margin, and the system is regular.
    """
    rows, columns = np.flatnonzero(x > margin), np.flatnonzero(y > margin)
    k = len(rows)
    if k != len(columns):
        return None
    inner = payoffs[np.ix_(rows, columns)]
    border, zero, last = np.ones((k, 1)), np.zeros((1, 1)), np.append(np.zeros(k), 1.0)
    systems = [np.block([[part, -border], [border.T, zero]]) for part in (inner, inner.T)]
    if max(np.linalg.cond(system) for system in systems) > 1e9:
        return None
    (*of_columns, value), (*of_rows, _) = (np.linalg.solve(system, last) for system in systems)
    exact_x, exact_y = np.zeros(len(x)), np.zeros(len(y))
    exact_x[rows], exact_y[columns] = of_rows, of_columns
    lost = np.delete(value - payoffs @ exact_y, rows), np.delete(payoffs.T @ exact_x - value, columns)
    alone = min(exact_x.min(), exact_y.min()) >= 0 and all((loss > margin).all() for loss in lost)
    return (exact_x, exact_y) if alone else None


def _solve(problem: Any) -> str:
    """Solve a program and give its status in words; what came out is for the caller to check."""
    import cvxpy

    for variable in problem.variables():
        variable.value = None  # programs are kept: nothing of the last payoffs may be taken for an answer
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            problem.solve(solver=cvxpy.CLARABEL)
        except cvxpy.SolverError:
            return "not solved"
    return problem.status


@dataclass(frozen=True)
class _Program:
    """A convex program, compiled once for all payoffs of one size: its parameters and its variables."""

    problem: Any
    matrix: Any
    least: Any
    strategies: tuple[Any, ...]
    held: Any = None


@lru_cache(maxsize=32)
def _free_program(rows: int, columns: int) -> _Program:
    """Both sides, and the value between them a variable."""
    import cvxpy

    return _program(rows, columns, None, *[cvxpy.Variable()] * 2)


@lru_cache(maxsize=32)
def _held_program(rows: int, columns: int) -> _Program:
    """Both sides, and the value known: rows are held from above by the first number, columns from below by the second."""
    import cvxpy

    held = cvxpy.Parameter(2)
    return _program(rows, columns, held, held[0], held[1])


def _program(rows: int, columns: int, held: Any, upper: Any, lower: Any) -> _Program:
    import cvxpy

    matrix, least = cvxpy.Parameter((rows, columns)), cvxpy.Parameter(nonneg=True)
    x, y = cvxpy.Variable(rows), cvxpy.Variable(columns)
    constraints = [x >= least, y >= least, cvxpy.sum(x) == 1, cvxpy.sum(y) == 1, matrix @ y <= upper, matrix.T @ x >= lower]
    problem = cvxpy.Problem(cvxpy.Maximize(cvxpy.sum(cvxpy.entr(x)) + cvxpy.sum(cvxpy.entr(y))), constraints)
    return _Program(problem, matrix, least, (x, y), held)


@lru_cache(maxsize=32)
def _symmetric_program(players: int) -> _Program:
    """For an antisymmetric game, whose value is 0: one side is enough."""
    import cvxpy

    matrix, least, x = cvxpy.Parameter((players, players)), cvxpy.Parameter(nonneg=True), cvxpy.Variable(players)
    problem = cvxpy.Problem(cvxpy.Maximize(cvxpy.sum(cvxpy.entr(x))), [x >= least, cvxpy.sum(x) == 1, matrix @ x <= 0])
    return _Program(problem, matrix, least, (x,))
