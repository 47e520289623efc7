"""MAP: a whole front of merged models from a few evaluations. The lab of arXiv 2406.07529."""

import marimo

app = marimo.App(width="medium", app_title="MAP")

with app.setup:
    import marimo as mo


@app.cell
def parameters():
    scale = "reduced"  # smoke | reduced | full
    seeds = 0  # 0: as many as the scale asks for
    overrides = {}  # any field of Settings, e.g. {"again": 20}
    return overrides, scale, seeds


@app.cell
def _(overrides, scale, seeds):
    from dataclasses import dataclass
    from typing import Literal

    from hierlab.lab import Bench, setting, settings

    @dataclass(frozen=True)
    class Settings:
        material: Literal["digits", "clip"] = setting("digits", "what is merged: small classifiers trained here, or CLIP's image encoders")
        folder: str = setting("", "with clip: where its data sets are, one folder a task, in it one a class")
        model: str = setting("openai/clip-vit-base-patch32", "with clip: the pre-trained model, a hub id or folder")
        finetuned: str = setting("tanganke/clip-vit-base-patch32_{task}", "with clip: its fine-tuned image encoders, hub ids or folders")
        images: int = setting(1000, "with clip: images of each task that accuracy is measured on", least=1)
        views: int = setting(4, "tasks of the front experiments", least=2, most=8)
        budgets: tuple[int, ...] = setting((20, 30, 60, 120), "scale vectors evaluated before the search", least=1)
        again: int = setting(100, "points of MAP's front that are re-evaluated; direct search is given as many more", least=1)
        reference: int = setting(1000, "random scale vectors whose volume is 1", least=10)
        unseen: int = setting(500, "scale vectors that surrogates are tested on", least=10)
        side: int = setting(41, "points a side of the dense grid over two scales", least=3)
        choices: int = setting(40, "scale vectors for choosing one merge for each preference", least=21)
        sizes: tuple[int, ...] = setting((2, 4, 8), "numbers of tasks merged up a tree", least=2, most=8)
        pairs: int = setting(20, "scale pairs at every merge of the tree", least=8)
        generations: int = setting(25, "generations of NSGA-III", least=0)
        world: int = setting(6, "searches of each kind under the microscope", least=1)
        steps: tuple[int, ...] = setting((200, 40), "training steps of the tiny language models: the base, and each fine-tuning", least=1)
        language_side: int = setting(11, "points a side of the grid over two language models' scales", least=3)
        language_budgets: tuple[int, ...] = setting((9, 12, 20), "scale vectors for the language models", least=6)

    bench = Bench(
        "map",
        settings(
            Settings,
            scale,
            overrides,
            smoke={
                "views": 2,
                "budgets": (12,),
                "again": 10,
                "reference": 50,
                "unseen": 50,
                "side": 7,
                "choices": 21,
                "sizes": (2,),
                "pairs": 12,
                "generations": 0,
                "world": 1,
                "steps": (10, 3),
                "language_side": 4,
                "language_budgets": (9,),
            },
            full={"material": "clip", "views": 8, "budgets": (90, 180), "sizes": (2, 4, 8), "side": 11},
            seeds={"smoke": 1, "reduced": 5, "full": 3},
        ),
        seeds=seeds,
    )
    bench.paper()
    return (bench,)


