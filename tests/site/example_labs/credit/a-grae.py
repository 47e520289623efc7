# ruff: noqa: B018
"""A-GRAE, claim C1: with right-or-wrong rewards, GRPO gives right and wrong answers the same total weight."""

import marimo

app = marimo.App(width="medium", app_title="A-GRAE")

with app.setup:
    import marimo as mo


@app.cell
def parameters():
    scale = "reduced"  # smoke | reduced | full
    seeds = 0  # 0: as many as the scale asks for
    overrides = {}  # any field of Settings, e.g. {"group_size": 16}
    return overrides, scale, seeds


@app.cell
def _(overrides, scale, seeds):
    from dataclasses import dataclass

    from hierlab.lab import Bench, setting, settings

    @dataclass(frozen=True)
    class Settings:
        prompts: int = setting(64, "prompts, each with a group of answers", least=1)
        group_size: int = setting(8, "answers a prompt", least=2)
        success: float = setting(0.3, "probability that an answer is right", above=0, most=1)

    bench = Bench("a-grae", settings(Settings, scale, overrides, smoke={"prompts": 4}, full={"prompts": 4096}), seeds=seeds)
    bench.paper()
    return (bench,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Step through
    One group of eight answers. Move the control: the fewer are right, the more weight each right one carries.
    """)
    return


@app.cell
def _():
    right = mo.ui.slider(1, 7, value=2, label="right answers")
    right
    return (right,)


@app.cell
def _(bench, right):
    import torch

    from hierlab.credit import grpo
    from hierlab.lab import stepper
    from hierlab.trace import Tape

    with Tape() as tape:
        grpo(torch.tensor([1.0] * right.value + [0.0] * (8 - right.value)), ["prompt"] * 8)
    bench.figure(
        "stepper",
        stepper(tape),
        title="Inside GRPO",
        caption="One group of eight answers, the right ones first.",
        alt="Bars: a few large positive advantages, many small negative ones.",
    )
    return grpo, torch


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Microscope
    The truth is an identity: $\sum |A|$ over the right answers equals $\sum |A|$ over the wrong ones,
    because a group's advantages sum to 0.
    """)
    return


@app.cell
def _(bench, grpo, torch):
    def weights(right):
        advantage = grpo(torch.tensor([1.0] * right + [0.0] * (8 - right)), ["prompt"] * 8)
        return [right, float(advantage[:right].sum()), float(-advantage[right:].sum())]

    bench.table("weights", ["right answers", "weight of the right", "weight of the wrong"], [weights(n) for n in range(1, 8)])
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Experiment
    Random groups. How far apart are the two total weights, as a share of both?
    """)
    return


@app.cell
def _(bench):
    button = bench.button()
    button
    return (button,)


@app.cell
def _(bench, button, grpo, torch):
    def measure(arm, seed, settings):
        generator = torch.Generator().manual_seed(seed)
        rewards = (torch.rand(settings.prompts * settings.group_size, generator=generator) < settings.success).float()
        advantage = grpo(rewards, [row // settings.group_size for row in range(len(rewards))], scale=arm)
        right, wrong = advantage[rewards == 1].sum(), -advantage[rewards == 0].sum()
        return {"gap": float((right - wrong).abs() / (right + wrong).clamp(min=1e-9))}

    runs = bench.compare("balance", {"GRPO": "std", "without division": "none"}, train=measure, run=button.value)
    runs
    return (runs,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Verdicts
    """)
    return


@app.cell
def _(bench, runs):
    bench.claim("C1", measured=runs.best("GRPO").gap, baseline=0.0, direction="within", margin=1e-4, part="GRPO")
    bench.claim("C1", measured=runs.best("without division").gap, baseline=0.0, direction="within", margin=1e-4, part="no division")
    for claim in bench.info.claims[1:]:
        bench.not_tested(claim.id, "This small lab is about the first claim alone.")
    bench.verdicts()
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Take it home
    `from hierlab.credit import grpo`. The balance holds in every group, so no learning rate changes it: only unequal weights do.
    """)
    return


if __name__ == "__main__":
    app.run()
