"""SPO: credit for segments, from values found by sampling. The lab of arXiv 2505.23564."""

import marimo

app = marimo.App(width="medium", app_title="SPO")

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
        bits: int = setting(4, "bits in the prompt of the token tree", least=2, most=5)
        success: float = setting(0.4, "how often the policy of the token tree succeeds", above=0, most=0.95)
        batches: int = setting(80, "batches under the microscope", least=2)
        response_tokens: float = setting(40, "tokens of a response with its continuations, under the microscope", least=10)
        probes: int = setting(48, "responses of the language model whose slips are looked for", least=1)
        truth: int = setting(128, "continuations of each state that stand for its exact value", least=2)
        probe_tokens: float = setting(60, "tokens of continuations a response, in the search for slips", least=1)
        repeats: int = setting(5, "how often costs and shapes of trees are compared", least=2)
        terms: int = setting(5, "digits of a chain sum", least=2)
        problems: int = setting(4000, "chain sums to learn from, by example and by reward", least=1)
        warm_steps: int = setting(600, "steps of imitation before the tiny model is trained by reward", least=1)
        held_out: int = setting(200, "problems that the trained model is tested on", least=1)
        model: str = setting("tiny", "the language model: tiny, or at full scale a hub id or folder")
        engine: Literal["transformers", "vllm"] = setting("transformers", "what samples from the language model")
        tokens: int = setting(24_000, "tokens that training may generate, continuations included", least=1)
        iterations: int = setting(200, "updates at most", least=1)
        rates: tuple[float, ...] = setting((5e-4, 1e-3), "learning rates that every method chooses its own from", above=0)
        continuations: int = setting(4, "continuations of each state in training (paper: 9)", least=1)
        branches: tuple[int, ...] = setting((4, 4, 4), "segments sampled behind each, by level of the tree (paper: 6, 6, 6)", least=1)
        segment_tokens: int = setting(2, "most tokens of a segment above the tree's last level (paper: 30 to 600)", least=1)
        group_size: int = setting(8, "answers to each problem, for methods that compare them", least=2)
        chain_size: int = setting(2, "answers to each problem, for methods that value segments (paper: 8)", least=1)
        group_tasks: int = setting(16, "problems an update, for methods that compare answers", least=1)
        chain_tasks: int = setting(8, "problems an update, for methods that value segments", least=1)
        tree_tasks: int = setting(4, "problems an update, for trees", least=1)
        answer_tasks: int = setting(8, "problems an update where continuations are free", least=1)
        answer_size: int = setting(4, "answers to each of them", least=2)
        answer_updates: int = setting(30, "updates where continuations are free", least=1)
        kl_weight: float = setting(0.0, "weight of the divergence from the initial policy (paper: 1e-4)", least=0)
        micro_batch: int = setting(2048, "rows a forward pass; changes memory and speed, not the result", least=1)

    bench = Bench(
        "spo",
        settings(
            Settings,
            scale,
            overrides,
            smoke={
                "batches": 4,
                "bits": 3,
                "probes": 4,
                "truth": 4,
                "probe_tokens": 10,
                "repeats": 2,
                "problems": 100,
                "warm_steps": 20,
                "continuations": 1,
                "held_out": 8,
                "tokens": 300,
                "rates": (1e-3,),
                "branches": (2, 2, 2),
                "group_tasks": 4,
                "chain_tasks": 2,
                "tree_tasks": 1,
                "answer_tasks": 2,
                "answer_updates": 1,
            },
            full={
                "model": "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
                "engine": "vllm",
                "tokens": 400_000_000,
                "iterations": 1000,
                "rates": (1e-6,),
                "continuations": 9,
                "branches": (6, 6, 6),
                "segment_tokens": 300,
                "chain_size": 8,
                "group_tasks": 64,
                "chain_tasks": 64,
                "tree_tasks": 16,
                "answer_tasks": 64,
                "answer_size": 8,
                "answer_updates": 300,
                "kl_weight": 1e-4,
                "micro_batch": 8,
            },
            seeds={"smoke": 1, "reduced": 3, "full": 3},
        ),
        seeds=seeds,
    )
    bench.paper()
    return (bench,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Step through
    A tiny language model adds digits up: `3 + 4 + 9 =` is answered by the running sums modulo ten, some re-checks, and the sum,
    `7 6 ? 6 # 6 $`. It has watched somebody who slips now and then. First its answers as **chains**: cut where it was unsure, each state
    between two segments valued by continuing from there. Then a **tree**.
    """)
    return


@app.cell
def _():
    interval = mo.ui.slider(1, 5, 1, value=2, label="cutpoints in a segment")
    masked = mo.ui.checkbox(value=True, label="credit for unsure tokens only")
    mo.hstack([interval, masked], wrap=True, justify="start")
    return interval, masked


@app.cell
def _(bench):
    from hierlab.train.imitation import ImitationSettings
    from hierlab.train.solver import ChainSumSettings, chain_sum_solver

    solver = chain_sum_solver(
        ChainSumSettings(
            terms=bench.settings.terms,
            number=bench.settings.problems,
            held_out=bench.settings.held_out,
            demonstrations=bench.settings.problems,
            imitation=ImitationSettings(steps=bench.settings.warm_steps, batch=ChainSumSettings().imitation.batch, rate=6e-3),
        )
    )
    return (solver,)


@app.cell
def _(bench, interval, masked, solver):
    from functools import partial

    from hierlab.credit import cutpoint_starts, spo
    from hierlab.lab import stepper
    from hierlab.rollout import ChainCollector, estimate
    from hierlab.seeds import generator
    from hierlab.trace import Tape, show

    shown_continuations = 4 * bench.settings.continuations
    chain_of = ChainCollector(1, solver.params, continuations=shown_continuations, cut=partial(cutpoint_starts, interval=interval.value))
    chain = chain_of(solver.engine, solver.tasks[:12], generator("spo lab", "chain"))
    with Tape() as _tape:
        show("probability of each token", chain.old_logp.exp() * chain.response_mask, r"p_t=\pi_{old}(y_t\mid s_t)")
        show("first tokens of segments", chain["segment_start"].double(), r"U=\{t:p_t<\rho\},\ \text{every }c\text{-th}")
        estimate(chain, spo, threshold=0.9 if masked.value else None)
    bench.figure(
        "stepper",
        stepper(_tape),
        title="Inside SPO-chain, step by step",
        caption="Rows are answers to twelve problems, columns their tokens. Slide through the quantities in order.",
        alt="Heat maps of twelve answers by their tokens: probabilities, segment starts, values before and behind, advantages.",
    )
    return chain, cutpoint_starts, estimate, generator, partial, shown_continuations, spo, stepper, Tape


@app.cell
def _(bench, chain, shown_continuations, solver):
    from hierlab.lab.segment_figures import staircase

    def _telling(row):
        """Prefer an answer with a slip, then one whose value moves most."""
        value = chain["segment_value"][row][chain["segment_start"][row]]
        return solver.tasks[row].first_slip(chain["response"][row]) is not None, float(value.max() - value.min()) if len(value) else 0.0

    _row = max(range(len(chain)), key=_telling)
    _length = int(chain["response_length"][_row])
    bench.figure(
        "staircase",
        staircase(
            solver.policy.tokenizer.convert_ids_to_tokens(chain.response_ids[_row, :_length]),
            chain.old_logp[_row, :_length].exp().tolist(),
            chain["segment_start"][_row, :_length].tolist(),
            chain["segment_value"][_row, :_length].tolist(),
            float(chain.rewards[_row]),
            continuations=shown_continuations,
        ),
        title=f"One answer to {solver.tasks[_row].prompt}",
        caption="Above, how sure the model was of each token it wrote. Below, the share of continuations that succeed from the state "
        "before each segment, with their standard error, and the reward: a segment's advantage is the step across it.",
        alt="Bars of token probabilities with the cutpoints marked, over a staircase of values that ends in the reward.",
    )
    return


@app.cell
def _(bench, estimate, generator, solver, stepper, Tape):
    from hierlab.credit import spo_tree
    from hierlab.rollout import TreeCollector

    # Of some trees, the one that gives credit to most of its segments.
    _forest = TreeCollector((2, 2, 2), 2, solver.params)(solver.engine, solver.tasks[:40], generator("spo lab", "trees"))
    _trees = [_forest.select([row for row, name in enumerate(_forest["node"]) if name[0] == place]) for place in range(40)]
    tree = max(_trees, key=lambda grown: float(estimate(grown, spo_tree).abs().gt(0).double().mean()))
    with Tape() as _tape:
        estimate(tree, spo_tree, weight="path")
    _names = ["·".join(map(str, name[1:])) for name in tree["node"]]
    bench.figure(
        "tree-stepper",
        stepper(_tape, layout="rows", row_names=_names),
        title="Inside SPO-tree, step by step",
        caption="A bar is a segment, and its name says where it stands: 0·1 was sampled behind 0. The table holds the texts.",
        alt="Bars, one for each segment of a tree: values, depths, the values of their parents, and advantages.",
    )
    _inner = set(tree["parent"])
    _rows = zip(_names, tree["response"], tree.rewards.tolist(), tree["node"], strict=True)
    bench.table(
        "tree",
        ["segment", f"behind {tree.state[0][0]}", "reward"],
        [[name, text, "" if node in _inner else f"{reward:g}"] for name, text, reward, node in _rows],
    )
    return TreeCollector, spo_tree


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Microscope
    **A token tree enumerated in full**: every value and every advantage is known exactly. Each way of giving credit may generate the same
    number of tokens, so that whoever needs no continuations gets more answers. One question to the *tokens*: how far is the credit from the
    true advantage? And one to the *update*: does its direction agree with the exact gradient?
    """)
    return


