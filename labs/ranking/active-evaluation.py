"""Active evaluation: which task and which two agents next, and who is best by now? The lab of arXiv 2601.07651."""

import marimo

app = marimo.App(width="medium", app_title="Active evaluation")

with app.setup:
    import marimo as mo


@app.cell
def parameters():
    scale = "reduced"  # smoke | reduced | full
    seeds = 0  # 0: as many as the scale asks for
    overrides = {}  # any field of Settings, e.g. {"rounds": 1000}
    return overrides, scale, seeds


@app.cell
def _(overrides, scale, seeds):
    from dataclasses import dataclass
    from pathlib import Path

    from hierlab.lab import Bench, setting, settings

    @dataclass(frozen=True)
    class Settings:
        rounds: int = setting(3000, "rounds of one evaluation: a task, two agents, a noisy score of each", least=1)
        every: int = setting(50, "rounds between two published rankings", least=1)
        phis: tuple[float, ...] = setting((0.1, 0.3, 0.6, 0.9), "how much synthetic tasks differ: Mallows' φ", least=0, most=1)
        agents: int = setting(8, "agents on the synthetic tasks", least=3)
        tasks: int = setting(50, "synthetic tasks", least=2)
        noise: float = setting(0.5, "standard deviation of a synthetic score, whose means lie in [0, 1]", least=0)
        table: str = setting("atari", "real scores: atari, or a JSON file with agents and scores")
        table_noise: float = setting(0.1, "standard deviation of a real score, scaled to [0, 1] by task", least=0)
        k: int = setting(3, "how many places matter", least=1)
        early: int = setting(1000, "the rounds that count as early", least=1)
        deadline: int = setting(2000, "the round at which the best k should be known", least=1)
        knobs: tuple[float, ...] = setting(
            (0.1, 0.3, 1.0, 3.0, 10.0), "multiples of its start value that a tuned number is tried at", above=0
        )
        tuning_seeds: int = setting(3, "seeds of the tuning, which share no table with the test", least=1)
        tuning_rounds: int = setting(1500, "rounds of an evaluation while tuning", least=1)

        def __post_init__(self):
            if self.rounds % self.every or self.tuning_rounds % self.every:
                raise ValueError(f"rounds and tuning_rounds must be multiples of every={self.every}")
            if self.k > self.agents:
                raise ValueError(f"k={self.k} places among {self.agents} agents")
            if self.table != "atari" and not Path(self.table).is_file():
                raise ValueError(
                    f'there is no score table {self.table!r}; give "atari" or a JSON file {{"agents": [...], "scores": {{...}}}}'
                )

    bench = Bench(
        "active-evaluation",
        settings(
            Settings,
            scale,
            overrides,
            smoke={
                "rounds": 200,
                "phis": (0.1, 0.6),
                "tasks": 10,
                "early": 100,
                "deadline": 150,
                "knobs": (1.0,),
                "tuning_rounds": 50,
            },
            full={"rounds": 10_000, "tuning_rounds": 10_000, "every": 10, "tuning_seeds": 10},
            seeds={"smoke": 1, "reduced": 20, "full": 100},
        ),
        seeds=seeds,
    )
    bench.paper()
    return (bench,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Step through
    Five agents, six tasks. The evaluator draws tasks and pairs, sees one noisy score of each, and says who is best. Each step of the
    figure is what it knows, or what follows from it; the last is how wrong it is.
    """)
    return


@app.cell
def _():
    disagreement = mo.ui.slider(0.0, 1.0, 0.1, value=0.5, label="φ, how much tasks differ")
    played = mo.ui.slider(20, 400, 20, value=100, label="rounds")
    by = mo.ui.dropdown(
        ["BatchElo", "UniformAveraging", "BasicUCB", "SCO", "Nash averaging", "VasE, Copeland", "representative tasks"],
        value="BatchElo",
        label="algorithm",
    )
    mo.hstack([disagreement, played, by], wrap=True, justify="start")
    return by, disagreement, played


@app.cell
def _(bench, by, disagreement, played):
    from hierlab.lab import stepper
    from hierlab.studies.ranking.active_evaluation import synthetic
    from hierlab.studies.ranking.active_evaluation_figures import walk

    small = synthetic(disagreement.value, 4, agents=5, tasks=6, stage="example")
    bench.figure(
        "stepper",
        stepper(walk(small, played.value, by.value), row_names=small.agents),
        title="Inside one evaluation, step by step",
        caption="Five agents on six tasks, 100 rounds of batch Elo. Slide from what is true to what was seen and what was concluded.",
        alt="Tables of task rankings, samples, means and wins; bars of strengths, ratings and places; the pairs in the wrong order.",
    )
    return (synthetic,)


@app.cell
def _(bench, synthetic):
    from hierlab.studies.ranking.active_evaluation_figures import bump_chart

    bench.figure(
        "disagreement",
        bump_chart({f"φ = {phi:g}": synthetic(phi, 0, tasks=12, stage="example") for phi in (0.1, 0.3, 0.6, 0.9)}),
        title="What tasks think of agents",
        caption="One line an agent, its place on each of twelve tasks; the three truly best are thick. The menu makes tasks disagree more.",
        alt="Lines of eight agents over twelve tasks: nearly level for small φ, a tangle for φ near 1.",
    )
    return


@app.cell
def _(bench):
    from hierlab.ranking import votes
    from hierlab.studies.ranking.active_evaluation_figures import descent_paths, sigmoid_curves, verdict_table

    bench.figure(
        "sigmoid",
        sigmoid_curves((0.1, 0.5, 1.0, 3.0)),
        title="A step that a gradient can follow",
        caption="What one voter's pair adds to the loss. As τ falls the curve becomes Kemeny's count of wrong pairs.",
        alt="S-shaped curves through one half, the steeper the smaller τ, around a dotted step.",
    )
    meeples = votes(["ABC", "ACB", "CAB", "BCA"], [1, 1, 2, 1])
    bench.table("condorcet", *verdict_table(meeples))
    return descent_paths, meeples


@app.cell
def _(bench, descent_paths, meeples):
    bench.figure(
        "descent",
        descent_paths(meeples, (0, 50, 100, 200, 400, 700, 1000)),
        title="Ratings on their way",
        caption="Soft Condorcet Optimization on five votes: A B C, A C B, twice C A B, B C A. C beats both others by one vote.",
        alt="Three lines from 500: C and A rise, C above A, B falls.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Microscope
    ### With endless samples
    Sampling noise fades, a wrong limit does not. Here every rule is given what uniform sampling would show in the end, exactly: each
    pair's expected share of wins, each agent's true mean on each task. What is left of the error is the rule's own.
    """)
    return


