"""A-GRAE: the symmetry of group-relative advantages, and breaking it. The lab of arXiv 2602.05548."""

import marimo

app = marimo.App(width="medium", app_title="A-GRAE")

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
    from typing import Literal

    from hierlab.lab import Bench, setting, settings

    @dataclass(frozen=True)
    class Settings:
        groups: int = setting(5000, "random groups on which the identities are checked, a seed", least=10)
        batches: int = setting(200, "batches under the microscope", least=2)
        iterations: int = setting(100, "updates in the world of behaviours", least=1)
        prompts: int = setting(16, "prompts an update, of 40", least=1, most=40)
        group_size: int = setting(8, "attempts a prompt", least=2)
        rates: tuple[float, ...] = setting((0.3, 1.0, 3.0, 10.0), "step sizes among behaviours that arms choose from", above=0)
        entropy_weight: float = setting(0.1, "weight of the entropy bonus of that control", least=0)
        level: float = setting(0.8, "Pass@1 at which arms are compared", above=0, most=1)
        model: str = setting("tiny", "the language model: tiny, or at full scale a hub id or folder")
        engine: Literal["transformers", "vllm"] = setting("transformers", "what samples from the language model")
        warm_steps: int = setting(0, "steps of imitation before it is trained by reward; 0: as many as the solver's own settings", least=0)
        solver_seeds: int = setting(4, "seeds of the language model's training, at most", least=1)
        solver_iterations: int = setting(20, "updates of the language model", least=1)
        solver_tasks: int = setting(16, "problems an update", least=1)
        solver_rates: tuple[float, ...] = setting((3e-4, 1e-3), "learning rates that every arm chooses its own from", above=0)
        mini_batches: int = setting(2, "optimiser steps a batch of rollouts", least=1)
        micro_batch: int = setting(512, "rows a forward pass; changes memory and speed, not the result", least=1)
        held_out: int = setting(100, "problems that the language model is tested on", least=1)
        answers: int = setting(16, "k of the language model's Pass@k", least=2)

    bench = Bench(
        "a-grae",
        settings(
            Settings,
            scale,
            overrides,
            smoke={
                "groups": 200,
                "batches": 10,
                "iterations": 8,
                "rates": (0.3,),
                "warm_steps": 10,
                "solver_iterations": 1,
                "solver_tasks": 2,
                "solver_rates": (1e-3,),
                "held_out": 10,
                "answers": 4,
            },
            full={
                "model": "Qwen/Qwen2.5-Math-7B",
                "engine": "vllm",
                "solver_iterations": 140,
                "solver_tasks": 1024,
                "solver_rates": (1e-6,),
                "mini_batches": 4,
                "micro_batch": 16,
                "held_out": 500,
                "answers": 256,
            },
            seeds={"smoke": 1, "reduced": 10, "full": 3},
        ),
        seeds=seeds,
    )
    bench.paper()
    return (bench,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Step through
    Three prompts, eight attempts each, from the hardest, *a*, to the easiest, *c*. Move the figure's own slider: each step is a quantity
    that `a_grae` recorded while it ran. Early in training few attempts succeed and $\omega$ is small; late, many do.
    """)
    return


@app.cell
def _():
    stage = mo.ui.radio({"early": (0, 1, 6), "middle": (1, 4, 6), "late": (2, 6, 8)}, value="early", label="successes of a, b, c")
    variant = mo.ui.radio(["paper", "code"], value="paper", label="easy factor")
    alpha = mo.ui.slider(0.25, 1, 0.25, value=1, label=r"$\alpha$, training state from which successes count in full")
    mo.hstack([stage, variant, alpha], wrap=True, justify="start")
    return alpha, stage, variant


@app.cell
def _(alpha, bench, stage, variant):
    import torch

    from hierlab.credit import a_grae
    from hierlab.lab import stepper
    from hierlab.trace import Tape

    example = torch.cat([(torch.arange(8) < right).double() for right in stage.value])
    with Tape() as tape:
        a_grae(example, [name for name in "abc" for _ in range(8)], alpha=alpha.value, variant=variant.value)
    bench.figure(
        "stepper",
        stepper(tape, row_names=[f"{name}{attempt}" for name in "abc" for attempt in range(1, 9)]),
        title="Inside A-GRAE, step by step",
        caption="One bar an attempt: eight at each of the prompts a, b and c, successes first. Slide through the quantities in order.",
        alt="Bars of 24 attempts: outcome, group-relative advantage, success rate, training state, weight of the task, damped advantage.",
    )
    return a_grae, torch


@app.cell
def _(bench):
    from hierlab.lab.asymmetry import logit_bars, paths, total_weights, weight_map

    bench.figure(
        "task-weight",
        weight_map(),
        title="How much a task's advantages are multiplied by",
        caption="Bottom row: early in training; top row: late. The menu swaps the paper's easy factor for the released one.",
        alt="Heat map over success rate and training state: large at the right early, large at the left late; larger still as released.",
    )
    return logit_bars, paths, total_weights


@app.cell
def _(bench, total_weights):
    bench.figure(
        "total-weight",
        total_weights(bench.settings.group_size),
        title="What a whole group weighs",
        caption="Sum of the advantages' sizes, before successes are damped. Slide from the beginning of training to its end.",
        alt="GRPO is an arch with its top at one half; A-GRAE leans from easy to hard tasks as the training state grows.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Microscope
    ### Three identities
    Thousands of random groups, and the logits of 60 behaviours under one step. The theorems assume the biased deviation and no
    $\epsilon$; trainers use neither.
    """)
    return