@app.cell
def _(bench, cutpoint_starts, estimate, partial, spo, spo_tree):
    from hierlab.credit import equal_starts, grpo
    from hierlab.lab.equal_cost import at_equal_cost, chain_worth, tokens_of_group
    from hierlab.lab.token_testbed import BranchingTestbed, tree_testbed

    world = {"success": bench.settings.success, "bits": bench.settings.bits}

    def cut_at(interval):
        return partial(estimate, estimator=cutpoint_starts, interval=interval)

    def tree_of(*branches):
        return tree_testbed(kind=BranchingTestbed, branches=branches, segment=2, **world)

    cuts = {
        "int1": cut_at(1),
        "int2": cut_at(2),
        "int5": cut_at(5),
        "4 equal cuts": partial(estimate, estimator=equal_starts, num_segments=4),
    }
    chains = {name: chain_worth(bench.settings.response_tokens, cut, **world) for name, cut in cuts.items()}
    whole = partial(spo, threshold=None)
    budget = 2 * tokens_of_group(tree_of(4, 4, 4), 64)
    observed = {
        "GRPO, no std": (partial(grpo, scale="none"), tree_testbed(**world)),
        **{name: (whole, chain) for name, chain in chains.items()},
        "int1, masked": (spo, chains["int1"]),
        "int2, masked": (spo, chains["int2"]),
        "tree": (spo_tree, tree_of(4, 4, 4)),
        "tree, paths": (partial(spo_tree, weight="path"), tree_of(4, 4, 4)),
    }
    seen = at_equal_cost(observed, budget, batches=bench.settings.batches, resamples=300)
    bench.figure(
        "microscope",
        seen.plot(("relative_error", "correlation", "batch_cosine", "mean_cosine")),
        title="Credit at equal cost, against the truth",
        caption="Every way generates as many tokens for a problem. A dot is the mean over batches, the line its 95 % interval.",
        alt="GRPO, SPO-chain with several ways of cutting, and SPO-tree: errors, correlation and gradient directions.",
    )
    return at_equal_cost, budget, chains, equal_starts, grpo, observed, seen, tree_of, whole, world


