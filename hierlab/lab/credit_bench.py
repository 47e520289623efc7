"""Every credit estimator under the microscope, each on the testbed that has what it looks for.

    seen = credit_bench()
    seen.plot(), seen.table()

An estimator for turns is tried in a house to search, one for tokens and segments on a token tree, one for plans in a corridor with
a key and a goal. On one testbed all see the same rollouts. A new estimator gets its place in `SUBJECTS`; a test refuses to pass
without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from hierlab.credit import (
    a_grae,
    cutpoint_starts,
    dr_grpo,
    gae,
    gigpo,
    grpo,
    hgpo,
    hicra,
    hiper,
    reinforce_plus_plus,
    reinforce_plus_plus_baseline,
    rloo,
    spo,
    spo_tree,
    turn_gae,
)
from hierlab.envs.search_house import SearchHouse
from hierlab.lab.microscope import Microscope, metric_named, microscope, together
from hierlab.lab.plan_testbed import corridor_testbed, learnt_plan_critic, noisy_plan_critic
from hierlab.lab.testbed import house_testbed, learnt_critic, noisy_critic
from hierlab.lab.token_testbed import BranchingTestbed, ChainTestbed, tree_testbed
from hierlab.train.tabular import Estimator

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from hierlab.rollout import Rollouts

BRANCHES = (2, 2, 2)
GROUP_SIZE = 8
SUCCESS = 0.5
CONTINUATIONS = 4
NOISE = 1.0
SEEN = 200
SHOWN = ("relative_error", "relative_bias", "relative_variance", "correlation", "sign_agreement", "batch_cosine", "mean_cosine")

Bed = Literal["turns", "tokens", "branches", "plans"]
Critic = Literal["exact", "noisy", "learnt"]


class Subject(NamedTuple):
    """What lies under the microscope.

    Attributes:
        estimator: with its hyperparameters.
        bed: what it is tried on.
        critic: whose values it gets, if it asks for any.
        apart: whether it looks across the groups of a batch, and must see one batch at a time.
    """

    estimator: Estimator
    bed: Bed
    critic: Critic = "exact"
    apart: bool = False


def _with_critics(name: str, estimator: Estimator, bed: Bed) -> dict[str, Subject]:
    critics: tuple[Critic, ...] = ("exact", "noisy", "learnt")
    return {f"{name}, {critic} critic": Subject(estimator, bed, critic) for critic in critics}


SUBJECTS: Mapping[str, Mapping[str, Subject]] = {
    "turns": {
        "GRPO": Subject(grpo, "turns"),
        "Dr.GRPO": Subject(dr_grpo, "turns"),
        "RLOO": Subject(rloo, "turns"),
        "REINFORCE++ baseline": Subject(reinforce_plus_plus_baseline, "turns", apart=True),
        "A-GRAE": Subject(a_grae, "turns"),
        "GiGPO": Subject(partial(gigpo, scale="std"), "turns"),
        "HGPO": Subject(hgpo, "turns"),
        **_with_critics("turn GAE", partial(turn_gae, lam=0.95, whiten=False), "turns"),
    },
    "tokens": {
        "GRPO": Subject(grpo, "tokens"),
        "Dr.GRPO": Subject(dr_grpo, "tokens"),
        "RLOO": Subject(rloo, "tokens"),
        "REINFORCE++": Subject(reinforce_plus_plus, "tokens", apart=True),
        "A-GRAE": Subject(a_grae, "tokens"),
        "HICRA": Subject(hicra, "tokens"),
        "SPO": Subject(spo, "tokens"),
        **_with_critics("GAE", partial(gae, lam=0.95, whiten=False), "tokens"),
    },
    "branches": {"SPO, tree": Subject(spo_tree, "branches")},
    "plans": {
        "GRPO": Subject(grpo, "plans"),
        **_with_critics("turn GAE", partial(turn_gae, lam=0.95, whiten=False), "plans"),
        **_with_critics("HiPER", partial(hiper, lam_turn=0.95, normalise=False), "plans"),
    },
}
"""By testbed and by the name to be shown under."""

TITLES: Mapping[str, str] = {
    "turns": "turns: a house to search",
    "tokens": "tokens: a tree of running parities",
    "branches": "segments: the tree in branches",
    "plans": "plans: a corridor with a key and a goal",
}


def longer(bed: Literal["turns", "tokens"], levels: Sequence[int]) -> dict[int, Any]:
    """The same testbed with the reward further and further away.

    Args:
        bed: "turns": the house with these turn limits; "tokens": the tree with so many bits in its prompts.
        levels: the limits, or the numbers of bits.
    """
    if bed == "tokens":
        return {bits: _tree(bits, 0) for bits in levels}
    return {turns: house_testbed(SUCCESS, house=SearchHouse(horizon=turns)) for turns in levels}


def _tree(bits: int, seed: int) -> ChainTestbed:
    return tree_testbed(SUCCESS, ChainTestbed, bits=bits, cut=_cut, continuations=CONTINUATIONS, seed=seed)


def _cut(rollouts: Rollouts) -> Any:
    return cutpoint_starts(rollouts.old_logp, rollouts.response_mask, interval=1)


@cache
def bed_of(bed: Bed, critic: Critic = "exact", *, seed: int = 0) -> Any:
    """A testbed of the bench.

    Args:
        bed: which.
        critic: whose values stand in its rollouts: the exact ones; the exact ones plus errors as large as their own deviation; or
            what `SEEN` trajectories taught.
        seed: of what is random about the testbed and its critic.
    """
    make = {
        "turns": lambda: house_testbed(SUCCESS),
        "tokens": lambda: _tree(4, seed),
        "branches": lambda: tree_testbed(SUCCESS, BranchingTestbed, branches=BRANCHES, segment=2, seed=seed),
        "plans": lambda: corridor_testbed(seed=seed),
    }
    noisy, learnt = (noisy_plan_critic, learnt_plan_critic) if bed == "plans" else (noisy_critic, learnt_critic)
    made = make[bed]()
    if critic == "noisy":
        return noisy(made, NOISE, seed=seed)
    return learnt(made, SEEN, seed=seed) if critic == "learnt" else made


@dataclass(frozen=True)
class CreditBench:
    """What was seen.

    Attributes:
        seen: by testbed.
    """

    seen: Mapping[str, Microscope]

    def table(self, metrics: Sequence[str] = SHOWN) -> dict[str, list]:
        """One row for each testbed and estimator: `bench.table(name, **seen.table())`.

        Raises:
            KeyError: if there is no such metric.
        """
        columns = ["testbed", "estimator", *(metric_named(metric).label for metric in metrics)]
        return {"columns": columns, "rows": [[bed, *row] for bed, seen in self.seen.items() for row in seen.table(metrics)["rows"]]}

    def plot(self, metrics: Sequence[str] = SHOWN) -> go.Figure:
        """A panel a testbed, a dot and its interval for each estimator, and a menu of metrics.

        Raises:
            KeyError: if there is no such metric.
        """
        import plotly.graph_objects as go
        from plotly.subplots import make_subplots

        from hierlab.lab.figures import COLOURS, NEUTRAL, house_style

        heights = [len(seen.measured) + 1 for seen in self.seen.values()]
        titles = [TITLES[bed] for bed in self.seen]
        space = {"vertical_spacing": 2.2 / sum(heights), "row_heights": heights}
        figure = make_subplots(rows=len(heights), cols=1, subplot_titles=titles, **space)
        dots = [(row, name, found) for row, seen in enumerate(self.seen.values(), start=1) for name, found in seen.measured.items()]
        for row, name, _ in dots:
            hover = f"{name}: %{{x:.3g}}<extra></extra>"
            dot = go.Scatter(y=[name], mode="markers", marker={"color": COLOURS[row - 1], "size": 9}, hovertemplate=hover)
            figure.add_trace(dot, row=row, col=1)
        buttons = []
        for metric in metrics:
            values = [found[metric] for _, _, found in dots]
            whiskers = [
                {"type": "data", "symmetric": False, "array": [v.high - v.value], "arrayminus": [v.value - v.low]} if v else {"array": [0]}
                for v in values
            ]
            change = {"x": [[v.value] if v else [None] for v in values], "error_x": whiskers}
            buttons.append({"method": "restyle", "label": metric_named(metric).title, "args": [change]})
        figure.update_layout(
            updatemenus=[{"buttons": buttons, "name": "Metric", "x": 0, "xanchor": "left", "y": 1.06, "yanchor": "bottom"}]
        )
        first = buttons[0]["args"][0]
        for trace, x, whisker in zip(figure.data, first["x"], first["error_x"], strict=True):
            trace.update(x=x, error_x=whisker)
        for row, seen in enumerate(self.seen.values(), start=1):
            figure.update_yaxes(categoryorder="array", categoryarray=list(seen.measured)[::-1], row=row, col=1)
        figure.update_layout(showlegend=False, margin={"l": 44, "r": 12, "t": 72, "b": 32})
        figure.update_annotations(font={"size": 13, "color": NEUTRAL}, x=0, xanchor="left", xref="paper")
        return house_style(figure, height=28 * sum(heights) + 120)


def credit_bench(**how: Any) -> CreditBench:
    """Put every credit estimator under the microscope.

    Args:
        **how: as `look`.

    Raises:
        ValueError: as `look`.
    """
    return CreditBench({bed: look(bed, **how) for bed in SUBJECTS})


def look(
    bed: Bed,
    names: Sequence[str] = (),
    *,
    batches: int = 500,
    tasks: int = 2,
    group_size: int = GROUP_SIZE,
    seed: int = 0,
    resamples: int = 500,
) -> Microscope:
    """Put estimators of one testbed under the microscope. The rollouts are the same, whatever a critic says of them.

    Args:
        bed: which testbed.
        names: of its estimators; all of them if none is named.
        batches: number of batches.
        tasks: groups a batch.
        group_size: trajectories a group; "branches" has as many as its trees have leaves, 8.
        seed: of testbed, critics, rollouts and bootstrap.
        resamples: bootstrap samples.

    Raises:
        ValueError: if a name is unknown there, or as `hierlab.lab.microscope.microscope`.
    """
    if unknown := [name for name in names if name not in SUBJECTS[bed]]:
        raise ValueError(f"no estimator {unknown[0]!r} is tried on {bed}; there are {', '.join(SUBJECTS[bed])}")
    chosen = {name: subject for name, subject in SUBJECTS[bed].items() if name in names or not names}
    how = {"batches": batches, "tasks": tasks, "group_size": group_size, "seed": seed, "resamples": resamples}
    parts = []
    for critic in dict.fromkeys(subject.critic for subject in chosen.values()):
        judged = {name: subject for name, subject in chosen.items() if subject.critic == critic}
        arms = {name: subject.estimator for name, subject in judged.items()}
        apart = [name for name, subject in judged.items() if subject.apart]
        parts.append(microscope(arms, bed_of(bed, critic, seed=seed), separately=apart, **how))
    return together(*parts).ordered(chosen)
