"""Rational in-context learning: when a network memorises and when it generalises. The lab of arXiv 2506.17859."""

import marimo

app = marimo.App(width="medium", app_title="Rational in-context learning")

with app.setup:
    import marimo as mo


@app.cell
def parameters():
    scale = "reduced"  # smoke | reduced | full
    seeds = 0  # 0: as many as the scale asks for
    overrides = {}  # any field of Settings, e.g. {"steps": 800}
    return overrides, scale, seeds


@app.cell
def _(overrides, scale, seeds):
    from dataclasses import dataclass
    from typing import Literal

    from hierlab.lab import Bench, setting, settings
    from hierlab.studies.theory.icl_strategies import check_device, setting_of

    @dataclass(frozen=True)
    class Settings:
        evidence_length: int = setting(128, "C of the urns whose losses are averaged without training, V = 8", least=2)
        evidence_sequences: int = setting(300, "sequences for each of those averages", least=2)
        evidence_tasks: tuple[int, ...] = setting((4, 8, 16, 32, 64, 128, 256, 512), "D, numbers of tasks without training", least=2)
        learnt: Literal["balls and urns", "linear regression", "classification"] = setting("balls and urns", "what networks learn")
        dims: int = setting(6, "V or d of the setting that networks learn", least=2)
        length: int = setting(32, "C of the setting that networks learn", least=2)
        tasks: tuple[int, ...] = setting((6, 10, 16, 25, 40), "D, numbers of training tasks: one network each, the last held out", least=1)
        hidden: int = setting(32, "width of a network, in steps of 8", least=8)
        layers: int = setting(1, "blocks of a network", least=1)
        mlp_factor: float = setting(4.0, "width of the MLP in units of hidden", above=0)
        narrow_factor: float = setting(0.5, "the same for the narrow networks that these are compared with", above=0)
        narrow_tasks: tuple[int, ...] = setting((10, 25), "D, some of `tasks`, for the narrow networks", least=1)
        steps: int = setting(1200, "optimiser steps", least=1)
        checkpoints: int = setting(10, "evaluations, evenly spaced in the root of the step", least=3)
        batch: int = setting(32, "sequences a step", least=1)
        rate: float = setting(3e-3, "learning rate of AdamW", above=0)
        warmup: int = setting(100, "steps over which the rate rises", least=0)
        sequences: int = setting(64, "sequences, and fresh tasks, on which a network is evaluated", least=1)
        loss_sequences: int = setting(2000, "training sequences on which the losses of M and G are averaged", least=2)
        threshold: float = setting(0.2, "share of the interpolation distance's range where the grid begins", above=0, most=1)
        device: Literal["cpu", "cuda"] = setting("cpu", "where networks are trained")

    bench = Bench(
        "icl-strategies",
        settings(
            Settings,
            scale,
            overrides,
            smoke={
                "evidence_length": 32,
                "evidence_sequences": 50,
                "evidence_tasks": (4, 16, 64),
                "length": 8,
                "dims": 4,
                "tasks": (2, 3, 4, 6, 8),
                "hidden": 8,
                "narrow_tasks": (3, 6),
                "steps": 30,
                "checkpoints": 6,
                "batch": 8,
                "warmup": 3,
                "sequences": 16,
                "loss_sequences": 100,
            },
            full={
                "evidence_sequences": 10_000,
                "dims": 8,
                "length": 128,
                "tasks": (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096),
                "narrow_tasks": (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096),
                "hidden": 64,
                "steps": 100_000,
                "checkpoints": 100,
                "batch": 64,
                "rate": 5e-4,
                "warmup": 5000,
                "sequences": 500,
                "loss_sequences": 10_000,
                "device": "cuda",
            },
            seeds={"smoke": 1, "reduced": 4, "full": 1},
        ),
        seeds=seeds,
    )
    check_device(bench.settings.device)
    setting_of(bench.settings.learnt, bench.settings.dims, bench.settings.length)  # refuses sizes that do not fit
    bench.paper()
    return bench, setting_of


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Step through
    Twelve balls from one urn. The memoriser M asks which of its urns they come from; the generaliser G counts. Then the account weighs
    the two: each step is a quantity that the library's functions recorded while they ran. The controls run it again.
    """)
    return


@app.cell
def _():
    urns = mo.ui.slider(2, 12, 1, value=4, label="D, training urns")
    alpha = mo.ui.slider(0, 0.9, 0.05, value=0.6, label=r"$\alpha$, how sub-linear the evidence")
    beta = mo.ui.slider(0.05, 1, 0.05, value=0.2, label=r"$\beta$, exponent of complexity")
    gamma = mo.ui.slider(0.05, 3, 0.05, value=0.85, label=r"$\gamma$, scale of the evidence")
    mo.hstack([urns, alpha, beta, gamma], wrap=True, justify="start")
    return alpha, beta, gamma, urns


@app.cell
def _(alpha, bench, beta, gamma, urns):
    import torch

    from hierlab.lab import stepper
    from hierlab.seeds import generator
    from hierlab.studies.theory.icl_strategies import gather_evidence, nested_tasks
    from hierlab.theory import BallsAndUrns, generalised_urns, memorised_urns, strategy_posterior
    from hierlab.trace import Tape

    small = BallsAndUrns(4, 12)
    example_tasks = nested_tasks(small, urns.value, 1)
    example = small.draw(example_tasks, 1, generator("icl", "one context", 0))
    known = gather_evidence(small, (urns.value,), 200, 1)
    with Tape() as tape:
        memorised_urns(example_tasks, example.draws)
        generalised_urns(torch.ones(4, dtype=torch.float64), example.draws)
        strategy_posterior(
            torch.from_numpy(known.losses[0]),
            torch.from_numpy(known.bits[0]),
            torch.tensor([1.0, 10, 100, 1000, 10_000, 100_000]),
            alpha=alpha.value,
            beta=beta.value,
            gamma=gamma.value,
        )
    bench.figure(
        "stepper",
        stepper(tape),
        title="Two strategies and their weights, step by step",
        caption="First rows are draws, columns urns or balls; then rows are 1, 10, ... 100,000 training steps, columns M and G.",
        alt="Heat maps: likelihood and posterior of each urn, M's prediction, pseudo-counts, G's, then prior, evidence, weights.",
    )
    return example, example_tasks, gather_evidence, generator, nested_tasks, torch


@app.cell
def _(bench, example, example_tasks):
    from hierlab.studies.theory.strategy_figures import (
        collapse,
        compression,
        losses_and_bits,
        next_ball,
        odds,
        one_context,
        slope_map,
        three_settings,
        transitions,
        weight_maps,
    )

    bench.figure(
        "one-context",
        one_context(example_tasks, example.draws),
        title="One sequence, ball by ball",
        caption="Slide through the draws: M narrows down the urn, G adds to its counts, and both say what comes next.",
        alt="Three rows of bars for each draw: posterior over urns, Dirichlet pseudo-counts, and the next-ball distributions of M and G.",
    )
    return collapse, compression, losses_and_bits, next_ball, odds, slope_map, three_settings, transitions, weight_maps


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Microscope
    M and G are exact: each is Bayes' answer for its own prior, so no predictor does better than M on the training tasks or than G on
    fresh ones. What they lose, and where the account then puts the transition, needs no network.
    """)
    return