@app.cell
def _(bench, torch):
    from functools import partial

    from hierlab.credit import grpo
    from hierlab.lab.symmetry import random_groups, weigh
    from hierlab.seeds import generator

    deviations = {
        "biased, no ε (theorem)": {"unbiased": False, "eps": 0.0},
        "unbiased, ε = 1e-6 (verl)": {},
        "unbiased, ε = 1e-4 (TRL)": {"eps": 1e-4},
    }

    def weights(seed):
        rewards, task = random_groups(bench.settings.groups, (2, 4, 8, 16), generator("a-grae", "groups", seed))
        return {name: weigh(grpo(rewards, task, **switches), rewards, task) for name, switches in deviations.items()}

    weighed = [weights(seed) for seed in bench.seeds]

    def spread(name, size):
        ratio = torch.cat([found[name].weight_ratio[found[name].size == size] for found in weighed])
        return f"{float(ratio.min()):.6f} to {float(ratio.max()):.6f}"

    bench.table(
        "identities",
        ["deviation", "largest imbalance", *(f"Σ|A| / 2G√(p(1−p)), G = {size}" for size in (2, 8, 16))],
        [
            [name, f"{max(float(found[name].imbalance.max()) for found in weighed):.1e}", *(spread(name, size) for size in (2, 8, 16))]
            for name in deviations
        ],
    )
    return generator, grpo, partial, weighed


@app.cell
def _(a_grae, bench, generator, grpo, logit_bars, partial):
    from hierlab.envs.behaviours import draw_behaviours
    from hierlab.lab.symmetry import logit_steps

    stepped = {
        "GRPO": grpo,
        "positive-dominant": partial(a_grae, attention="none", positive_weight=10.0),
        "negative-dominant": partial(a_grae, attention="none", positive_weight=0.1),
        "A-GRAE": a_grae,
    }

    def logit_step(seed, estimator):
        return logit_steps(draw_behaviours(generator("a-grae", "world", seed)), estimator, generator("a-grae", "answers", seed))

    logits = [{name: logit_step(seed, estimator) for name, estimator in stepped.items()} for seed in bench.seeds]
    bench.figure(
        "logit-steps",
        logit_bars(logits[0]),
        title="What one step does to the logits",
        caption="Mean over 16 prompts with 60 behaviours and 8 attempts each; the third panel has an axis of its own.",
        alt="Bars: right answers rise, wrong ones fall; what was not sampled stays under GRPO, falls or rises where the sum is not zero.",
    )
    return logits, stepped