@app.cell
def _(bench, synthetic):
    from hierlab.ranking import random_order_error
    from hierlab.studies.ranking.active_evaluation import endless_error, real
    from hierlab.studies.ranking.active_evaluation_figures import rule_names

    _s = bench.settings
    sizes = {"agents": _s.agents, "tasks": _s.tasks, "noise": _s.noise}
    true_tables = {f"φ = {phi:g}": [synthetic(phi, seed, **sizes) for seed in bench.seeds] for phi in _s.phis}
    true_tables["real scores"] = [real(_s.table, _s.table_noise)]

    def mean_error(algorithm, tables):
        return sum(endless_error(algorithm, table, _s.k, seed) for seed, table in enumerate(tables)) / len(tables)

    bench.table(
        "endless",
        ["rule", *true_tables],
        [
            *([name, *(f"{mean_error(a, tables):.3f}" for tables in true_tables.values())] for name, a in rule_names().items()),
            ["random order, in expectation", *(f"{random_order_error(len(t[0].agents), _s.k):.3f}" for t in true_tables.values())],
        ],
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ### Copies of a task
    Nash averaging asks an adversary to choose the tasks. If one task is entered several times, the adversary spreads its weight over
    the copies, and no agent's value moves. A mean moves.
    """)
    return


@app.cell
def _(bench):
    import numpy as np

    from hierlab.ranking import nash_average

    scores = np.array([[0.9, 0.2, 0.3], [0.3, 0.8, 0.4], [0.1, 0.5, 0.9]])  # agents by tasks
    rows = []
    for copies in (1, 2, 5):
        copied = nash_average(np.concatenate([np.repeat(scores[:, :1], copies, axis=1), scores[:, 1:]], axis=1))
        means = (copies * scores[:, 0] + scores[:, 1] + scores[:, 2]) / (copies + 2)
        weights = [copied.tasks[:copies].sum(), copied.tasks[copies], copied.tasks[copies + 1]]
        rows.append([copies, *(f"{v:.3f}" for v in [*means, *copied.agent_values, *weights])])
    bench.table(
        "copies",
        [
            "copies of task 1",
            *(f"mean of {a}" for a in "ABC"),
            *(f"Nash value of {a}" for a in "ABC"),
            *(f"weight of task {i}" for i in (1, 2, 3)),
        ],
        rows,
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Experiment
    First each algorithm with a number of its own (a width, a smoothing, a temperature, a step) is tuned, on tables that are not used
    again and for all data at once: an evaluator does not know what it will meet. Then all run on the same tables, and those that choose
    alike see the same games with the same noise.
    """)
    return