@app.cell
def _(bench, setting_of, three_settings):
    from hierlab.studies.theory.icl_strategies import strategies_on_new_tasks

    shown = {"balls and urns": (8, 64), "linear regression": (8, 32), "classification": (8, 64)}
    grid = (4, 16, 64, 256) if bench.scale != "smoke" else (4, 16)
    seen = strategies_on_new_tasks(
        {name: setting_of(name, *sizes) for name, sizes in shown.items()}, grid, bench.settings.evidence_sequences, 0
    )
    bench.figure(
        "three-settings",
        three_settings(seen),
        title="What each strategy loses on trained and on fresh tasks",
        caption="Exact predictors of the three settings, mean over sequences; on the training tasks M is the best there is.",
        alt="In all settings M loses little on trained and much on fresh tasks, and the gap closes as D grows; G does not change.",
    )
    return (seen,)


@app.cell
def _(bench, seen):
    bench.table(
        "three settings",
        ["setting", "D", "M, trained", "G, trained", "M, fresh", "G, fresh", "looks at nothing"],
        [
            [r["setting"], r["tasks"], *(f"{r[key]:.3g}" for key in ("M trained", "G trained", "M fresh", "G fresh", "constant"))]
            for r in seen
        ],
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ### Fit against complexity
    The losses by Monte Carlo for V = 8, the programs' bits as the authors measured them, the table's bits by compression.
    """)
    return


@app.cell
def _(bench, compression, gather_evidence, losses_and_bits, nested_tasks, setting_of):
    from hierlab.theory import compressed_bits

    evidence_setting = setting_of("balls and urns", 8, bench.settings.evidence_length)
    number = bench.settings.evidence_sequences
    evidences = [gather_evidence(evidence_setting, bench.settings.evidence_tasks, number, seed) for seed in bench.seeds]
    table = nested_tasks(evidence_setting, max(bench.settings.evidence_tasks), 0)
    compressed = [compressed_bits(table[:tasks]) for tasks in bench.settings.evidence_tasks]
    bench.figure(
        "losses-and-bits",
        losses_and_bits(evidences[0]),
        title="M fits better and weighs more",
        caption="Both differences change with D: M's advantage in loss shrinks, its complexity grows.",
        alt="Loss of M rises slowly towards the constant loss of G; complexity of M grows in proportion to D, that of G is constant.",
    )
    bench.figure(
        "compression",
        compression(bench.settings.evidence_tasks, [64 * 8 * tasks for tasks in bench.settings.evidence_tasks], compressed),
        title="A table of tasks does not compress",
        caption="Bits of the urns in double precision, raw and by the best of the compressors.",
        alt="Two bars for each D, nearly equal, growing in proportion to D.",
    )
    return (evidences,)


@app.cell
def _(bench, evidences, odds):
    listed = bench.settings.evidence_tasks
    bench.figure(
        "odds",
        odds(evidences[0], listed[:: max(1, len(listed) // 4)]),
        title="Prior, evidence, and their sum",
        caption="Log-odds of M over G with the paper's starting parameters; the diamond is N*, where they are even. Slide through D.",
        alt="A constant negative prior, a rising Bayes factor, and a sum that crosses zero later for larger D.",
    )
    return


@app.cell
def _(bench, evidences, transitions):
    bench.figure(
        "transitions",
        transitions(evidences[0], (0.01, 0.05, 0.1, 0.2, 0.3, 0.5)),
        title="The predicted transition against the number of tasks",
        caption="A line steeper than the dashed one is super-linear. Slide through the exponent of complexity.",
        alt="Predicted transition step against D on double logarithmic axes, for six exponents, with a line of slope 1.",
    )
    return


@app.cell
def _(bench, evidences, slope_map):
    bench.figure(
        "slope-map",
        slope_map(evidences, (0.0, 0.2, 0.4, 0.6, 0.78), (0.01, 0.05, 0.1, 0.2, 0.3, 0.5)),
        title="How super-linear the timescale is, by both exponents",
        caption="Slope of log N* on log D, mean over seeds; above 1 the transition is later than in proportion to D.",
        alt="Slopes grow with both exponents; for small alpha and beta they lie below 1.",
    )
    return


@app.cell
def _(bench, evidences):
    from hierlab.lab.results import mean_and_interval
    from hierlab.studies.theory.icl_strategies import PUBLISHED, log_slope

    betas = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5)
    slopes = {value: [e.slope(**{**PUBLISHED, "beta": value}) for e in evidences] for value in betas}
    shrinking = [e.evidence_slope(PUBLISHED["alpha"]) for e in evidences]
    bench.metric("predicted", "timescale: slope", slopes[PUBLISHED["beta"]])
    bench.metric("predicted", "timescale: slope_by_evidence", shrinking)
    bench.metric("constant complexity", "timescale: slope", shrinking)
    bench.table(
        "timescale",
        ["exponent β", "slope of log N* on log D", "of it by M's shrinking advantage", "by its growing complexity"],
        [
            [
                f"{value:g}",
                mean_and_interval(slopes[value]),
                mean_and_interval(shrinking),
                mean_and_interval([whole - part for whole, part in zip(slopes[value], shrinking, strict=True)]),
            ]
            for value in betas
        ],
    )
    return PUBLISHED, log_slope, mean_and_interval, slopes


@app.cell
def _(PUBLISHED, bench, evidences, mean_and_interval):
    steps = [e.transitions(**PUBLISHED) for e in evidences]
    bench.table(
        "predicted transitions",
        ["D", "loss of M", "loss of G", "bits of M", "bits of G", "N*"],
        [
            [
                tasks,
                mean_and_interval([e.losses[place, 0] for e in evidences]),
                mean_and_interval([e.losses[place, 1] for e in evidences]),
                int(evidences[0].bits[place, 0]),
                int(evidences[0].bits[place, 1]),
                mean_and_interval([found[place] for found in steps]),
            ]
            for place, tasks in enumerate(bench.settings.evidence_tasks)
        ],
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Experiment
    One small transformer for each number of tasks, evaluated at checkpoints on the same sequences as M and G. The account is fitted on
    the first 80 % of checkpoints and of D, and held against all other cells, beside its ablations and accounts that know nothing: one
    strategy throughout, no look at the context, one mixture for everything. The bound chooses a weight for each cell by that very cell.
    """)
    return