@app.cell
def _(bench, logits, stepped):
    def over_seeds(number):
        return f"{sum(number(found) for found in logits) / len(logits):.3g}"

    bench.table(
        "logit-steps",
        ["estimator", "mean sum C", "largest error of the theorem", "stray movement, table", "stray movement, shared features"],
        [
            [
                name,
                over_seeds(lambda found, name=name: float(found[name].total.mean())),
                f"{max(found[name].error for found in logits):.1e}",
                over_seeds(lambda found, name=name: found[name].stray(found[name].own)),
                over_seeds(lambda found, name=name: found[name].stray(found[name].moved)),
            ]
            for name in stepped
        ],
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ### Biased by design
    A token tree enumerated in full, under a student that succeeds in a fifth and in four fifths of its answers, and SearchHouse:
    how far are the advantages, and the gradient they imply, from the truth?
    """)
    return


@app.cell
def _(a_grae, bench, grpo, partial):
    from hierlab.lab.microscope import microscope
    from hierlab.lab.testbed import house_testbed
    from hierlab.lab.token_testbed import tree_testbed

    observed = {
        "GRPO": grpo,
        "positive-dominant": partial(a_grae, attention="none", positive_weight=10.0),
        "negative-dominant": partial(a_grae, attention="none", positive_weight=0.1),
        "shift only": partial(a_grae, positive_weight=1.0),
        "damping only": partial(a_grae, attention="none"),
        "A-GRAE": a_grae,
        "A-GRAE, released factor": partial(a_grae, variant="code"),
    }
    across = ("shift only", "damping only", "A-GRAE", "A-GRAE, released factor")
    beds = {"tree-early": tree_testbed(0.2), "tree-late": tree_testbed(0.8), "house": house_testbed(0.5)}
    sizes = {"batches": bench.settings.batches, "group_size": bench.settings.group_size}
    seen = {name: microscope(observed, bed, separately=across, **sizes) for name, bed in beds.items()}
    bench.figure(
        "microscope",
        seen["tree-early"].plot(),
        title="Advantages against the truth, early in training",
        caption="A token tree whose student succeeds in a fifth of its answers. Dots: mean over batches; lines: 95 % intervals.",
        alt="GRPO, its two lopsided controls, and A-GRAE with its parts, by bias, variance, correlation and gradient direction.",
    )
    return (seen,)


@app.cell
def _(bench, seen):
    bench.table("microscope, late", **seen["tree-late"].table())
    bench.table("microscope, house", **seen["house"].table())
    bench.table("microscope, early", **seen["tree-early"].table())
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ### As released
    Which of the released scripts turn A-GRAE on? The estimator asks for a weight of exactly 2; the trainer replaces the weight that a
    script gives by one that falls from step to step, and steps are counted from 1.
    """)
    return