@app.cell
def _(bench):
    button = bench.button()
    button
    return (button,)


@app.cell
def _(bench, button):
    from dataclasses import asdict

    from hierlab.studies.ranking.active_evaluation import ALGORITHMS, KNOBS

    def tune(arm, rate, seed, settings):
        from hierlab.studies.ranking.active_evaluation import Algorithm, measure, real, run, synthetic

        shape = {"agents": settings.agents, "tasks": settings.tasks, "noise": settings.noise}
        tables = {f"{phi:g}": synthetic(phi, seed, stage="tuning", **shape) for phi in settings.phis}
        tables["real"] = real(settings.table, settings.table_noise)
        values = {}
        for name, table in tables.items():
            found = run(Algorithm(**arm | {"knob": rate}), table, settings.tuning_rounds, seed, "tuning", name, every=settings.every)
            values |= measure(found, table, name, k=settings.k, early=settings.early, deadline=settings.deadline)
        return {"agre": sum(values[f"agre_{name}"] for name in tables) / len(tables)}

    tuned = bench.compare(
        "tuning",
        {name: asdict(ALGORITHMS[name]) for name in KNOBS},
        train=tune,
        rates=bench.settings.knobs,
        choose_by="agre",
        lower=True,
        seeds=bench.settings.tuning_seeds,
        run=button.value,
    )
    bench.table(
        "knobs",
        ["algorithm", "tuned", "chosen multiple", *(f"AGRE at {knob:g}" for knob in tuned.rates)],
        [
            [
                name,
                KNOBS[name],
                f"{tuned.best_rate(name):g}",
                *(f"{sum(tuned.at(knob)[name].agre) / len(tuned.seeds):.3f}" for knob in tuned.rates),
            ]
            for name in tuned.arms
        ],
    )
    return ALGORITHMS, KNOBS, asdict, tuned


@app.cell
def _(ALGORITHMS, KNOBS, asdict, bench, button, tuned):
    arms = {name: asdict(a) | ({"knob": tuned.best_rate(name)} if name in KNOBS else {}) for name, a in ALGORITHMS.items()}

    def rank_synthetic(arm, seed, settings):
        from hierlab.studies.ranking.active_evaluation import Algorithm, measure, run, synthetic

        values = {}
        for phi in settings.phis:
            table = synthetic(phi, seed, agents=settings.agents, tasks=settings.tasks, noise=settings.noise)
            found = run(Algorithm(**arm), table, settings.rounds, seed, f"{phi:g}", every=settings.every)
            values |= measure(found, table, f"{phi:g}", k=settings.k, early=settings.early, deadline=settings.deadline)
        return values

    made = bench.compare("synthetic", arms, train=rank_synthetic, run=button.value)
    made
    return arms, made