@app.cell
def _(bench):
    from hierlab.studies.adaptation.merge_problems import material_of, merge_problem

    material = material_of(bench.settings)
    problem = merge_problem(material, 0, bench.settings.views)
    pair = problem.only((0, 1))
    return material, merge_problem, pair, problem


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Step through
    Classifiers of digits, fine-tuned from one base to several ways of seeing them. Move the figure's own slider: what fine-tuning
    changed, which scale vectors are evaluated, what the surrogates say of them, and the front they predict. The controls run it again.
    """)
    return


@app.cell
def _():
    start = mo.ui.radio(
        {"linearised (ours)": "linearised", "ones (released code)": "ones"}, value="linearised (ours)", label="fit starts at"
    )
    box = mo.ui.radio({"[0, 1]": (0.0, 1.0), "[−3, 3] (released code)": (-3.0, 3.0)}, value="[0, 1]", label="search in")
    mo.hstack([start, box], wrap=True, justify="start")
    return box, start


@app.cell
def _(bench, box, problem, start):
    from hierlab.adaptation.amortised_front import AmortisedFront
    from hierlab.adaptation.task_vectors import cosines, relative_norms
    from hierlab.lab import stepper
    from hierlab.trace import Tape

    chosen = {"start": start.value, "bounds": box.value, "generations": bench.settings.generations}
    with Tape() as tape:
        relative_norms(problem.base, problem.vectors)
        cosines(problem.vectors)
        AmortisedFront(**chosen).fit(problem.evaluate, problem.tasks)
    bench.figure(
        "stepper",
        stepper([step for step in tape.steps if step.name != "population"]),
        title="Inside MAP, step by step",
        caption="Positions are tasks, rows are scale vectors. Slide through the quantities in the order in which they are computed.",
        alt="Norms and cosines of task vectors, scale vectors, measured and predicted accuracies, and the predicted front.",
    )
    return AmortisedFront, Tape, chosen


@app.cell
def _(AmortisedFront, Tape, bench, chosen, pair):
    from hierlab.studies.adaptation.merge_figures import generations

    with Tape() as search:
        two = AmortisedFront(**chosen).fit(pair.evaluate, 2)
    bench.figure(
        "generations",
        generations([step.value for step in search.steps if step.name == "population"], pair.names),
        title="NSGA-III on the surrogates",
        caption="Predicted accuracies of the population on two tasks; slide through its generations. No model is evaluated here.",
        alt="A cloud of points that moves, generation by generation, to a thin curve at its upper right.",
    )
    return (two,)


@app.cell
def _(bench, pair, problem):
    from hierlab.adaptation.bayesian_map import BayesianMAP
    from hierlab.adaptation.nested_map import NestedMAP
    from hierlab.studies.adaptation.merge_figures import fan, merge_tree

    rounds = BayesianMAP(schedule=(10, 4), generations=0).fit(pair.evaluate, 2)
    bench.figure(
        "fan",
        fan(rounds.bins_[0][0], rounds.scales_, rounds.task_scales_[0][10:], pair.names),
        title="Bayesian MAP: where to sample next",
        caption="Directions of scale vectors for two tasks. A wedge is a bin, as long as its probability for the first task's surrogate.",
        alt="A quarter circle of four wedges of different length, samples so far as dots, next samples as stars in the longer wedges.",
    )
    nested = NestedMAP(pairs=bench.settings.pairs, settings={"generations": bench.settings.generations}).fit(
        problem.evaluate, problem.tasks
    )
    bench.figure(
        "tree",
        merge_tree(nested.tree_, problem.names),
        title="Nested MAP: two at a time",
        caption="Leaves are fine-tuned models with their accuracy; at each merge, the scales of both sides and the mean accuracy inside.",
        alt="A tree from the tasks on the left to one merged model on the right, with two scales at every merge.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Microscope
    ### A world whose front is known
    Here each metric *is* a sigmoid of a quadratic function, and the front is the hull of the metrics' peaks. Metrics are measured
    as on a test set of 600 images. *Share* is the volume under the true metrics of all that a method evaluated, beside that under the
    true front; *error* is how wrong the predicted front is. Direct search gets as many evaluations as MAP with its re-evaluations.
    """)
    return