@app.cell
def _(bench, seen):
    bench.table("microscope", **seen.table())
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ### How many continuations?
    A state may be valued by many continuations, or the tokens spent on more answers instead. The error has two parts: *blur*, because a
    segment's credit is shared by all its tokens, and *noise* of the values. Blur is what is left when the values are exact.
    """)
    return


@app.cell
def _(at_equal_cost, bench, budget, chains, observed, whole):
    from dataclasses import replace as with_changes

    from hierlab.lab.sweep import Sweep

    _levels = (1, 2, 4, 8, 16)
    _chains = {name: chains[name] for name in ("int1", "int2", "int5")}
    _seen = []
    for _number in _levels:
        _arms = {"GRPO, no std": observed["GRPO, no std"]}
        _arms |= {name: (whole, with_changes(chain, continuations=_number)) for name, chain in _chains.items()}
        _seen.append(at_equal_cost(_arms, budget, batches=bench.settings.batches, resamples=200))
    bench.figure(
        "continuations",
        Sweep("continuations of each state", _levels, tuple(_seen), logarithmic=True).plot(("relative_error", "batch_cosine")),
        title="Continuations or answers, at equal cost",
        caption="More continuations mean better values and fewer answers. GRPO needs none, and is the same throughout.",
        alt="Relative error and gradient cosine against the number of continuations, for three intervals and GRPO.",
    )
    return (with_changes,)


@app.cell
def _(at_equal_cost, bench, budget, chains, whole, with_changes):
    from hierlab.lab.segment_figures import stacked

    _arms = {name: (whole, chain) for name, chain in chains.items()}
    _noisy = at_equal_cost(_arms, budget, batches=bench.settings.batches, resamples=100)
    _exact = at_equal_cost(
        {name: (whole, with_changes(chain, continuations=0)) for name, chain in chains.items()},
        budget,
        batches=bench.settings.batches,
        resamples=100,
    )
    _blur = [_exact[name]["squared_error"].value for name in chains]
    _noise = [_noisy[name]["squared_error"].value - blur for name, blur in zip(chains, _blur, strict=True)]
    bench.figure(
        "blur-and-noise",
        stacked(list(chains), {"blur: exact values": _blur, "noise: sampled values": _noise}, "mean squared error of token advantages"),
        title="Two ways to be wrong",
        caption="Errors of token advantages in squared units of reward, where an answer with its continuations costs the same for all.",
        alt="Stacked bars for three intervals and equal cuts: the error left with exact values, and what sampling them adds.",
    )
    bench.table(
        "blur and noise",
        ["cut", "continuations a state", "squared error", "with exact values"],
        [
            [name, chain.continuations, f"{noise + blur:.3g}", f"{blur:.3g}"]
            for (name, chain), blur, noise in zip(chains.items(), _blur, _noise, strict=True)
        ],
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ### Does credit find the slip?
    Answers of the language model, each state valued so often that the values can be taken for exact. Every way of cutting then has
    the same tokens for continuations of its own. Where the answer contains a slip, is it the slip that is blamed most?
    """)
    return