@app.cell
def _(arms, bench, button):
    def rank_real(arm, seed, settings):
        from hierlab.studies.ranking.active_evaluation import Algorithm, measure, real, run

        table = real(settings.table, settings.table_noise)
        found = run(Algorithm(**arm), table, settings.rounds, seed, "real", every=settings.every)
        return measure(found, table, "real", k=settings.k, early=settings.early, deadline=settings.deadline)

    atari = bench.compare("real scores", arms, train=rank_real, run=button.value)
    atari
    return (atari,)


@app.cell
def _(atari, bench, made):
    from hierlab.studies.ranking.active_evaluation_figures import error_bars, error_curves

    panels = {f"φ = {phi:g}": (made, f"{phi:g}") for phi in bench.settings.phis} | {"real scores": (atari, "real")}
    compared = ("random order", "UniformAveraging", "BasicUCB", "BatchElo", "SCO", "FY-SCO", "Nash averaging", "VasE, Copeland")
    bench.figure(
        "curves",
        error_curves({name: (found, f"gre_{suffix}") for name, (found, suffix) in panels.items()}, compared),
        title="How fast the ranking becomes right",
        caption="Error GRE of the published ranking against rounds: mean over seeds with 95 % intervals. The menu changes the data.",
        alt="Falling curves of seven algorithms and a level one of random order, for each of the synthetic settings and for real scores.",
    )
    return error_bars, error_curves, panels


@app.cell
def _(bench, error_bars, made, panels):
    bench.figure(
        "averages",
        error_bars({name: (found, f"agre_{suffix}") for name, (found, suffix) in panels.items()}, made.arms[1:]),
        title="The error over all rounds",
        caption="AGRE, the mean of GRE over rounds, with 95 % intervals; grey: who knows the true means. Random order is left out.",
        alt="Bars of fourteen arms; which is shortest depends on the data.",
    )
    return


