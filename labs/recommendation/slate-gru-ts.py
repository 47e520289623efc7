"""In-slate Thompson sampling and the likelihood of slates. The lab of arXiv 2104.15046."""

import marimo

app = marimo.App(width="medium", app_title="In-slate Thompson sampling")

with app.setup:
    import marimo as mo


@app.cell
def parameters():
    scale = "reduced"  # smoke | reduced | full
    seeds = 0  # 0: as many as the scale asks for
    overrides = {}  # any field of Settings, e.g. {"rounds": 20}
    return overrides, scale, seeds


@app.cell
def _(overrides, scale, seeds):
    from dataclasses import dataclass
    from typing import Literal

    from hierlab.lab import Bench, setting, settings

    @dataclass(frozen=True)
    class Settings:
        data: Literal["simulated", "finn"] = setting("simulated", "where the logs of the first experiment come from")
        folder: str = setting("finn", "for data=finn: the folder that holds data.npz and itemattr.npz")
        finn_users: int = setting(0, "for data=finn: the first so many users; 0: all 2.3 million", least=0)
        rule: Literal["linear", "gru"] = setting("linear", "how the simulated users move with a click")
        users: int = setting(150, "simulated users", least=10)
        items: int = setting(200, "items of the simulated marketplace", least=30)
        groups: int = setting(20, "groups of items", least=2)
        dim: int = setting(8, "length of item vectors, true and fitted", least=2)
        log_steps: int = setting(10, "slates each user has seen in a log", least=2)
        slate: int = setting(6, "items a slate", least=2)
        held_since: int = setting(5, "step from which on steps are held out", least=1)
        held_share: float = setting(0.5, "share of the users whose later steps are held out (paper: 0.05)", above=0, most=1)
        list_length: int = setting(10, "K of hits at K (paper: 20)", least=1)
        shares: tuple[float, ...] = setting((0.2, 0.6, 0.95), "shares of the logged slates that come from search", least=0, most=1)
        prior_share: float = setting(0.6, "share of search in the experiment on priors", least=0, most=1)
        prior_items: int = setting(500, "items in the experiment on priors, so many that most are hardly shown", least=30)
        fit_steps: int = setting(120, "gradient steps of a fit to a log", least=2)
        rates: tuple[float, ...] = setting((0.1,), "Adam's rates that every arm of the fits to logs chooses its own from", above=0)
        adam_betas: tuple[float, float] = setting((0.9, 0.999), "Adam's betas (released code: 0.1 and 0.1)", least=0, most=0.9999)
        temperature: float = setting(0.1, "of the likelihood; 1 is Bayes' rule (released code: 0.01, tuned 0.026)", above=0)
        prior_scale: float = setting(1.0, "deviation of the priors of group means, group scales and starts", above=0)
        max_scale: float = setting(1.0, "posterior deviations stay below", above=0)
        particles: int = setting(1, "posterior draws a gradient step", least=1)
        batch_users: int = setting(0, "users a gradient step; 0: all", least=0)
        log_seeds: int = setting(5, "seeds of the experiments on logs, at most", least=1)
        rounds: int = setting(10, "rounds of the online experiment; every user gets a slate in each", least=1)
        first_steps: int = setting(60, "gradient steps before the first round", least=2)
        refit_steps: int = setting(10, "gradient steps after a round", least=1)
        online_rate: float = setting(0.1, "Adam's rate in the online experiment", above=0)
        epsilon: float = setting(0.1, "share of places that epsilon-greedy gives to chance", least=0, most=1)
        bayes: float = setting(1.0, "likelihood temperature of the arm that goes by Bayes' rule", above=0)
        widths: tuple[float, ...] = setting((0.1, 0.3, 0.6, 1.0), "posterior deviations under the microscope", above=0)
        worlds: int = setting(20, "worlds under the microscope", least=2)
        place_steps: int = setting(150, "gradient steps of the fits beside the exact posterior", least=1)

    bench = Bench(
        "slate-gru-ts",
        settings(
            Settings,
            scale,
            overrides,
            smoke={
                "users": 30,
                "items": 60,
                "prior_items": 60,
                "groups": 6,
                "dim": 4,
                "log_steps": 6,
                "held_since": 3,
                "list_length": 5,
                "shares": (0.2, 0.95),
                "fit_steps": 6,
                "rounds": 2,
                "first_steps": 4,
                "refit_steps": 2,
                "widths": (0.3, 0.6),
                "worlds": 2,
                "place_steps": 10,
            },
            full={
                "data": "finn",
                "dim": 25,
                "held_share": 0.05,
                "list_length": 20,
                "fit_steps": 30_000,
                "rates": (3e-4, 1e-3),
                "adam_betas": (0.1, 0.1),
                "temperature": 0.026,
                "prior_scale": 5.0,
                "max_scale": 0.1,
                "particles": 4,
                "batch_users": 30_000,
                "log_seeds": 1,
            },
            seeds={"smoke": 1, "reduced": 10, "full": 3},
        ),
        seeds=seeds,
    )
    bench.paper()
    return (bench,)