@app.cell
def _(bench):
    from hierlab.studies.adaptation.merge_microscope import known_fronts, table
    from hierlab.studies.adaptation.merge_problems import LEAN

    fit = {"generations": bench.settings.generations}
    searches = {
        "MAP": {"settings": fit},
        "MAP, released start": {"settings": {**fit, "start": "ones"}},
        "MAP, released box": {"settings": {**fit, "bounds": (-3.0, 3.0)}},
        "random search": {"search": "random"},
        "grid search": {"search": "grid"},
    }
    worlds = (2, 3, 4)
    known = known_fronts(searches, sizes=worlds, answers=600, again=LEAN, repeats=bench.settings.world)
    bench.table("known front", **table(known, worlds))
    return LEAN, fit, searches


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ### Every merge evaluated
    For two tasks a dense grid of scale vectors can be evaluated in full. How does the landscape look to the surrogates, fitted to
    twelve of its points, and what becomes of the predicted front when it is measured?
    """)
    return


@app.cell
def _(AmortisedFront, bench, fit, pair, two):
    import numpy as np

    from hierlab.adaptation.direct_search import full_grid
    from hierlab.studies.adaptation.merge_figures import fronts_with_preference, landscapes

    grid = full_grid(bench.settings.side, 2)
    dense = pair.evaluate(grid)
    axis = np.linspace(0, 1, bench.settings.side)
    released = AmortisedFront(start="ones", **fit).fit_to(two.scales_, two.measured_)
    maps = {"predicted, linearised start": two.predict(grid)[:, 1], "predicted, released start": released.predict(grid)[:, 1]}
    bench.figure(
        "landscape",
        landscapes(axis, dense[:, 1], maps, two.scales_, pair.names),
        title=f"Accuracy on the view {pair.names[1]!r} over two scales",
        caption="On top as measured on a dense grid, below as two fits to the same twelve merges (rings) see it.",
        alt="Contours of accuracy over two scales: measured, and predicted by surrogates fitted from two different starts.",
    )
    return dense, fronts_with_preference, np


@app.cell
def _(LEAN, bench, dense, fronts_with_preference, pair, two):
    from hierlab.adaptation.direct_search import random_scales
    from hierlab.studies.adaptation.merge_problems import random_state

    _, measured = two.reevaluate(pair.evaluate, LEAN)
    drawn = pair.evaluate(random_scales(len(two.scales_) + LEAN, 2, random_state("figure")))
    shown = {"dense grid": dense, "predicted": two.front_predicted_, "predicted, measured": measured, "random search": drawn}
    bench.figure(
        "fronts",
        fronts_with_preference(shown, "predicted, measured", pair.names),
        title="Predicted, measured and exhaustive front",
        caption="Accuracies on two views. Move the slider to weigh them; the ring is the measured point that the preference chooses.",
        alt="Four staircases of accuracies on two tasks: of a dense grid, predicted by MAP, MAP's points measured, and of random search.",
    )
    return


@app.cell
def _(AmortisedFront, bench, fit, problem):
    from hierlab.adaptation.direct_search import random_scales as draw_scales
    from hierlab.studies.adaptation.merge_figures import fitted_against_measured
    from hierlab.studies.adaptation.merge_problems import random_state as named_state

    unseen = draw_scales(min(400, bench.settings.unseen), problem.tasks, named_state("scatter"))
    truth = problem.evaluate(unseen)
    both = {name: AmortisedFront(start=key, **fit) for name, key in (("linearised start", "linearised"), ("released start", "ones"))}
    seen = {name: model.fit(problem.evaluate, problem.tasks).predict(unseen)[:, 0] for name, model in both.items()}
    bench.figure(
        "scatter",
        fitted_against_measured(truth[:, 0], seen),
        title=f"One surrogate, two starts: accuracy on the view {problem.names[0]!r}",
        caption="Scale vectors that neither fit has seen. The samples, the model and the algorithm are the same.",
        alt="Predicted against measured accuracy: one cloud of points along the diagonal, the other away from it or on it.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Experiment
    All methods merge the same models and are compared at equal numbers of evaluations; MAP's re-evaluations are charged to it by giving
    direct search as many more.

    1. **Fronts**: the volume under what was found, against the budget, and as tasks become more.
    2. **Surrogates**: how well they predict, how close they lead to a dense grid's front, and whether sampling in rounds helps.
    3. **One merge for a preference**, beside mergers that give only one. Methods choose by one half of the held-out images and are
       scored on the other.
    4. **Many tasks**: nested MAP beside plain MAP and direct search, at what nested MAP cost.
    5. **Language models**: the losses of merged tiny models that were taught sums and reversals.
    """)
    return


