"""The credit bench: every advantage estimator of the family under one microscope."""

import marimo

app = marimo.App(width="medium", app_title="The credit bench")

with app.setup:
    import marimo as mo


@app.cell
def parameters():
    scale = "reduced"  # smoke | reduced | full
    seeds = 0  # 0: as many as the scale asks for
    overrides = {}  # any field of Settings, e.g. {"iterations": 80}
    return overrides, scale, seeds


@app.cell
def _(overrides, scale, seeds):
    from dataclasses import dataclass

    from hierlab.lab import Bench, setting, settings

    @dataclass(frozen=True)
    class Settings:
        batches: int = setting(300, "batches on each testbed", least=2)
        tasks: int = setting(2, "groups a batch", least=1)
        sizes: tuple[int, ...] = setting((2, 4, 8, 16, 32), "trajectories in a group", least=2)
        trajectories: int = setting(4096, "trajectories at each group size", least=64)
        bits: tuple[int, ...] = setting((2, 3, 4, 5), "bits in the prompt: how long the answer is", least=2)
        turns: tuple[int, ...] = setting((8, 11, 14, 20), "turn limits of the house", least=6)

    bench = Bench(
        "credit-bench",
        settings(
            Settings,
            scale,
            overrides,
            smoke={"batches": 10, "tasks": 1, "sizes": (2, 8), "trajectories": 64, "bits": (3,), "turns": (8,)},
            full={"batches": 3000, "trajectories": 32768},
            seeds={"smoke": 1, "reduced": 5, "full": 10},
        ),
        seeds=seeds,
    )
    bench.paper()
    return (bench,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Step through
    One group of rollouts on each testbed, and what the truth and every estimator say of each turn, token or decision. Blue was better
    than what the policy does on average, pink worse.
    """)
    return


@app.cell
def _(bench):
    from hierlab.lab.side_by_side import side_by_side

    bench.figure(
        "side-by-side",
        side_by_side(),
        title="The same rollouts, seen by every estimator",
        caption="A line is a trajectory, a cell a turn, a token or a decision. Each map has its own scale; the menu chooses the testbed.",
        alt="Small heat maps: the true advantages of one group of rollouts, and the advantages of each estimator.",
    )
    return


@app.cell
def _():
    from hierlab.lab.credit_bench import SUBJECTS

    chosen = mo.ui.dropdown(list(SUBJECTS["tokens"]), value="SPO", label="step through")
    chosen
    return SUBJECTS, chosen


@app.cell
def _(SUBJECTS, bench, chosen):
    from hierlab.lab import stepper
    from hierlab.lab.credit_bench import bed_of
    from hierlab.rollout import estimate
    from hierlab.seeds import generator
    from hierlab.trace import Tape

    subject = SUBJECTS["tokens"][chosen.value]
    with Tape() as tape:
        estimate(bed_of("tokens", subject.critic).collect(1, 8, generator("side by side", 0)), subject.estimator)
    bench.figure(
        "stepper",
        stepper(tape),
        title=f"Inside {chosen.value}, step by step",
        caption="Rows are the eight responses of the token map above, columns are tokens.",
        alt="Grids of eight responses by up to six tokens: values before and behind each segment, and their difference.",
    )
    return bed_of, generator


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Microscope
    Four testbeds small enough that every advantage and the policy gradient are known: a house to search (turns), a tree of running
    parities (tokens, and the same tree sampled in branches), and a corridor with a key and a goal (plans). An estimator that wants
    values gets them from three critics: the exact one, one whose errors are as large as the values' own deviation, and one that has
    seen 200 trajectories.
    """)
    return


@app.cell
def _(bench):
    from hierlab.lab.credit_bench import credit_bench

    seen = credit_bench(batches=bench.settings.batches, tasks=bench.settings.tasks)
    bench.figure(
        "microscope",
        seen.plot(),
        title="Every estimator against the truth",
        caption="A dot is the mean over batches, the line its 95 % interval (bootstrap over batches); the menu chooses the metric.",
        alt="For each testbed, the relative error of every estimator, and by menu its bias, variance, correlation and cosines.",
    )
    return (seen,)


@app.cell
def _(bench, seen):
    bench.table("microscope", **seen.table())
    return


@app.cell
def _(SUBJECTS, bed_of, bench):
    from hierlab.lab.sweep import over_group_sizes

    swept = {"turns": ("GRPO", "RLOO", "GiGPO", "HGPO"), "tokens": ("GRPO", "RLOO", "A-GRAE", "SPO")}
    arms = {bed: {name: SUBJECTS[bed][name].estimator for name in names} for bed, names in swept.items()}
    sizes = {"sizes": bench.settings.sizes, "trajectories": bench.settings.trajectories, "resamples": 200}
    for bed, estimators in arms.items():
        bench.figure(
            f"group-size-{bed}",
            over_group_sizes(estimators, bed_of(bed), **sizes).plot(),
            title=f"As groups grow: {bed}",
            caption="The same number of trajectories at every size, one group a batch; whiskers are 95 % intervals.",
            alt="Relative bias and variance, correlation and cosine of four estimators against the number of trajectories in a group.",
        )
    return (arms,)