@app.cell
def _(bench):
    button = bench.button()
    button
    return (button,)


@app.cell
def _(bench, button):
    def train_networks(arm, seed, settings, report, scratch):
        from hierlab.studies.theory.icl_strategies import grid_of, measure, setting_of

        grid = grid_of(settings, settings.tasks, arm, seed=seed, folder=scratch, report=report)
        return measure(setting_of(settings.learnt, settings.dims, settings.length), grid)

    wide_name = f"MLP {bench.settings.mlp_factor:g} times as wide"
    networks = bench.compare("networks", {wide_name: bench.settings.mlp_factor}, train=train_networks, run=button.value)
    networks
    return networks, wide_name


@app.cell
def _(bench, button):
    def train_narrow(arm, seed, settings, report, scratch):
        from hierlab.studies.theory.icl_strategies import grid_of, weights_of

        return weights_of(grid_of(settings, settings.narrow_tasks, arm, seed=seed, folder=scratch, report=report))

    narrow_name = f"MLP {bench.settings.narrow_factor:g} times as wide"
    narrow = bench.compare("narrow networks", {narrow_name: bench.settings.narrow_factor}, train=train_narrow, run=button.value)
    narrow
    return narrow, narrow_name


@app.cell
def _(bench, mean_and_interval, networks, wide_name):
    from hierlab.studies.theory.icl_strategies import ACCOUNTS, AGREEMENT

    wide = networks.best(wide_name)
    agreement = {
        account: {metric: [values[place] for values in wide[metric]] for metric in AGREEMENT} for place, account in enumerate(ACCOUNTS)
    }
    for account, metrics in agreement.items():
        for metric, per_seed in metrics.items():
            bench.metric(account, f"accounts: {metric}", per_seed)
    bench.table(
        "held-out cells",
        ["account", "divergence, nats", "total variation", "r of weights", "rank correlation"],
        [
            [account, *(mean_and_interval(metrics[f"{name}_held_out"]) for name in ("kl", "tv", "r", "spearman"))]
            for account, metrics in agreement.items()
        ],
    )
    return agreement, wide