@app.cell
def _(bench):
    button = bench.button()
    button
    return (button,)


@app.cell
def _(bench, button, material, searches):
    def search_fronts(arm, seed, settings, report):
        from hierlab.studies.adaptation.merge_fronts import front_volumes

        sizes = {"views": settings.views, "budgets": settings.budgets, "again": settings.again, "reference": settings.reference}
        return front_volumes(arm, material=material, seed=seed, **sizes, report=report)

    fronts = bench.compare("fronts", searches, train=search_fronts, run=button.value)
    fronts
    return (fronts,)


@app.cell
def _(bench, fronts):
    bench.figure(
        "volumes",
        fronts.plot(x="evaluations", y="charged"),
        title="What was found, against what was evaluated",
        caption="Volume beside that under the random reference: mean over seeds with 95 % intervals. MAP's re-evaluations are charged.",
        alt="Lines of five methods against the number of evaluated scale vectors before the search.",
    )
    return


@app.cell
def _(bench, button, fit, material):
    def test_surrogates(arm, seed, settings, report):
        from hierlab.studies.adaptation.merge_fronts import surrogate_quality

        sizes = {"views": settings.views, "unseen": settings.unseen, "side": settings.side}
        return surrogate_quality(arm, material=material, seed=seed, **sizes, report=report)

    fits = {
        "MAP": {"settings": fit},
        "MAP, released start": {"settings": {**fit, "start": "ones"}},
        "Bayesian MAP": {"rounds": True, "settings": fit},
        "Bayesian MAP, released scores": {"rounds": True, "settings": {**fit, "faithful": True}},
        "uniform rounds": {"rounds": True, "settings": {**fit, "temperature": 1e9}},
    }
    surrogates = bench.compare("surrogates", fits, train=test_surrogates, run=button.value)
    surrogates
    return (surrogates,)


@app.cell
def _(bench, button, material):
    from hierlab.studies.adaptation.merge_choices import MERGERS, TREES

    def choose_merge(arm, seed, settings, report):
        from hierlab.studies.adaptation.merge_choices import preference_scores

        sizes = {"views": settings.views, "budget": settings.choices, "generations": settings.generations}
        return preference_scores(arm, material=material, seed=seed, **sizes, report=report)

    choices = bench.compare("preferences", {name: name for name in MERGERS}, train=choose_merge, run=button.value)
    choices
    return TREES, choices


@app.cell
def _(TREES, bench, button, material):
    def merge_many(arm, seed, settings, report):
        from hierlab.studies.adaptation.merge_choices import tree_scores

        sizes = {"sizes": settings.sizes, "pairs": settings.pairs, "generations": settings.generations}
        return tree_scores(arm, material=material, seed=seed, **sizes, report=report)

    trees = bench.compare("many tasks", {name: name for name in TREES}, train=merge_many, run=button.value)
    trees
    return (trees,)