@app.cell
def _(bench):
    def weight_at(step, total, given):
        """ray_trainer.py:1216 of Yu7-code/A-GRAE."""
        return given + step / total * (1 - given)

    scripts = {
        "run_qwen2.5-math-7b-grpo-agrae.sh": (2.0, True),
        "run_deepseekr1-7b-agrae.sh": (1.0, True),
        "run_deepseekr1-7b-dapo-agrae.sh": (2.0, False),
        "run_qwen2.5-math-7b-drgrpo-agrae.sh": (1.0, False),
    }

    def audited(given, passed):
        reaches = given if passed else 1.0  # ppo_trainer.yaml: grpo_weight: 1
        schedule = [weight_at(step, 140, reaches) for step in range(1, 141)]
        return [given, "yes" if passed else "no", f"{schedule[0]:.4f}", f"{schedule[-1]:.4f}", sum(w == 2.0 for w in schedule)]

    bench.table(
        "released-switch",
        ["script", "its grpo_weight", "handed on", "weight at step 1", "at step 140", "steps with the branch on"],
        [[name, *audited(*script)] for name, script in scripts.items()],
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Experiment
    Every arm trains with the same prompts and attempts, at each step size of one grid; it is measured at its own best one (chosen for
    each seed by the *other* seeds), at the shared one, and where its Pass@1 first reaches a common level.

    1. **Prompts and behaviours**: Pass@k and entropy are exact. Two controls separate A-GRAE's idea from its smaller step: GRPO with
       A-GRAE's step lengths, and GRPO with an entropy bonus.
    2. **A language model**, whose parameters all prompts share: a tiny one on chains of sums, or at full scale Qwen2.5-Math-7B.
    """)
    return


@app.cell
def _(bench):
    button = bench.button()
    button
    return (button,)


@app.cell
def _(a_grae, bench, button, grpo, partial):
    from hierlab.credit import dr_grpo, w_reinforce

    def train_policy(arm, rate, seed, settings, report):
        from hierlab.envs.behaviours import draw_behaviours
        from hierlab.seeds import generator
        from hierlab.train.behaviours import train_behaviours

        world = draw_behaviours(generator("a-grae", "training world", seed))
        sizes = {"iterations": settings.iterations, "prompts": settings.prompts, "group_size": settings.group_size}
        arm = arm if isinstance(arm, dict) else {"estimator": arm}
        return train_behaviours(world, **arm, **sizes, rate=rate, seed=seed, report=report).values(levels=(settings.level,))

    arms = {
        "GRPO": grpo,
        "positive-dominant": partial(a_grae, attention="none", positive_weight=10.0),
        "negative-dominant": partial(a_grae, attention="none", positive_weight=0.1),
        "easy focus": partial(a_grae, attention="easy", positive_weight=1.0),
        "hard focus": partial(a_grae, attention="hard", positive_weight=1.0),
        "shift only": partial(a_grae, positive_weight=1.0),
        "damping only": partial(a_grae, attention="none"),
        "A-GRAE": a_grae,
        "A-GRAE, released factor": partial(a_grae, variant="code"),
        "GRPO, A-GRAE's step": {"estimator": grpo, "length_of": a_grae},
        "GRPO + entropy bonus": {"estimator": grpo, "entropy_weight": bench.settings.entropy_weight},
        "W-REINFORCE": w_reinforce,
        "Dr. GRPO": dr_grpo,
        "Dr. GRPO + A-GRAE": partial(a_grae, scale="none"),
    }
    among = bench.compare("behaviours", arms, train=train_policy, rates=bench.settings.rates, choose_by="auc", run=button.value)
    among
    return (among,)


@app.cell
def _(among, bench):
    from dataclasses import replace

    lopsided = replace(among, arms=("GRPO", "positive-dominant", "negative-dominant", "easy focus", "hard focus"))
    bench.figure(
        "lopsided",
        lopsided.plot(x="updates", y="pass_1_curve").update_yaxes(title="Pass@1"),
        title="Breaking one symmetry at a time: Pass@1",
        caption="Exact Pass@1 against updates: mean over seeds with 95 % intervals.",
        alt="Learning curves of GRPO and its four lopsided controls at the shared and at their own best step size.",
    )
    return (replace,)


@app.cell
def _(among, bench, replace):
    rivals = ("GRPO", "A-GRAE", "GRPO, A-GRAE's step", "GRPO + entropy bonus", "shift only", "damping only")
    bench.figure(
        "a-grae-entropy",
        replace(among, arms=rivals).plot(x="updates", y="entropy").update_yaxes(type="log"),
        title="Entropy during training",
        caption="Entropy of the policy in nats, mean over prompts: mean over seeds with 95 % intervals.",
        alt="Entropy of GRPO, A-GRAE, its parts and the two fair controls, at the shared and at their own best step size.",
    )
    return (rivals,)


@app.cell
def _(among, bench, replace, rivals):
    answers = replace(among, arms=(*rivals[:4], "positive-dominant", "negative-dominant")).plot(x="ks", y="pass_at_end", rate="best")
    answers.update_xaxes(type="log", title="k, answers a prompt", tickvals=[1, 4, 16, 64, 256])
    answers.update_yaxes(title="Pass@k").update_layout(legend={"y": -0.3})
    bench.figure(
        "pass-at-k",
        answers,
        title="Pass@k at the end of training",
        caption="Exact Pass@k, each arm at its own best step size: mean over seeds with 95 % intervals.",
        alt="Pass@k rises with k for all arms; how far apart they are at one answer and at 256 answers is what the paper is about.",
    )
    return


@app.cell
def _(among, bench, paths, rivals):
    bench.figure(
        "paths",
        paths(among, (*rivals[:4], "positive-dominant", "negative-dominant"), 256),
        title="Pass@256 at equal Pass@1",
        caption="One dot a look at the policy, mean over seeds, each arm at its own best step size. Higher at the same place is better.",
        alt="Lines of six arms through the plane of Pass@1 and Pass@256, from left to right as training goes on.",
    )
    return


@app.cell
def _(among, bench):
    def share(arm, rate):
        return sum(among.units[arm, rate, seed]["collapsed"] for seed in among.seeds) / len(among.seeds)

    bench.table(
        "collapse",
        ["arm", *(f"at {rate:g}" for rate in among.rates)],
        [[arm, *(f"{share(arm, rate):.0%}" for rate in among.rates)] for arm in among.arms],
    )
    return


@app.cell
def _(a_grae, bench, button, grpo):
    def train_language_model(arm, rate, seed, settings, report, scratch):
        from dataclasses import replace

        from hierlab.train.policy import PolicySettings
        from hierlab.train.solver import ChainSumSettings, chain_sum_solver, hub_solver, train_solver

        taught = ChainSumSettings()
        if settings.warm_steps:
            taught = replace(taught, imitation=replace(taught.imitation, steps=settings.warm_steps))
        solver = chain_sum_solver(taught) if settings.model == "tiny" else hub_solver(settings.model, engine=settings.engine)
        solver = replace(solver, held_out=solver.held_out[: settings.held_out])
        update = PolicySettings(
            learning_rate=rate * arm.get("step", 1.0),
            tasks=settings.solver_tasks,
            mini_batches=settings.mini_batches,
            micro_batch=settings.micro_batch,
            clip_high=arm.get("clip_high", 0.2),
        )
        found = train_solver(
            solver,
            arm["estimator"],
            update,
            iterations=settings.solver_iterations,
            group_size=settings.group_size,
            seed=seed,
            evaluate_k=(1, settings.answers),
            folder=scratch,
            report=report,
        )
        kept = ("auc", "final", f"pass_at_{settings.answers}", "generated_tokens", "updates", "success", "entropy")
        return {name: found[name] for name in kept} | {"collapsed": float(found["final"] < 0.5 * max(found["success"]))}

    solver_arms = {
        "GRPO": {"estimator": grpo},
        "A-GRAE": {"estimator": a_grae},
        "GRPO, a third of the step": {"estimator": grpo, "step": 1 / 3},
        "DAPO's clipping": {"estimator": grpo, "clip_high": 0.28},
        "DAPO's clipping + A-GRAE": {"estimator": a_grae, "clip_high": 0.28},
    }
    solver = bench.compare(
        "language model",
        solver_arms,
        train=train_language_model,
        rates=bench.settings.solver_rates,
        choose_by="auc",
        seeds=bench.settings.solver_seeds,
        run=button.value,
    )
    solver
    return (solver,)


@app.cell
def _(bench, solver):
    bench.figure(
        "language-model",
        solver.plot(x="updates", y="success"),
        title="A language model on chains of sums",
        caption="Accuracy on problems held out against updates: mean over seeds with 95 % intervals.",
        alt="Learning curves of five arms, with and without A-GRAE, at the shared and at their own best learning rate.",
    )
    return


@app.cell
def _(bench, solver):
    bench.figure(
        "language-model-entropy",
        solver.plot(x="updates", y="entropy"),
        title="The language model's entropy",
        caption="Nats a token, estimated by the sampled tokens: mean over seeds with 95 % intervals.",
        alt="Entropy of five arms, with and without A-GRAE, at the shared and at their own best learning rate.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Verdicts
    Computed from the numbers above. A claim of several parts holds only if all of them do.
    """)
    return