@app.cell
def _(bench):
    from hierlab.recommendation.finn_slates import check_finn

    if bench.settings.data == "finn":
        check_finn(bench.settings.folder)  # refuse now, not after an hour
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Step through
    One user of a small marketplace: the slates that were shown, where the user starts, how every click moves the state, what is scored,
    and how five posterior draws become one slate. Ids 0 and 1 are padding and "no click". Every step is a quantity that the library's own
    functions recorded; the controls run them again.
    """)
    return


@app.cell
def _():
    moves = mo.ui.radio(["gru", "linear", "lin-gru", "markov"], value="gru", label="the user moves by")
    variant = mo.ui.radio(["official", "repaired"], value="official", label="amortised start")
    warmth = mo.ui.slider(0, 2, 0.25, value=1, label="width of the draws, in posterior deviations")
    mo.hstack([moves, variant, warmth], wrap=True, justify="start")
    return moves, variant, warmth


@app.cell
def _(bench):
    from hierlab.envs.slate_world import slate_world
    from hierlab.recommendation.slate_joint import Priors
    from hierlab.recommendation.slate_model import SlateModel
    from hierlab.seeds import generator

    town = slate_world(1, users=80, items=60, groups=6, dim=3)
    example = town.logged(8, 5, 0.6, generator("slate lab", "example"))
    small = {
        "dim": 3,
        "steps": 2 * bench.settings.fit_steps,
        "rate": 0.08,
        "particles": 1,
        "likelihood_temperature": bench.settings.temperature,
        "max_scale": 1.0,
        "priors": Priors(group_vector=1.0, group_scale=1.0, start=1.0),
    }
    fitted = SlateModel(user="gru", **small).fit(example, town.item_group)
    return SlateModel, example, fitted, generator, slate_world, small, town


@app.cell
def _(bench, example, fitted, moves, variant, warmth):
    from hierlab.lab import stepper
    from hierlab.studies.recommendation.slate_steps import walk
    from hierlab.trace import Tape

    person = 8
    with Tape() as tape:
        walk(fitted, example, person, moves=moves.value, variant=variant.value, temperature=warmth.value)
    bench.figure(
        "stepper",
        stepper(tape),
        title="One user, from slates to a slate",
        caption="Rows are steps in time, or draws; columns are entries of a slate, coordinates, or ranks.",
        alt="Slates, weights of clicks, gates, hidden state, positions, scores, probabilities, and the merge of five rankings.",
    )
    return (person,)


@app.cell
def _(bench, example, fitted, person, town):
    from hierlab.studies.recommendation.slate_steps import elbo_figure, paths_figure, views_figure

    bench.figure(
        "path",
        paths_figure(fitted, example, person, town.item_group),
        title="The same user among the items",
        caption="Dots are item vectors, coloured by group; rings are what was clicked; lines are the user's positions before each step.",
        alt="A scatter of items with two paths, of the linear and of the GRU user.",
    )
    return elbo_figure, views_figure


@app.cell
def _(bench, elbo_figure, fitted):
    bench.figure(
        "elbo",
        elbo_figure(fitted),
        title="The ELBO and its terms",
        caption="The dotted line is where the items are frozen and the GRU begins to learn.",
        alt="Log-likelihood, log prior, entropy and their sum during a fit.",
    )
    return


@app.cell
def _(SlateModel, bench, generator, slate_world, small, views_figure):
    mall = slate_world(2, users=60, items=150, groups=6, dim=3)
    visits = mall.logged(6, 5, 0.6, generator("slate lab", "visits"))
    by_prior = {
        name: SlateModel(user="linear", items=items, **small).fit(visits, mall.item_group)
        for name, items in (("hierarchical", "hierarchical"), ("flat", "one group"))
    }
    bench.figure(
        "shrinkage",
        views_figure(by_prior, visits, mall.item_group),
        title="What data do to an item",
        caption="One dot an item: how unsure its vector is, and how far it has moved from the mean of its group (flat: of all items).",
        alt="Posterior deviation and distance from the group's mean against the number of times an item was shown.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Microscope
    **One step.** Users and items are drawn *from* the beliefs, so the beliefs are the exact posterior, and the click rate of any slate is
    computed. Nothing is learned afterwards: whatever one way of drawing gains over another here, it gains by what it shows.
    """)
    return