@app.cell
def _(agreement, bench, mean_and_interval):
    bench.table(
        "all cells and fresh tasks",
        ["account", "total variation, all cells", "r, all cells", "total variation, fresh tasks", "r, fresh tasks"],
        [
            [account, *(mean_and_interval(metrics[name]) for name in ("tv_all", "r_all", "tv_fresh", "r_fresh"))]
            for account, metrics in agreement.items()
        ],
    )
    return


@app.cell
def _(bench, weight_maps, wide):
    bench.figure(
        "weight-maps",
        weight_maps(wide, bench.settings.tasks),
        title="The weight of M over training and task diversity",
        caption="Above, measured on outputs; below, what the account says. The last checkpoints and the last D were not fitted.",
        alt="Two heat maps of the weight of M: it rises with training steps and falls with the number of tasks in both.",
    )
    return


@app.cell
def _(bench, collapse, wide):
    bench.figure(
        "collapse",
        collapse(wide, bench.settings.tasks),
        title="From generalising to memorising",
        caption="Measured weight of M, mean over seeds, against training steps and against their fitted power.",
        alt="Curves rise with training, later for more tasks; against the power of the steps they are nearly straight or s-shaped.",
    )
    return


@app.cell
def _(bench, next_ball, wide):
    if bench.settings.learnt != "linear regression":
        bench.figure(
            "next-ball",
            next_ball(wide),
            title="What comes next, four times",
            caption="A trained network and the account, between M and G, in the context where those two differ most; the first seed's.",
            alt="Grouped bars of the next-ball distributions of M, G, the network, and the account.",
        )
    return