@app.cell
def _(among, bench, logits, weighed):
    exact = {"direction": "within", "margin": 1e-9}
    theorem, trainer = "biased, no ε (theorem)", "unbiased, ε = 1e-6 (verl)"
    for _name, _part in ((theorem, "biased deviation"), (trainer, "as trainers compute it")):
        bench.claim("C1", part=_part, measured=[float(f[_name].imbalance.max()) for f in weighed], baseline=0.0, **exact)
    bench.claim("C2", part="the formula", measured=[max(s.error for s in f.values()) for f in logits], baseline=0.0, **exact)

    def unsampled(steps):
        """Steps of the logits nobody sampled, in groups that have both outcomes."""
        live = steps.own.abs().sum(dim=1) > 0
        return steps.own[live][~steps.sampled[live]]

    bench.claim("C2", part="sum 0: they stay", measured=[float(unsampled(f["GRPO"]).abs().max()) for f in logits], baseline=0.0, **exact)
    for _arm in ("negative-dominant", "A-GRAE"):
        bench.claim(
            "C2",
            part=f"{_arm}: they rise",
            measured=[float(unsampled(f[_arm]).min()) for f in logits],
            baseline=0.0,
            note="For a table of logits. The smallest step of any logit that was not sampled, in groups with both outcomes.",
        )
    bench.claim(
        "C3",
        part="biased deviation",
        measured=[float((f[theorem].weight_ratio - 1).abs().max()) for f in weighed],
        baseline=0.0,
        **exact,
    )
    bench.claim(
        "C3",
        part="as trainers compute it, up to √((G−1)/G)",
        measured=[float((f[trainer].weight_ratio / ((f[trainer].size - 1) / f[trainer].size).sqrt() - 1).abs().max()) for f in weighed],
        baseline=0.0,
        direction="within",
        margin=1e-5,
        note="The largest relative deviation in any group. Trainers' unbiased deviation and ε make the weight smaller, by 6.5 % for "
        "groups of 8; that it depends on G and p alone stays true up to ε.",
    )

    best = {arm: among.best(arm) for arm in among.arms}
    plain, positive, negative = (best[arm] for arm in ("GRPO", "positive-dominant", "negative-dominant"))

    def smallest_lead(one, other):
        """Each seed's smallest lead in Pass@k over all k."""
        return [min(a - b for a, b in zip(*curves, strict=True)) for curves in zip(one.pass_at_end, other.pass_at_end, strict=True)]

    def collapses(arm):
        """Each seed's share of the grid's rates at which the run collapsed."""
        return [sum(among.units[arm, rate, seed]["collapsed"] for rate in among.rates) / len(among.rates) for seed in among.seeds]

    bench.claim("C4", part="negative-dominant, Pass@k at every k", measured=smallest_lead(negative, plain), baseline=0.0)
    bench.claim("C4", part="negative-dominant, entropy", measured=negative.entropy_end, baseline=plain.entropy_end)
    bench.claim(
        "C4",
        part="negative-dominant, collapses",
        measured=collapses("negative-dominant"),
        baseline=0.0,
        note="Collapsed: ended with less than half of the Pass@1 it once had. Share over all step sizes of the grid.",
    )
    bench.claim("C4", part="positive-dominant, Pass@256", measured=positive.pass_256, baseline=plain.pass_256, direction="less")
    bench.claim("C4", part="positive-dominant, entropy", measured=positive.entropy_end, baseline=plain.entropy_end, direction="less")

    easy, hard = best["easy focus"], best["hard focus"]
    bench.claim("C5", part="easy leads early", measured=easy.early, baseline=hard.early, note="Early: the first quarter of training.")
    bench.claim("C5", part="hard ends higher", measured=hard.pass_1, baseline=easy.pass_1)
    return best, plain