@app.cell
def _(bench, cutpoint_starts, equal_starts, partial, solver):
    from hierlab.lab.slips import look_for_slips

    slips = look_for_slips(
        solver,
        {
            "one number for all (GRPO)": partial(equal_starts, num_segments=1),
            "4 equal cuts": partial(equal_starts, num_segments=4),
            "4 cuts at cutpoints": partial(cutpoint_starts, num_segments=4),
            "int1": partial(cutpoint_starts, interval=1),
            "int2": partial(cutpoint_starts, interval=2),
            "int5": partial(cutpoint_starts, interval=5),
        },
        problems=bench.settings.probes,
        truth=bench.settings.truth,
        tokens=bench.settings.probe_tokens,
    )
    bench.table("slips", **slips.table())
    return (slips,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Experiment
    The tiny model is trained on chain sums, and tested on others. Continuations count as generated tokens, so within one budget SPO
    makes do with fewer answers. All arms start from the same weights; each is measured at its own best learning rate, chosen for every
    seed by the other seeds. "GRPO, unsure tokens" has the probability mask without the segments; "one segment" the values without the
    cuts.
    """)
    return


@app.cell
def _(bench):
    button = bench.button()
    button
    return (button,)


@app.cell
def _():
    def train(arm, rate, seed, settings, report, scratch):
        from hierlab.rollout import ChainCollector, GroupCollector, TreeCollector
        from hierlab.rollout.chain import uncut
        from hierlab.train.imitation import ImitationSettings
        from hierlab.train.policy import PolicySettings
        from hierlab.train.solver import ChainSumSettings, chain_sum_solver, hub_solver, train_solver

        if settings.model == "tiny":
            imitation = ImitationSettings(steps=settings.warm_steps, batch=ChainSumSettings().imitation.batch, rate=6e-3)
            number = {"number": settings.problems, "demonstrations": settings.problems, "held_out": settings.held_out}
            solver = chain_sum_solver(ChainSumSettings(terms=settings.terms, imitation=imitation, **number))
        else:
            solver = hub_solver(settings.model, engine=settings.engine)
        params, masked = solver.params, {"threshold": 0.9 if arm["masked"] else None}
        if "cut" in arm:
            size, tasks = arm.get("size", settings.chain_size), max(1, round(settings.chain_tasks * arm["share"]))
            collector = ChainCollector(size, params, settings.continuations, arm["cut"], **masked)
        elif "tree" in arm:
            tasks = settings.tree_tasks
            collector = TreeCollector(settings.branches, settings.segment_tokens, params, **masked)
        else:
            size, tasks = arm.get("size", settings.group_size), settings.group_tasks
            collector = ChainCollector(size, params, cut=uncut, **masked) if arm["masked"] else GroupCollector(size, params)
        update = PolicySettings(
            learning_rate=rate, tasks=arm.get("tasks", tasks), kl_weight=settings.kl_weight, micro_batch=settings.micro_batch
        )
        amounts = {"iterations": settings.iterations, "tokens": settings.tokens} | arm.get("amounts", {})
        found = train_solver(solver, arm["estimator"], update, collector=collector, **amounts, seed=seed, folder=scratch, report=report)
        kept = ("auc", "final", "generated_tokens", "iterations", "overhead", "tokens", "updates", "success", "length")
        return {name: found[name] for name in kept}

    return (train,)


@app.cell
def _(bench, button, cutpoint_starts, equal_starts, grpo, partial, spo, spo_tree, train):
    from hierlab.credit import dr_grpo

    def chain_arm(cut, masked=True, share=1.0):
        """`share` of the problems, so that an update costs about as much whatever the cut."""
        estimator = partial(spo, whiten=True) if masked else partial(spo, whiten=True, threshold=None)
        return {"estimator": estimator, "cut": cut, "masked": masked, "share": share}

    int2 = partial(cutpoint_starts, interval=2)
    arms = {
        "GRPO": {"estimator": grpo, "masked": False},
        "Dr.GRPO": {"estimator": dr_grpo, "masked": False},
        "GRPO, unsure tokens": {"estimator": grpo, "masked": True},
        "SPO int1": chain_arm(partial(cutpoint_starts, interval=1), share=0.5),
        "SPO int2": chain_arm(int2),
        "SPO one segment": chain_arm(partial(cutpoint_starts, num_segments=1), share=2.0),
        "SPO int2, no mask": chain_arm(int2, masked=False),
        "SPO 4 equal cuts": chain_arm(partial(equal_starts, num_segments=4)),
        "SPO-tree": {"estimator": spo_tree, "tree": True, "masked": True},
        "SPO-tree, paths": {"estimator": partial(spo_tree, weight="path"), "tree": True, "masked": True},
    }
    training = bench.compare("training", arms, train=train, rates=bench.settings.rates, choose_by="auc", run=button.value)
    training
    return arms, training


@app.cell
def _(bench, training, with_changes):
    def _only(*shown):
        """The learning curves of some arms: all of them in one figure would be a tangle."""
        return with_changes(training, arms=shown).plot(x="tokens", y="success", rate="best")

    bench.figure(
        "training",
        _only("GRPO", "Dr.GRPO", "GRPO, unsure tokens", "SPO int2", "SPO-tree", "SPO-tree, paths"),
        title="Accuracy against generated tokens",
        caption="Held-out accuracy: mean over seeds with 95 % intervals, at each arm's own best rate. Continuations count; tests do not.",
        alt="Learning curves of GRPO and its controls, SPO-chain and SPO-tree against the tokens they generated.",
    )
    bench.figure(
        "cuts",
        _only("SPO int1", "SPO int2", "SPO one segment", "SPO 4 equal cuts", "SPO int2, no mask"),
        title="Where to cut, and whom to credit",
        caption="The same for ways of cutting, and without the probability mask.",
        alt="Learning curves of SPO-chain with different intervals, equal cuts, and no mask.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ### The same answers
    As the paper compares them: as many answers an update, as many updates, and continuations for free.
    """)
    return


