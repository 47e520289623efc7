"""The same rollouts seen by every estimator: small heat maps side by side, the truth first.

    side_by_side(seed=1).show()

Each map is drawn on its own scale, since estimators differ by a factor that a learning rate makes up for; the colour is the sign.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hierlab.lab.credit_bench import BRANCHES, GROUP_SIZE, SUBJECTS, TITLES, Bed, bed_of
from hierlab.lab.microscope import choice_advantage
from hierlab.rollout.rollouts import Rollouts
from hierlab.seeds import generator

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLUMNS = 2
TRUTH = "the truth"


def maps(bed: Bed, *, seed: int = 0) -> dict[str, np.ndarray]:
    """What the truth and every estimator of a testbed say of one group of rollouts.

    Args:
        bed: as in `hierlab.lab.credit_bench`.
        seed: of the rollouts.

    Returns:
        By name, [trajectories, steps]: turns, tokens or decisions in their order; NaN where nothing was decided.
    """
    found: dict[str, np.ndarray] = {}
    for name, subject in SUBJECTS[bed].items():
        testbed = bed_of(bed, subject.critic)
        rollouts = testbed.collect(1, math.prod(BRANCHES) if bed == "branches" else GROUP_SIZE, generator("side by side", seed))
        if not found:
            choice = rollouts["choice"]
            found[TRUTH] = _laid_out(rollouts, torch.where(choice >= 0, testbed.advantage[choice.clamp(min=0)], 0))
        found[name] = _laid_out(rollouts, choice_advantage(rollouts, subject.estimator))
    return found


def _laid_out(rollouts: Rollouts, value: Tensor) -> np.ndarray:
    """One line a trajectory, its choices one behind the other; NaN behind the end. A row of a tree is a line of its own."""
    made = (rollouts["choice"] >= 0).view(len(rollouts), -1)
    value = value.view(len(rollouts), -1)
    names = rollouts["node" if "node" in rollouts else "trajectory"]
    lines: dict[object, list[float]] = {}
    for row in range(len(rollouts)):
        lines.setdefault(names[row], []).extend(value[row][made[row]].tolist())
    laid = np.full((len(lines), max(map(len, lines.values()))), np.nan)
    for line, numbers in enumerate(lines.values()):
        laid[line, : len(numbers)] = numbers
    return laid


def side_by_side(*, seed: int = 0) -> go.Figure:
    """A matrix of heat maps, and a menu of testbeds. One line of a map is one trajectory."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    from hierlab.lab.figures import DIVERGING, NEUTRAL, house_style

    found: Mapping[str, dict[str, np.ndarray]] = {bed: maps(bed, seed=seed) for bed in SUBJECTS}
    rows = math.ceil(max(map(len, found.values())) / COLUMNS)
    titles = [" "] * (rows * COLUMNS)
    figure = make_subplots(rows=rows, cols=COLUMNS, subplot_titles=titles, vertical_spacing=0.28 / rows, horizontal_spacing=0.06)
    owner = []
    for bed, drawn in found.items():
        for number, values in enumerate(drawn.values()):
            reach = float(np.nanmax(np.abs(values))) or 1.0
            shown = [[None if math.isnan(v) else round(v / reach, 3) for v in line] for line in values.tolist()]
            hover = f"trajectory %{{y}}, step %{{x}}: %{{z:.2f}} of {reach:.3g}<extra></extra>"
            scale = {"colorscale": DIVERGING, "zmin": -1, "zmax": 1, "showscale": False, "xgap": 1, "ygap": 1}
            heat = go.Heatmap(z=shown, visible=bed == next(iter(found)), hovertemplate=hover, **scale)
            figure.add_trace(heat, row=number // COLUMNS + 1, col=number % COLUMNS + 1)
            owner.append(bed)
    buttons = []
    for bed, drawn in found.items():
        names = [*drawn, *[" "] * (len(titles) - len(drawn))]
        change = {f"annotations[{i}].text": name for i, name in enumerate(names)}
        buttons.append({"method": "update", "label": TITLES[bed], "args": [{"visible": [other == bed for other in owner]}, change]})
    figure.update_layout(updatemenus=[{"buttons": buttons, "name": "Rollouts", "x": 0, "xanchor": "left", "y": 1.06, "yanchor": "bottom"}])
    for annotation, name in zip(figure.layout.annotations, found[next(iter(found))], strict=False):
        annotation.text = name
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, autorange="reversed")
    figure.update_annotations(font={"size": 12, "color": NEUTRAL})
    figure.update_layout(margin={"l": 8, "r": 8, "t": 84, "b": 8})
    return house_style(figure, height=120 * rows + 90)