@app.cell
def _(bench, error_curves, panels):
    chosen = ("UniformAveraging", "balanced tasks", "representative tasks", "BatchElo", "balanced tasks, Elo", "representative tasks, Elo")
    bench.figure(
        "task-choice",
        error_curves({name: (found, f"gre_{suffix}") for name, (found, suffix) in panels.items()}, chosen),
        title="Does it matter which task comes next?",
        caption="The same two rules with tasks drawn at random, in turn, and by proportional representation. The menu changes the data.",
        alt="Six curves in two groups, averaging and Elo, each with three ways to choose tasks.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Verdicts
    Where a claim speaks of "the best" algorithm, the best is chosen for every seed by the *other* seeds, among the paper's own
    algorithms; controls and oracle are not among them.
    """)
    return


@app.cell
def _(bench, made):
    from hierlab.studies.ranking.active_evaluation import RIVALS, best_of, lead, mean_over, worst_of

    several = ("UniformAveraging", "BatchElo", "SCO")
    for _phi in bench.settings.phis:
        bench.claim(
            "C1",
            part=f"φ = {_phi:g}",
            measured=worst_of(made, f"missing_{_phi:g}", several),
            baseline=0.0,
            direction="within",
            margin=0.05,
            note=f"The share of the true best {bench.settings.k} that is missing at round {bench.settings.deadline}, in the worst of "
            f"{', '.join(several)}, seed by seed. Our sources name only one of the paper's four settings, φ = 0.3.",
        )

    others = [arm for arm in RIVALS if arm != "UniformAveraging"]
    early = [f"early_{phi:g}" for phi in bench.settings.phis]
    spare = len(early) // 4
    bench.claim(
        "C2",
        part=f"averaging is best in {len(early) - spare} of {len(early)} settings",
        measured=lead(made, early, "UniformAveraging", others, spare),
        baseline=0.0,
        note=f"Its lead in mean GRE over the first {bench.settings.early} rounds over its best rival, in the setting that decides.",
    )
    plain = mean_over(made, early, "UniformAveraging")
    bench.claim(
        "C2",
        part="BasicUCB is comparable",
        measured=mean_over(made, early, "BasicUCB"),
        baseline=plain,
        direction="within",
        margin=0.2 * sum(plain) / len(plain) + 1e-9,
        note="Comparable: within a fifth of averaging's error, mean over the settings.",
    )
    return RIVALS, best_of, mean_over


@app.cell
def _(RIVALS, atari, bench, best_of, made, mean_over):
    alike = [phi for phi in bench.settings.phis if phi <= 0.3]
    for _phi in alike:
        bench.claim(
            "C3",
            part=f"φ = {_phi:g}",
            measured=made.best("BatchElo")[f"agre_{_phi:g}"],
            baseline=[1.2 * value for value in best_of(made, f"agre_{_phi:g}", RIVALS)],
            direction="less",
            note="Reliably good: AGRE within a fifth of the best algorithm's, batch Elo among them.",
        )
    if not alike:
        bench.not_tested("C3", "None of the settings has φ of at most 0.3.")

    agre = [f"agre_{phi:g}" for phi in bench.settings.phis]
    elo = mean_over(made, agre, "BatchElo")
    bench.claim(
        "C4",
        part="synthetic: about as good as Elo",
        measured=mean_over(made, agre, "SCO"),
        baseline=elo,
        direction="within",
        margin=0.2 * sum(elo) / len(elo) + 1e-9,
        note="About as good: AGRE within a fifth of batch Elo's, mean over the settings.",
    )
    bench.claim(
        "C4",
        part="real scores: lower than Elo's",
        measured=atari.best("SCO").agre_real,
        baseline=atari.best("BatchElo").agre_real,
        direction="less",
    )

    varied = [phi for phi in bench.settings.phis if phi >= 0.6]
    least = min(bench.settings.phis)
    for _arm, _uniform, _words in (("representative tasks", "UniformAveraging", "mean"), ("representative tasks, Elo", "BatchElo", "Elo")):
        for _phi in varied:
            bench.claim(
                "C5",
                part=f"{_words}, φ = {_phi:g}",
                measured=made.best(_arm)[f"agre_{_phi:g}"],
                baseline=made.best(_uniform)[f"agre_{_phi:g}"],
                direction="less",
                note="Representative against uniform choice of tasks, the same rule on top.",
            )
        if varied and least <= 0.1:
            plainly = made.best(_uniform)[f"agre_{least:g}"]
            bench.claim(
                "C5",
                part=f"{_words}, φ = {least:g}: no such difference",
                measured=made.best(_arm)[f"agre_{least:g}"],
                baseline=plainly,
                direction="within",
                margin=0.2 * sum(plainly) / len(plainly) + 1e-9,
                note="Within a fifth of uniform choice's error.",
            )
    if not varied:
        bench.not_tested("C5", "None of the settings has φ of at least 0.6.")
    bench.verdicts()
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Take it home
    ```python
    from hierlab.ranking import BradleyTerry, SoftCondorcet, batch_elo, count_games, votes_from_scores

    batch_elo(*count_games(first, second, score))       # games -> ratings
    SoftCondorcet().fit(votes_from_scores(scores)).ranking_  # tasks by agents -> the order fewest tasks disagree with
    ```
    Look first at what your rule would say of endless samples: noise is paid for with rounds, a wrong limit is not. It breaks where the
    truth is not what the rule estimates: a mean of scaled scores and a majority of tasks are two different truths.
    """)
    return


if __name__ == "__main__":
    app.run()