@app.cell
def _(arms, bench, button, train):
    equal_answers = {
        "tasks": bench.settings.answer_tasks,
        "size": bench.settings.answer_size,
        "amounts": {"iterations": bench.settings.answer_updates, "tokens": None},
    }
    free = {name: {**arms[name], **equal_answers} for name in ("GRPO", "GRPO, unsure tokens", "SPO int2")}
    free_continuations = bench.compare("same answers", free, train=train, rates=bench.settings.rates, choose_by="auc", run=button.value)
    free_continuations
    return (free_continuations,)


@app.cell
def _(bench, free_continuations):
    bench.figure(
        "same-answers",
        free_continuations.plot(x="updates", y="success", rate="best"),
        title="Accuracy against updates, continuations for free",
        caption="Held-out accuracy: mean over seeds with 95 % intervals, at each arm's own best rate. All train on equally many answers.",
        alt="Learning curves of GRPO, GRPO on unsure tokens, and SPO-chain against updates.",
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
def _(at_equal_cost, bench, budget, free_continuations, generator, partial, slips, solver, spo_tree, training, tree_of, TreeCollector):
    from hierlab.rollout import ChainCollector as Chains
    from hierlab.rollout import summary

    auc = {arm: training.best(arm).auc for arm in training.arms}
    bench.claim("C1", part="same generated tokens", measured=auc["SPO int2"], baseline=auc["GRPO"])
    bench.claim(
        "C1",
        part="same answers, continuations for free",
        measured=free_continuations.best("SPO int2").auc,
        baseline=free_continuations.best("GRPO").auc,
    )
    bench.not_tested("C2", "Answers here are a dozen tokens long; what SPO-tree does there stands among the arms of the experiment.")
    bench.not_tested("C3", "It needs models that solve AIME problems; and 30 problems do not tell 0.100 from 0.033.")

    little = "Little is taken to mean less than 0.03 of mean accuracy."
    bench.claim("C4", part="one segment loses", measured=auc["SPO int2"], baseline=auc["SPO one segment"])
    bench.claim(
        "C4", part="int1 gains little", measured=auc["SPO int1"], baseline=auc["SPO int2"], direction="within", margin=0.03, note=little
    )

    bench.claim("C5", part="training: cutpoints", measured=auc["SPO int2"], baseline=auc["SPO 4 equal cuts"])
    bench.claim("C5", part="training: mask", measured=auc["SPO int2"], baseline=auc["SPO int2, no mask"])
    bench.claim(
        "C5",
        part="error of credit: cutpoints",
        measured=slips.error["4 cuts at cutpoints"],
        baseline=slips.error["4 equal cuts"],
        direction="less",
        over="answers",
    )

    def tokens_a_segment(collector, seed):
        rollouts = collector(solver.engine, solver.tasks[:32], generator("spo lab", "cost", seed))
        valued = int(rollouts["segment_start"].sum()) if "segment_start" in rollouts else len(rollouts)
        return summary(rollouts)["generated_tokens"] / valued

    def cosine(arm, seed):
        return at_equal_cost({"tree": arm}, budget, batches=bench.settings.batches, seed=seed, resamples=100)["tree"]["batch_cosine"].value

    shapes = {shape: (partial(spo_tree, weight="path"), tree_of(*shape)) for shape in ((4, 4, 4), (3, 3, 3), (6, 6, 6))}
    several = range(bench.settings.repeats)
    chains_of = Chains(1, solver.params, continuations=4)
    trees_of = TreeCollector((4, 4, 4), 2, solver.params)
    bench.claim(
        "C6",
        part="tokens for each segment that is valued",
        measured=[tokens_a_segment(trees_of, seed) for seed in several],
        baseline=[tokens_a_segment(chains_of, seed) / 2 for seed in several],
        direction="less",
        over="batches",
        note="Far cheaper is taken to mean less than half of what a chain costs. Both value a state by four samples.",
    )
    cosines = {shape: [cosine(arm, seed) for seed in several] for shape, arm in shapes.items()}
    for shape in ((3, 3, 3), (6, 6, 6)):
        bench.claim(
            "C6",
            part=f"{'-'.join(map(str, shape))} is as good as 4-4-4",
            measured=cosines[shape],
            baseline=cosines[4, 4, 4],
            direction="within",
            margin=0.1,
            over="batches",
            note="Held against the cosine of one batch's gradient with the exact one, at equal cost.",
        )
    bench.verdicts()
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Take it home
    ```python
    from hierlab.credit import spo, spo_tree
    from hierlab.rollout import ChainCollector, TreeCollector, estimate

    rollouts = ChainCollector(8, params, continuations=9)(engine, problems, generator)  # segments, their values, the mask, the cost
    advantage = estimate(rollouts, spo)  # [N, T]
    ```
    The estimator costs next to nothing, its values do not: each takes as many answers as there are continuations. It wants a verifier
    that is cheap and right, and problems that the policy solves sometimes: where all continuations fail, or all succeed, there is no
    credit to give.
    """)
    return


if __name__ == "__main__":
    app.run()