@app.cell
def _(bench, mean_and_interval, wide):
    columns = ["D", "weight of M, first kept checkpoint", "weight of M, last checkpoint", "measured transition, step"]
    rows = []
    for place_of, tasks_of in enumerate(bench.settings.tasks):
        curves = wide[f"weight_{tasks_of}"]
        first = [curve[-int(kept)] for curve, kept in zip(curves, wide.kept_checkpoints, strict=True)]
        crossed = [found[place_of] for found in wide.transition]
        rows.append([tasks_of, mean_and_interval(first), mean_and_interval([curve[-1] for curve in curves]), mean_and_interval(crossed)])
    bench.table("measured transitions", columns, rows)
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Verdicts
    Computed from the numbers above. A claim of several parts holds only if all of them do.
    """)
    return


@app.cell
def _(PUBLISHED, agreement, bench, narrow, narrow_name, slopes, wide):
    from hierlab.studies.theory.icl_strategies import RATIONAL, TRIVIAL
    from hierlab.theory import ABLATIONS

    held_out = {account: metrics["kl_held_out"] for account, metrics in agreement.items()}
    rational = held_out[RATIONAL]
    bench.claim(
        "C1",
        part="weights in held-out cells",
        measured=agreement[RATIONAL]["r_held_out"],
        baseline=0.9,
        note="Held against r = 0.9. Held-out cells are the last checkpoints and the largest D.",
    )
    bench.claim(
        "C1",
        part="closer than any trivial account",
        measured=rational,
        baseline=[min(values) for values in zip(*(held_out[name] for name in TRIVIAL), strict=True)],
        direction="less",
        note="Divergence in held-out cells, against the best trivial account of each seed.",
    )
    bench.claim("C2", part="predicted without training", measured=slopes[PUBLISHED["beta"]], baseline=1.0, note="Slope of log N* on log D.")
    bench.claim(
        "C2", part="generalising is transient", measured=wide.transience, baseline=0.0, note="Rise of the weight of M, mean over D."
    )
    bench.claim(
        "C2",
        part="measured timescale",
        measured=wide.timescale_slope,
        baseline=1.0,
        note="Slope of the measured transition on D, logarithms; transitions outside the run are censored, which lowers it.",
    )
    bench.claim(
        "C3",
        part="fits better than linear evidence",
        measured=rational,
        baseline=held_out["linear evidence"],
        direction="less",
        note="Divergence in held-out cells.",
    )
    bench.claim(
        "C3",
        part="logistic in the power of N",
        measured=wide.logistic_r2,
        baseline=wide.logistic_r2_linear,
        note="R² of logistic curves, one for each D, against N^(1−α) and against N.",
    )
    for ablation in ABLATIONS:
        bench.claim(
            "C4",
            part=ablation,
            measured=rational,
            baseline=held_out[ablation],
            direction="less",
            note="Divergence in held-out cells, with and without.",
        )
    compared = bench.settings.narrow_tasks
    bench.claim(
        "C5",
        measured=[sum(map(sum, curves)) / sum(map(len, curves)) for curves in zip(*(wide[f"weight_{d}"] for d in compared), strict=True)],
        baseline=narrow.best(narrow_name).mean_weight,
        note="Mean weight of M over training, same seeds and tasks, with the wider and with the narrower MLP.",
    )
    bench.verdicts()
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Take it home
    ```python
    from hierlab.theory import RationalAccount, Trajectory

    account = RationalAccount().fit(trajectories)  # one Trajectory a network: its outputs, M's and G's, losses, bits
    account.alpha_, account.beta_, account.gamma_, account.predict_weights(others)
    ```
    The predictors cost two matrix products, a fit a few seconds. It breaks where M and G say nearly the same, as they do for very many
    tasks: the relative distance is then noise. And it is silent about a network that has learnt neither of the two.
    """)
    return


if __name__ == "__main__":
    app.run()