@app.cell
def _(bench, best, plain, solver):
    ours, level = best["A-GRAE"], f"pass_256_at_{bench.settings.level:g}"
    bench.claim("C6", part="behaviours, Pass@1", measured=ours.pass_1, baseline=plain.pass_1)
    bench.claim("C6", part="behaviours, Pass@256", measured=ours.pass_256, baseline=plain.pass_256)
    bench.claim("C6", part="behaviours, Pass@256 at equal Pass@1", measured=ours[level], baseline=plain[level])
    for _control in ("GRPO, A-GRAE's step", "GRPO + entropy bonus"):
        bench.claim("C6", part=f"behaviours, Pass@256 over {_control}", measured=ours.pass_256, baseline=best[_control].pass_256)
    for _metric, _words in (("pass_1", "Pass@1"), ("pass_256", "Pass@256")):
        bench.claim(
            "C6",
            part=f"behaviours, Dr. GRPO, {_words}",
            measured=best["Dr. GRPO + A-GRAE"][_metric],
            baseline=best["Dr. GRPO"][_metric],
        )
    for _base, _with in (("GRPO", "A-GRAE"), ("DAPO's clipping", "DAPO's clipping + A-GRAE")):
        for _metric, _words in (("final", "Pass@1"), (f"pass_at_{bench.settings.answers}", f"Pass@{bench.settings.answers}")):
            bench.claim(
                "C6",
                part=f"language model, {_base}, {_words}",
                measured=solver.best(_with)[_metric],
                baseline=solver.best(_base)[_metric],
            )
    shift, damping = best["shift only"], best["damping only"]
    bench.claim("C7", part="Pass@1 is the shift's", measured=shift.pass_1, baseline=damping.pass_1)
    bench.claim("C7", part="Pass@256 is the damping's", measured=damping.pass_256, baseline=shift.pass_256)
    bench.claim(
        "C7",
        part="both are best on Pass@1",
        measured=ours.pass_1,
        baseline=[max(values) for values in zip(plain.pass_1, shift.pass_1, damping.pass_1, strict=True)],
        note="Held, seed by seed, against the best of GRPO and either part alone.",
    )
    bench.claim(
        "C8",
        part="behaviours",
        measured=ours.collapsed,
        baseline=0.0,
        direction="within",
        margin=0.05,
        note="At its own best step size. No collapse in n runs leaves room for a rate of about 3/n; the table of collapses has all rates.",
    )
    bench.claim("C8", part="language model", measured=solver.best("A-GRAE").collapsed, baseline=0.0, direction="within", margin=0.05)
    bench.not_tested("C9", "It needs a vision-language model and a distilled reasoning model of 3 and 7 billion parameters.")
    bench.verdicts()
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Take it home
    ```python
    from hierlab.credit import a_grae

    advantage = a_grae(rewards, task, alpha=1.0)  # one number an attempt; rewards in [0, 1], or hand over `success`
    ```
    It costs a mean over the batch and two square roots a group. It breaks where rewards are not shares of success: a penalty in
    the reward makes $\sqrt p$ meaningless, so give it the column `success`. Look at entropy and at Pass@k, not at Pass@1 alone, and
    compare with the same optimiser at a smaller step before you credit the asymmetry.
    """)
    return


if __name__ == "__main__":
    app.run()