@app.cell
def _(arms, bench):
    from hierlab.lab.credit_bench import longer
    from hierlab.lab.sweep import over_horizons

    look_at = {"batches": bench.settings.batches, "tasks": 1, "resamples": 200}
    horizons = {"turns": (bench.settings.turns, "turn limit of the house"), "tokens": (bench.settings.bits, "bits in the prompt")}
    for kind, (levels, along) in horizons.items():
        bench.figure(
            f"horizon-{kind}",
            over_horizons(arms[kind], longer(kind, levels), along=along, **look_at).plot(),
            title=f"As the reward moves away: {kind}",
            caption="At every level a policy that succeeds half of the time; whiskers are 95 % intervals.",
            alt="Relative bias and variance, correlation and cosine of four estimators against the length of the task.",
        )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Experiment
    The same looks again with several seeds, each with rollouts, critics and (but for the house) a testbed of its own, so that
    differences can be held against the seeds. One arm is for fairness: SPO samples continuations, which cost tokens. *GRPO, SPO's
    budget* spends as many on more responses.
    """)
    return


@app.cell
def _(bench):
    button = bench.button()
    button
    return (button,)


@app.cell
def _(SUBJECTS, bed_of, bench, button, generator):
    def measure(arm, seed, settings):
        from hierlab.lab.credit_bench import look

        bed, name, size = arm
        found = look(bed, [name], batches=settings.batches, tasks=settings.tasks, group_size=size, seed=seed + 1, resamples=100)[name]
        nothing = {"relative_error": 1.0, "correlation": 0.0, "batch_cosine": 0.0, "mean_cosine": 0.0}  # what always guessing 0 would get
        return {metric: found[metric].value if found[metric] else blank for metric, blank in nothing.items()}

    sample = bed_of("tokens").collect(200, 8, generator("credit bench", "cost"))
    answer, extra = float(sample.response_mask.sum()), float(sample["extra_tokens"].sum())
    looks = {f"{bed}: {name}": (bed, name, 8) for bed, names in SUBJECTS.items() for name in names}
    looks["tokens: GRPO, SPO's budget"] = ("tokens", "GRPO", round(8 * (answer + extra) / answer))
    errors = bench.compare("errors", looks, train=measure, run=button.value)
    errors
    return (errors,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Verdicts
    Computed from the numbers above, seed by seed.
    """)
    return


@app.cell
def _(bench, errors):
    def error(arm):
        return errors.best(arm).relative_error

    bench.claim("C1", measured=error("turns: GiGPO"), baseline=error("turns: GRPO"), direction="less")
    bench.claim("C2", measured=error("turns: HGPO"), baseline=error("turns: GiGPO"), direction="less")
    for place, method in (("tokens", "GAE"), ("turns", "turn GAE"), ("plans", "HiPER")):
        exact, learnt, noisy = (error(f"{place}: {method}, {critic} critic") for critic in ("exact", "learnt", "noisy"))
        bench.claim("C3", part=f"{place}: exact before learnt", measured=exact, baseline=learnt, direction="less")
        bench.claim("C3", part=f"{place}: learnt before noisy", measured=learnt, baseline=noisy, direction="less")
        bench.claim("C3", part=f"{place}: learnt before GRPO", measured=learnt, baseline=error(f"{place}: GRPO"), direction="less")
    bench.claim("C4", part="as many responses", measured=error("tokens: SPO"), baseline=error("tokens: GRPO"), direction="less")
    bench.claim(
        "C4",
        part="as many tokens",
        measured=errors.best("tokens: SPO").batch_cosine,
        baseline=errors.best("tokens: GRPO, SPO's budget").batch_cosine,
        note="At equal tokens the question is whose batch points closer to the exact gradient.",
    )
    for critic in ("exact", "learnt", "noisy"):
        hiper, flat = error(f"plans: HiPER, {critic} critic"), error(f"plans: turn GAE, {critic} critic")
        bench.claim("C5", part=f"{critic} critic", measured=hiper, baseline=flat, direction="less")
    for name in errors.arms:
        if "critic" not in name and "budget" not in name:
            bench.claim(
                "C6",
                part=name,
                measured=errors.best(name).mean_cosine,
                baseline=0.95,
                note="Held against a cosine of 0.95 between the mean gradient and the exact one.",
            )
    bench.verdicts()
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Take it home
    ```python
    from hierlab.lab.microscope import microscope
    from hierlab.lab.token_testbed import tree_testbed

    microscope({"mine": my_estimator}, tree_testbed(success=0.5)).plot()  # any function of columns, one number a row or a token
    ```
    It costs a second or two an estimator. What it cannot tell: how a language model's tokens share parameters, and what that does to
    an advantage that is right on average and noisy.
    """)
    return


if __name__ == "__main__":
    app.run()