@app.cell
def _(bench):
    from hierlab.studies.recommendation.slate_microscope import cold_posteriors, one_step

    seen = one_step(bench.settings.widths, worlds=bench.settings.worlds)
    bench.figure(
        "one-step",
        seen.plot(),
        title="Slates from a posterior that is right",
        caption="Ten items a slate; mean over worlds. 'best' knows the truth.",
        alt="Exact click rate and number of groups of greedy, Thompson, in-slate, popular and random slates against the posterior's width.",
    )
    return cold_posteriors, seen


@app.cell
def _(bench, seen):
    bench.table("one step", **seen.table())
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    **Cold posteriors.** The released code divides the log-likelihood by a temperature far below 1, as if each click had been seen a hundred
    times. Users who stay in one place of a plane have a posterior that is a sum over a grid; here is the mean-field fit beside it.
    """)
    return


@app.cell
def _(bench, cold_posteriors):
    bench.table("cold posteriors", **cold_posteriors(fit_steps=bench.settings.place_steps).table())
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Experiment
    1. **Search.** Logs with more and more search in them; the likelihood of the slates that were shown against that of clicked items among
       random ones. Every arm has the same steps and the same rate.
    2. **Priors.** A catalogue so large that most items were hardly shown, with and without groups.
    3. **Rounds.** Recommenders that live on the clicks they cause: same first slates, same moods of the same users, same gradient steps.
    """)
    return


@app.cell
def _(bench):
    button = bench.button()
    button
    return (button,)


@app.cell
def _(bench, button):
    def fit_with_search(arm, rate, seed, settings, report):
        from hierlab.studies.recommendation.slate_experiments import search_unit

        return search_unit(arm, rate, seed, settings, report)

    search_arms = {
        "GRU, slate": {"user": "gru", "likelihood": "slate"},
        "GRU, all items": {"user": "gru", "likelihood": "uniform"},
        "linear, slate": {"user": "linear", "likelihood": "slate"},
        "linear, all items": {"user": "linear", "likelihood": "uniform"},
        "most popular": "most popular",
        "random": "random",
    }
    search = bench.compare(
        "search",
        search_arms,
        train=fit_with_search,
        rates=bench.settings.rates,
        choose_by="mean_hits",
        seeds=bench.settings.log_seeds,
        run=button.value,
    )
    search
    return (search,)


@app.cell
def _(bench, search):
    if bench.settings.data == "simulated":
        for _name, _what in (("hits", "hits among held-out clicks"), ("click_rate", "true click rate of the list")):
            bench.figure(
                f"search-{_name.replace('_', '-')}",
                search.plot(x="search_share", y=f"{_name}_curve", rate="best"),
                title=f"More search in the log: {_what}",
                caption="Against the share of search in the log: mean over seeds with 95 % intervals.",
                alt="Lines of six arms against the share of search.",
            )
    return


@app.cell
def _(bench, button):
    def fit_with_prior(arm, rate, seed, settings, report):
        from hierlab.studies.recommendation.slate_experiments import prior_unit

        return prior_unit(arm, rate, seed, settings, report)

    prior_arms = {
        "GRU, hierarchical": {"user": "gru", "items": "hierarchical"},
        "GRU, flat": {"user": "gru", "items": "one group"},
        "linear, hierarchical": {"user": "linear", "items": "hierarchical"},
        "linear, flat": {"user": "linear", "items": "one group"},
        "most popular": "most popular",
        "random": "random",
    }
    priors = bench.compare(
        "priors",
        prior_arms,
        train=fit_with_prior,
        rates=bench.settings.rates,
        choose_by="hits",
        seeds=bench.settings.log_seeds,
        run=button.value,
    )
    priors
    return (priors,)