@app.cell
def _(bench, button, searches):
    def merge_language_models(arm, seed, settings, report):
        from hierlab.studies.adaptation.merge_language import language_fronts

        sizes = {"budgets": settings.language_budgets, "again": 10, "side": settings.language_side, "steps": settings.steps}
        return language_fronts(arm, seed=seed, **sizes, report=report)

    language_arms = {name: searches[name] for name in ("MAP", "MAP, released start", "random search", "grid search")}
    language = bench.compare("language models", language_arms, train=merge_language_models, run=button.value)
    language
    return (language,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Verdicts
    Computed from the numbers above. A claim of several parts holds only if all of them do. *Close* is taken to mean within one
    percentage point, *accurate* an R² above 0.9.
    """)
    return


@app.cell
def _(bench, choices, fronts, language, surrogates, trees):
    def better(results, metric, *arms):
        """Each seed's largest value among some arms."""
        return [max(values) for values in zip(*(results.best(arm)[metric] for arm in arms), strict=True)]

    direct = ("random search", "grid search")
    ours, most = surrogates.best("MAP"), bench.settings.views
    bench.claim("C1", part=f"R², {most} tasks", measured=ours[f"R² {most}"], baseline=0.9)
    bench.claim("C1", part="predicted front, 2 tasks", measured=ours.predicted, baseline=0.01, direction="less")
    bench.claim(
        "C1",
        part="the same, measured",
        measured=ours.measured,
        baseline=0.01,
        direction="less",
        note="With the start of the fit that is the library's default; the table has the released code's.",
    )

    for budget in [b for b in bench.settings.budgets if b <= 60]:
        bench.claim(
            "C2",
            part=f"{budget} evaluations",
            measured=fronts.best("MAP")[f"charged {budget}"],
            baseline=better(fronts, f"charged {budget}", *direct),
        )
    if most > 2:
        gains = {
            n: [
                a - b
                for a, b in zip(
                    fronts.best("MAP")[f"charged with {n} tasks"], better(fronts, f"charged with {n} tasks", *direct), strict=True
                )
            ]
            for n in (2, most)
        }
        bench.claim(
            "C2",
            part=f"more so with {most} tasks than with 2",
            measured=gains[most],
            baseline=gains[2],
            note="Held, seed by seed, against the better of random and grid search, which get as many evaluations more.",
        )

    largest = max(bench.settings.sizes)
    nested_map = trees.best("nested MAP")
    bench.claim("C3", part="growth", measured=nested_map.growth, baseline=1.1, direction="less")
    bench.claim(
        "C3",
        part=f"beside random search, {largest} tasks",
        measured=nested_map[f"accuracy {largest}"],
        baseline=trees.best("random search")[f"accuracy {largest}"],
        note="Growth: evaluations while merging, beside 20 N log2 N; 1.1 leaves room for the chosen pairs, which are measured too.",
    )

    few = min(3, most)
    bayesian = surrogates.best("Bayesian MAP")
    bench.claim("C4", part=f"R², {few} tasks", measured=bayesian[f"R² {few}"], baseline=ours[f"R² {few}"])
    bench.claim(
        "C4",
        part=f"R², {few} tasks, beside uniform rounds",
        measured=bayesian[f"R² {few}"],
        baseline=surrogates.best("uniform rounds")[f"R² {few}"],
        note="At equal numbers of evaluations: saving some is taken to mean predicting better with as many.",
    )

    for single in ("task arithmetic, 0.3", "task arithmetic, tuned", "TIES, tuned", "DARE, tuned"):
        bench.claim("C5", part=single, measured=choices.best("MAP")["mean"], baseline=choices.best(single)["mean"])

    for budget in bench.settings.language_budgets:
        bench.claim(
            "C6",
            part=f"tiny language models, {budget} evaluations",
            measured=language.best("MAP")[f"loss volume {budget}"],
            baseline=better(language, f"loss volume {budget}", *direct),
            note="Language models of 21,000 parameters; medical images were not tested.",
        )
    bench.verdicts()
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Take it home
    ```python
    from hierlab.adaptation.amortised_front import AmortisedFront

    found = AmortisedFront(budget=30).fit(evaluate, tasks=4)  # evaluate(scales [K, 4], tasks) -> accuracies [K, n]
    found.choose([1, 1, 1, 3])  # scales for someone who cares most about the last task
    ```
    Its own cost is under a second; the evaluations are yours. It breaks where fine-tuning went far, so that nothing is quadratic any
    more: look at `relative_norms` first, and measure what it predicts before you trust it.
    """)
    return


if __name__ == "__main__":
    app.run()
