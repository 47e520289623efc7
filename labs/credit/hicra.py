"""HICRA: more credit for the tokens that plan. The lab of arXiv 2509.03646."""

import marimo

app = marimo.App(width="medium", app_title="HICRA")

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
        iterations: int = setting(60, "updates of the table of plans and steps", least=1)
        tasks: int = setting(4, "problems an iteration in the table", least=1)
        group_size: int = setting(8, "responses a problem", least=2)
        rates: tuple[float, ...] = setting((4.0, 12.0, 36.0), "step sizes of the table that every method chooses its own from", above=0)
        skill: float = setting(0.97, "probability that a step is right at the beginning", above=0, most=0.999)
        low_skill: float = setting(0.7, "the same for a policy that lacks skill", above=0, most=0.999)
        batches: int = setting(400, "batches under the microscope", least=2)
        answers: int = setting(400, "right answers that planning phrases are found in", least=1)
        frequent: float = setting(0.05, "share of right answers that a phrase must be in", above=0, most=1)
        problems: Literal["digits", "gsm_symbolic"] = setting("digits", "what the language model solves")
        model: str = setting("tiny", "the language model: tiny, or at full scale a hub id or folder")
        low_model: str = setting("tiny", "the model that lacks skill, likewise")
        engine: Literal["transformers", "vllm"] = setting("transformers", "what samples from the language model")
        warm_steps: int = setting(500, "steps of imitation before it is trained by reward", least=1)
        sense: float = setting(0.4, "how often the demonstrated plan fits the question", least=0, most=1)
        pupil_skill: float = setting(0.97, "probability that a demonstrated digit is right", least=0, most=1)
        pupil_low_skill: float = setting(0.75, "the same for the model that lacks skill", least=0, most=1)
        solver_seeds: int = setting(5, "seeds of the language model's training, at most", least=1)
        solver_tokens: int = setting(10_000, "tokens that the language model may generate in training", least=1)
        solver_iterations: int = setting(60, "updates of the language model, at most", least=1)
        solver_tasks: int = setting(6, "problems an iteration", least=1)
        tests: int = setting(3, "how often each question is asked in a test", least=1)
        solver_rates: tuple[float, ...] = setting((5e-4, 1e-3, 2e-3), "learning rates that every method chooses its own from", above=0)
        micro_batch: int = setting(512, "rows a forward pass; changes memory and speed, not the result", least=1)

    bench = Bench(
        "hicra",
        settings(
            Settings,
            scale,
            overrides,
            smoke={
                "iterations": 3,
                "rates": (12.0,),
                "batches": 20,
                "warm_steps": 10,
                "answers": 100,
                "solver_tokens": 100,
                "solver_iterations": 1,
                "solver_tasks": 1,
                "tests": 1,
                "solver_rates": (1e-3,),
            },
            full={
                "problems": "gsm_symbolic",
                "model": "Qwen/Qwen2.5-7B",
                "low_model": "meta-llama/Llama-3.1-8B-Instruct",
                "engine": "vllm",
                "solver_tokens": 50_000_000,
                "solver_iterations": 200,
                "solver_tasks": 64,
                "solver_rates": (1e-6,),
                "micro_batch": 8,
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
    Eight solutions of one problem in a world of two levels: the first token chooses a strategy, of which few are valid, and four more
    carry it out. A row of the picture is a solution, a column a token; only the first token plans. Move the figure's own slider: each
    step is a quantity that `hicra` recorded while it ran. The controls below run it again.
    """)
    return


@app.cell
def _():
    alpha = mo.ui.slider(0, 1, 0.1, value=0.2, label=r"$\alpha$, share of its size by which an advantage is raised")
    highlight = mo.ui.radio(["planning", "symmetric", "placebo", "uncertain", "port"], value="planning", label="raise")
    normaliser = mo.ui.radio(["std", "none"], value="std", label="divide by")
    mo.hstack([alpha, highlight, normaliser], wrap=True, justify="start")
    return alpha, highlight, normaliser


@app.cell
def _(bench):
    from hierlab.envs.strategies import Strategies
    from hierlab.lab.token_testbed import ResponseTestbed
    from hierlab.seeds import generator

    strategies = Strategies()

    def testbed(sense):
        """The world under a policy that chooses the strategy which always serves this often."""
        logits = strategies.logits(bench.settings.skill, sense)
        return ResponseTestbed("plans and steps", strategies.world(), logits, planning=strategies.planning)

    example = testbed(0.4).collect(1, bench.settings.group_size, generator("hicra lab", "solutions"))
    return example, testbed


@app.cell
def _(alpha, bench, example, highlight, normaliser):
    from hierlab.credit import hicra
    from hierlab.lab import stepper
    from hierlab.rollout import estimate
    from hierlab.trace import Tape

    with Tape() as tape:
        estimate(example, hicra, alpha=alpha.value, highlight=highlight.value, scale=normaliser.value)
    bench.figure(
        "stepper",
        stepper(tape, layout="rows"),
        title="Inside HICRA, step by step",
        caption="Rows are solutions of one problem, columns are tokens; the first token plans, the others carry out.",
        alt="Outcomes of eight solutions, their group's mean and deviation, the raised tokens, the excess of each row, the advantages.",
    )
    return (hicra,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ### Finding the phrases that plan
    The second testbed speaks: `tripled 4 ?` is answered `we multiply by three 2 6 so we go on 8 4`, with eighteen planted phrases, two
    for each of six methods and three ways to go on. From right answers alone, which runs of three to five words are found to plan?
    """)
    return


@app.cell
def _(bench):
    from hierlab.credit import mine_strategic_grams
    from hierlab.credit.strategic_grams import grams_of
    from hierlab.envs.digit_questions import PHRASES, Pupil
    from hierlab.lab.planning_figures import frequent_grams
    from hierlab.train.digit_solver import DigitSettings, right_answers

    planted = frozenset(gram for phrase in PHRASES for gram in grams_of(phrase))
    watched = DigitSettings(pupil=Pupil(bench.settings.sense, bench.settings.pupil_skill))
    least = max(1, round(bench.settings.frequent * bench.settings.answers))
    corpora = [right_answers(watched, bench.settings.answers, seed) for seed in bench.seeds]
    mined = [mine_strategic_grams(corpus, least=least, top=1.0) for corpus in corpora]

    def quality(found):
        """Precision and recall against the planted phrases."""
        hits = len(found & planted)
        return hits / max(1, len(found)), hits / len(planted)

    recipes = {
        "as in the paper: clusters, the most frequent 20 %": {},
        f"phrases in {bench.settings.frequent:.0%} of the answers, then the paper's": {"least": least},
        f"phrases in {bench.settings.frequent:.0%} of the answers": {"least": least, "top": 1.0},
    }
    found_by = {name: mine_strategic_grams(corpora[0], **switches) for name, switches in recipes.items()}
    rows = [
        [name, len(found.grams), len(found.strategic), *(round(x, 3) for x in quality(found.strategic))] for name, found in found_by.items()
    ]
    bench.figure(
        "phrases",
        frequent_grams(corpora[0], planted, bench.settings.frequent),
        title="Which phrases occur in how many right answers",
        caption="Phrases of 3 to 5 words in order of frequency; the dashed line is the threshold used below. Hover for the phrase.",
        alt="Bars of document frequency: planted phrases come first, those that contain a digit follow at lower frequencies.",
    )
    return mined, planted, quality, rows


@app.cell
def _(bench, rows):
    bench.table("mining", ["recipe", "phrases considered", "found to plan", "precision", "recall"], rows)
    return


@app.cell
def _(bench, hicra, mined):
    import torch

    from hierlab.credit import planning_mask
    from hierlab.lab.planning_figures import credit_of_words

    said = {
        "a right answer": "we multiply by three 2 6 so we go on 8 4",
        "a wrong one": "let us copy all 4 4 then comes the rest 4 4",
    }
    words = {title: text.split() for title, text in said.items()}
    mask = torch.ones(2, len(words["a right answer"]), dtype=torch.bool)
    marked = planning_mask([[f"{word} " for word in row] for row in words.values()], mask, mined[0].strategic)
    columns = {"rewards": torch.tensor([1.0, 0.0]), "task": ["tripled 4"] * 2, "response_mask": mask, "planning_mask": marked}

    def credit(**switches):
        return dict(zip(words, hicra(**columns, **switches).tolist(), strict=True))

    bench.figure(
        "words",
        credit_of_words(words, {"GRPO": credit(alpha=0.0), "HICRA": credit(), "symmetric": credit(highlight="symmetric")}),
        title="The credit of each word",
        caption="Two answers to `tripled 4 ?`, downwards. HICRA moves the words of planning phrases to the right in both.",
        alt="Advantages of each word of a right and a wrong answer under GRPO, HICRA and symmetric scaling.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Microscope
    In the world of two levels the true advantage of every token is known. A policy whose steps are nearly sure, but whose strategies
    are chosen with little sense, writes many batches; each estimator's advantages are held against the truth.
    """)
    return


@app.cell
def _(bench, hicra, testbed):
    from functools import partial

    from hierlab.credit import grpo
    from hierlab.lab.microscope import microscope

    observed = {
        "GRPO": grpo,
        "HICRA": hicra,
        "symmetric": partial(hicra, highlight="symmetric"),
        "placebo": partial(hicra, highlight="placebo"),
        "most uncertain": partial(hicra, highlight="uncertain"),
        "port": partial(hicra, highlight="port"),
        "HICRA, no std": partial(hicra, scale="none"),
    }
    seen = microscope(observed, testbed(0.4), batches=bench.settings.batches, group_size=bench.settings.group_size)
    bench.figure(
        "microscope",
        seen.plot(),
        title="Advantages of tokens against the truth",
        caption="A dot is the mean over batches, the line its 95 % interval (bootstrap over batches).",
        alt="GRPO, HICRA and its variants compared by bias, variance, correlation and gradient direction.",
    )
    return grpo, observed, partial, seen


@app.cell
def _(bench, seen):
    bench.table("microscope", **seen.table())
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ### Optimism
    True advantages average to 0 under the policy, and so do GRPO's in every group. HICRA's do not: planning tokens get
    $\alpha\lvert A\rvert$ on top. How much is that, from a policy without a plan to one that nearly always has a valid one?
    """)
    return


@app.cell
def _(bench, observed, testbed):
    from hierlab.lab.optimism import optimism

    compared = {name: observed[name] for name in ("GRPO", "HICRA", "symmetric")}
    beds = [testbed(sense) for sense in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)]
    bench.figure(
        "optimism",
        optimism(compared, beds, groups=max(4, bench.settings.batches // 10), group_size=bench.settings.group_size).plot(),
        title="The mean advantage of a token that plans",
        caption="Each point is a policy with more sense for strategies; the truth is 0 everywhere.",
        alt="Mean advantage of planning tokens against success: zero for GRPO and symmetric scaling, positive for HICRA.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Experiment
    Every method trains with the same problems, samples and updates, at each step size of one grid; it is measured at its own best one
    (chosen for each seed by the *other* seeds) and at the shared middle one. Two controls separate the idea from its scale: *symmetric*
    scales planning tokens by $1+\alpha$ after success and after failure, and *GRPO, HICRA's step* takes GRPO's direction with the length
    that HICRA's update would have had.

    1. **Plans and steps**, a table of logits whose success is computed exactly, from a skilled and from an unskilled policy.
    2. **Digit questions**, a tiny language model that plans in words, from a skilled and from an unskilled warm start.
    """)
    return


@app.cell
def _(bench):
    button = bench.button()
    button
    return (button,)


@app.cell
def _(bench, button, grpo, hicra, partial):
    def train_plans(arm, rate, seed, settings, report):
        from hierlab.envs.strategies import Strategies as World
        from hierlab.train.token_table import train_token_table

        world = World()
        start = world.logits(settings.low_skill if arm.get("unskilled") else settings.skill)
        sizes = {"iterations": settings.iterations, "tasks": settings.tasks, "group_size": settings.group_size}
        method = {"estimator": arm["estimator"], "length_of": arm.get("length_of")}
        run = train_token_table(
            world.world(), **method, **sizes, rate=rate, seed=seed, logits=start, planning=world.planning, report=report
        )
        return run.values(world.measure)

    methods = {
        "GRPO": grpo,
        "HICRA": hicra,
        "symmetric": partial(hicra, highlight="symmetric"),
        "placebo": partial(hicra, highlight="placebo"),
        "most uncertain": partial(hicra, highlight="uncertain"),
    }
    table_arms = {name: {"estimator": method} for name, method in methods.items()}
    table_arms |= {"GRPO, HICRA's step": {"estimator": grpo, "length_of": hicra}}
    table = bench.compare("plans", table_arms, train=train_plans, rates=bench.settings.rates, choose_by="auc", run=button.value)
    table
    return methods, table, train_plans


@app.cell
def _(bench, table):
    bench.figure(
        "plans",
        table.plot(x="updates", y="success"),
        title="Learning to plan and to carry out",
        caption="Exact probability of success against updates: mean over seeds with 95 % intervals.",
        alt="Learning curves of GRPO, HICRA and four controls, at the shared and at their own best step size.",
    )
    return


@app.cell
def _(bench, button, methods, train_plans):
    unskilled_arms = {name: {"estimator": methods[name], "unskilled": True} for name in ("GRPO", "HICRA", "symmetric")}
    low_table = bench.compare(
        "plans, unskilled", unskilled_arms, train=train_plans, rates=bench.settings.rates, choose_by="auc", run=button.value
    )
    low_table
    return (low_table,)


@app.cell
def _(bench, low_table):
    bench.figure(
        "plans-unskilled",
        low_table.plot(x="updates", y="success", rate="best"),
        title="The same without skill",
        caption="Exact probability of success against updates, from steps that are seldom all right: mean and 95 % intervals.",
        alt="Learning curves of GRPO, HICRA and the symmetric control from an unskilled start.",
    )
    return


@app.cell
def _(bench, button, methods):
    def train_language_model(arm, rate, seed, settings, report, scratch):
        from torch import randperm

        from hierlab.credit import mine_strategic_grams as mine
        from hierlab.credit.strategic_grams import grams_of as runs_of
        from hierlab.envs.digit_questions import Pupil as Watched
        from hierlab.rollout import GroupCollector
        from hierlab.rollout.marks import MarkedCollector, successes, token_classes
        from hierlab.seeds import generator as seeded
        from hierlab.train import digit_solver as digits
        from hierlab.train.imitation import ImitationSettings
        from hierlab.train.policy import PolicySettings
        from hierlab.train.solver import hub_solver, train_solver

        spoken = settings.problems == "digits"
        if spoken:
            pupil = Watched(settings.sense, settings.pupil_low_skill if arm.get("unskilled") else settings.pupil_skill)
            imitation = ImitationSettings(steps=settings.warm_steps, batch=32, rate=6e-3)
            model = digits.DigitSettings(pupil=pupil, tests=settings.tests, imitation=imitation)
            solver = digits.digit_solver(model)
            corpus = digits.right_answers(model, settings.answers, seed)
        else:
            name = settings.low_model if arm.get("unskilled") else settings.model
            solver = hub_solver(name, task=settings.problems, engine=settings.engine)
            asked = solver.tasks[: 2 * settings.answers]
            corpus = successes(solver.engine, asked, GroupCollector(1, solver.params), seeded("hicra lab", "own answers", seed))
        # Few answers of few words: frequent phrases are taken as they are. Many long ones: the paper's recipe.
        threshold = max(1, round(settings.frequent * len(corpus)))
        found = mine(corpus, least=threshold, top=1.0) if spoken else mine(corpus, least=2)
        raised = sorted(found.strategic)
        if arm.get("raise") == "random phrases":
            others = sorted({gram for answer in corpus for gram in runs_of(answer)} - found.strategic)
            order = randperm(len(others), generator=seeded("hicra lab", "random phrases", seed))
            raised = [others[i] for i in order[: len(raised)].tolist()]
        elif arm.get("raise") == "70 % of the phrases":
            order = randperm(len(raised), generator=seeded("hicra lab", "fewer phrases", seed))
            raised = [raised[i] for i in order[: round(0.7 * len(raised))].tolist()]

        def measure(rollouts):
            return token_classes(rollouts, found.strategic) | (digits.outcomes(rollouts, solver.tasks) if spoken else {})

        reads = solver.policy if arm.get("describe") or arm.get("entropy") else None
        collector = MarkedCollector(GroupCollector(settings.group_size, solver.params), frozenset(raised), entropy_of=reads)
        update = PolicySettings(learning_rate=rate, tasks=settings.solver_tasks, clip_high=0.28, micro_batch=settings.micro_batch)
        amounts = {"iterations": settings.solver_iterations, "tokens": settings.solver_tokens, "evaluate_every": 4}
        watch = {"measure": measure if arm.get("describe") else None, "folder": scratch, "report": report}
        return train_solver(solver, arm["estimator"], update, **amounts, collector=collector, seed=seed, **watch)

    model_arms = {"GRPO": {"estimator": methods["GRPO"], "describe": True}}
    model_arms |= {name: {"estimator": methods[name]} for name in ("HICRA", "symmetric")}
    model_arms |= {"most uncertain": {"estimator": methods["most uncertain"], "entropy": True}}
    model_arms |= {name: {"estimator": methods["HICRA"], "raise": name} for name in ("random phrases", "70 % of the phrases")}
    model = bench.compare(
        "language model",
        model_arms,
        train=train_language_model,
        rates=bench.settings.solver_rates,
        choose_by="auc",
        seeds=bench.settings.solver_seeds,
        run=button.value,
    )
    model
    return model, train_language_model


@app.cell
def _(bench, model):
    bench.figure(
        "language-model",
        model.plot(x="tokens", y="success", rate="best"),
        title="A language model that plans in words",
        caption="Accuracy against generated tokens, each arm at its own best rate: mean over seeds with 95 % intervals.",
        alt="Learning curves of GRPO, HICRA and controls on digit questions.",
    )
    return


@app.cell
def _(bench, button, methods, train_language_model):
    low_arms = {name: {"estimator": methods[name], "unskilled": True} for name in ("GRPO", "HICRA")}
    low_model = bench.compare(
        "language model, unskilled",
        low_arms,
        train=train_language_model,
        rates=bench.settings.solver_rates,
        choose_by="auc",
        seeds=bench.settings.solver_seeds,
        run=button.value,
    )
    low_model
    return (low_model,)


@app.cell
def _(bench, model):
    from hierlab.lab.planning_figures import phases

    bench.figure(
        "phases",
        phases(model.best("GRPO"), x="tokens"),
        title="Two classes of tokens during training by GRPO",
        caption="Means over seeds, at GRPO's best rate. The paper's first phase would be the fall of the execution lines.",
        alt="Relative perplexity and entropy of planning and execution tokens, semantic entropy and length against generated tokens.",
    )
    return


@app.cell
def _(bench, model):
    names = ("planning_share", "planning_uncertain", "uncertain_planning")
    first, last = ([sum(unit[place] for unit in model.best("GRPO")[name]) / len(model.seeds) for name in names] for place in (0, -1))
    bench.table(
        "uncertainty",
        ["", "tokens that plan", "planning tokens among the 30 % most uncertain", "most uncertain tokens that plan"],
        [[when, *(f"{share:.0%}" for share in shares)] for when, shares in (("before training", first), ("after training", last))],
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
def _(bench, low_model, low_table, mined, model, quality, table):
    import numpy as np

    spoken = bench.settings.problems == "digits"
    plain = model.best("GRPO")
    auc = {arm: table.best(arm).auc for arm in table.arms}
    heard = {arm: model.best(arm).auc for arm in model.arms}

    def early(curve):
        """The fall over the first half of each seed's curve."""
        return [values[0] - values[len(values) // 2] for values in curve]

    def late(curve):
        """The fall over the second half."""
        return [values[len(values) // 2] - values[-1] for values in curve]

    def gain(runs):
        """What HICRA adds to GRPO, by seed."""
        return [one - other for one, other in zip(runs.best("HICRA").auc, runs.best("GRPO").auc, strict=True)]

    for name, curve in {"perplexity": plain.execution_perplexity, "entropy": plain.execution_entropy}.items():
        bench.claim("C1", part=f"the {name} of execution falls early", measured=early(curve), baseline=late(curve))
    bench.claim("C1", part="then phrases vary more", measured=[-fall for fall in late(plain.semantic_entropy)], baseline=0.0)
    bench.claim(
        "C1",
        part="and answers grow longer",
        measured=[-fall for fall in late(plain.length)],
        baseline=0.0,
        note="Early and late: the first and second half of training by GRPO.",
    )

    if spoken:

        def fall(curve):
            """From the first three points of each seed's curve to the last three."""
            return [sum(values[:3]) / 3 - sum(values[-3:]) / 3 for values in curve]

        bench.claim(
            "C2",
            measured=fall(plain.planning_errors),
            baseline=fall(plain.execution_errors),
            note="In shares of all answers, over training by GRPO. Execution can only be seen to fail where the plan is right.",
        )
    else:
        bench.not_tested("C2", "Errors are told apart in digit questions only.")

    bench.claim("C3", part="plans and steps", measured=auc["HICRA"], baseline=auc["GRPO"])
    bench.claim("C3", part="plans and steps, equal step length", measured=auc["HICRA"], baseline=auc["GRPO, HICRA's step"])
    bench.claim("C3", part="language model", measured=heard["HICRA"], baseline=heard["GRPO"])

    for control in ("placebo", "most uncertain", "symmetric"):
        bench.claim("C4", part=f"plans and steps, against {control}", measured=auc["HICRA"], baseline=auc[control])
    for control in ("random phrases", "most uncertain", "symmetric"):
        bench.claim("C4", part=f"language model, against {control}", measured=heard["HICRA"], baseline=heard[control])

    for name, skilled, unskilled in (("plans and steps", table, low_table), ("language model", model, low_model)):
        less = f"{name}: the gain is smaller without skill"
        bench.claim("C5", part=less, measured=gain(skilled), baseline=gain(unskilled))
        none = f"{name}: no gain without skill"
        bench.claim("C5", part=none, measured=gain(unskilled), baseline=0.0, direction="within", margin=0.01)
    bench.not_tested("C6", "It needs vision-language models.")

    def mean_over_training(curves):
        return [sum(values) / len(values) for values in curves]

    bench.claim("C7", part="most planning tokens are uncertain", measured=mean_over_training(plain.planning_uncertain), baseline=0.5)
    bench.claim(
        "C7",
        part="few uncertain tokens plan",
        measured=mean_over_training(plain.uncertain_planning),
        baseline=0.1,
        direction="less",
        note="Mean over training by GRPO; held against one half and the paper's 10 %.",
    )

    if spoken:

        def tracking(curve):
            """Correlation with the variety of plans over the second half; 0 where nothing varies."""
            pairs = [
                (values[len(values) // 2 :], truth[len(truth) // 2 :]) for values, truth in zip(curve, plain.plan_variety, strict=True)
            ]
            return [float(np.corrcoef(x, y)[0, 1]) if np.ptp(x) > 0 and np.ptp(y) > 0 else 0.0 for x, y in pairs]

        bench.claim(
            "C8",
            measured=tracking(plain.semantic_entropy),
            baseline=tracking(plain.token_entropy),
            note="Correlation with the true variety of plans in the second half of training by GRPO; Pass@8 is in the metrics.",
        )
    else:
        bench.not_tested("C8", "The true variety of plans is known in digit questions only.")

    bench.claim(
        "C9",
        part="what is found does plan",
        measured=[quality(found.strategic)[0] for found in mined],
        baseline=0.86,
        note="Precision against the planted phrases, held against the share that human judges confirmed in the paper.",
    )
    bench.claim(
        "C9",
        part="70 % of the phrases do as well",
        measured=heard["70 % of the phrases"],
        baseline=heard["HICRA"],
        direction="within",
        margin=0.02,
    )
    bench.verdicts()
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Take it home
    ```python
    from hierlab.credit import hicra, mine_strategic_grams, planning_mask

    phrases = mine_strategic_grams(successful_solutions, least=2).strategic
    planning = planning_mask(pieces, response_mask, phrases)  # pieces: the text of each response token
    advantage = hicra(rewards, task, response_mask, planning, alpha=0.2)  # one number a token
    ```
    One line on top of GRPO; finding the phrases takes a clustering, once. Always run it beside `highlight="symmetric"` with the same
    tokens: whatever the two have in common is not owed to asymmetry. It breaks where phrases are found that do not plan: look at them
    before training. Plans that never succeed are not in the set, so their blame is never softened.
    """)
    return


if __name__ == "__main__":
    app.run()