@app.cell
def _(bench, button):
    def play(arm, seed, settings, report):
        from hierlab.studies.recommendation.slate_experiments import online_unit

        return online_unit(arm, seed, settings, report)

    online_arms = {
        "greedy": {"recommender": "greedy"},
        "epsilon-greedy": {"recommender": "epsilon-greedy"},
        "Thompson": {"recommender": "thompson"},
        "in-slate": {"recommender": "in-slate"},
        "in-slate, Bayes": {"recommender": "in-slate", "likelihood_temperature": bench.settings.bayes},
        "most popular": {"recommender": "most popular"},
        "random": {"recommender": "random"},
    }
    online = bench.compare("rounds", online_arms, train=play, run=button.value)
    online
    return (online,)


@app.cell
def _(bench, online):
    bench.figure(
        "rounds",
        online.plot(x="round", y="click_rate_curve"),
        title="Click rate, round by round",
        caption="Exact probability of a click, mean over users; over seeds with 95 % intervals.",
        alt="Click rates of seven recommenders over the rounds.",
    )
    return


@app.cell
def _(bench, online):
    bench.figure(
        "regret",
        online.plot(x="round", y="regret_curve"),
        title="Regret, summed",
        caption="Clicks a user has missed so far, beside the best slate for where the user stands.",
        alt="Summed regret of seven recommenders over the rounds.",
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
def _(bench, online, priors, search, seen):
    width = bench.settings.widths[len(bench.settings.widths) // 2]

    for _user in ("GRU", "linear"):
        bench.claim(
            "C1",
            part=f"{_user} user, hits where most slates come from search",
            measured=search.best(f"{_user}, all items").hits,
            baseline=search.best(f"{_user}, slate").hits,
        )
    for _user in ("GRU", "linear"):
        for _name, _part in (("liked_first_rare", "rarely shown items"), ("hits", "hits")):
            bench.claim(
                "C2",
                part=f"{_user} user, {_part}",
                measured=priors.best(f"{_user}, hierarchical")[_name],
                baseline=priors.best(f"{_user}, flat")[_name],
            )

    _rounds = {arm: online.best(arm) for arm in online.arms}
    bench.claim(
        "C3",
        part="online, not below 95 % of greedy",
        measured=_rounds["in-slate"].click_rate,
        baseline=[0.95 * rate for rate in _rounds["greedy"].click_rate],
        note="The paper names no margin for 'on a par'; ours is 5 % of greedy's click rate.",
    )
    bench.claim(
        "C3", part="online, above Thompson in clicks", measured=_rounds["in-slate"].click_rate, baseline=_rounds["Thompson"].click_rate
    )
    bench.claim("C3", part="online, above Thompson in diversity", measured=_rounds["in-slate"].groups, baseline=_rounds["Thompson"].groups)
    bench.claim(
        "C3",
        part="offline, not below 95 % of greedy",
        measured=search.best("linear, slate").hits_in_slate,
        baseline=[0.95 * hits for hits in search.best("linear, slate").hits],
    )
    bench.claim(
        "C3",
        part="without learning, above Thompson",
        measured=seen.at("in-slate", "click_rate", width),
        baseline=seen.at("thompson", "click_rate", width),
        over="worlds",
        note="The gain of diversity alone: one step, nothing learned.",
    )
    bench.not_tested("C4", "Seconds per interaction are measured, on thousands of interactions; millions of users and items were not run.")
    bench.verdicts()
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Take it home
    ```python
    from hierlab.recommendation import SlateModel, padded_log

    log = padded_log(histories)  # for each user, (items shown, item clicked or None) a step
    model = SlateModel(user="linear", likelihood="uniform", likelihood_temperature=1.0, dim=8, steps=300, rate=0.05)
    slates = model.fit(log, item_group).recommend(log, k=10, how="in-slate", generator=generator)
    ```
    `merge_in_slate` alone turns K rankings from any model's posterior into one slate. It breaks where the posterior is not one: at the
    released code's temperatures all draws agree, and in-slate sampling is greedy. And a GRU needs more data than a decaying average.
    """)
    return


if __name__ == "__main__":
    app.run()
