"""HGPO: each turn within nested groups of ever longer memory. The lab of arXiv 2602.22817."""

import marimo

app = marimo.App(width="medium", app_title="HGPO")

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
        batches: int = setting(300, "batches under the microscope", least=2)
        level_groups: int = setting(1000, "groups of episodes in which the levels of one house are held against the truth", least=10)
        level_seeds: int = setting(5, "seeds of that comparison, at most", least=1)
        iterations: int = setting(30, "updates of the table in SearchHouse", least=1)
        tasks: int = setting(8, "tasks an iteration in SearchHouse", least=1)
        group_size: int = setting(8, "rollouts a task", least=2)
        memory: int = setting(4, "past observations that the table reads in SearchHouse", least=0)
        rates: tuple[float, ...] = setting(
            (1.3, 2.8, 6.0, 13.0, 27.0), "step sizes in SearchHouse that every method chooses its own from", above=0
        )
        agent: Literal["novice", "alfworld"] = setting("novice", "the language model and its games: TextWorld's or ALFWorld's")
        model: str = setting("tiny", "the language model: tiny, or at full scale a hub id or folder")
        engine: Literal["transformers", "vllm"] = setting("transformers", "what samples from the language model")
        houses: int = setting(1000, "houses in which the novice has watched an expert", least=1)
        warm_steps: int = setting(500, "steps of its imitation", least=1)
        games: int = setting(64, "games that it trains on", least=1)
        held_out: int = setting(48, "games of each kind that it is tested on", least=1)
        history: int = setting(2, "past turns that the language model reads, and that its turns are grouped by", least=0)
        agent_seeds: int = setting(3, "seeds of the language model's training, at most", least=1)
        agent_iterations: int = setting(8, "updates of the language model", least=1)
        agent_tasks: int = setting(8, "games an iteration", least=1)
        agent_rates: tuple[float, ...] = setting((2e-4, 6e-4, 1.8e-3), "learning rates that every method chooses its own from", above=0)
        mini_batches: int = setting(1, "optimiser steps a batch of rollouts", least=1)
        micro_batch: int = setting(512, "rows a forward pass; changes memory and speed, not the result", least=1)
        kl_weight: float = setting(0.0, "weight of the divergence from the initial policy (paper: 0.01)", least=0)

    bench = Bench(
        "hgpo",
        settings(
            Settings,
            scale,
            overrides,
            smoke={
                "batches": 10,
                "level_groups": 30,
                "iterations": 2,
                "memory": 2,
                "rates": (6.0,),
                "houses": 10,
                "warm_steps": 10,
                "games": 2,
                "held_out": 2,
                "agent_iterations": 1,
                "agent_tasks": 1,
                "agent_rates": (6e-4,),
            },
            full={
                "agent": "alfworld",
                "model": "Qwen/Qwen2.5-1.5B-Instruct",
                "engine": "vllm",
                "agent_iterations": 160,
                "agent_tasks": 16,
                "agent_rates": (1e-6,),
                "mini_batches": 10,
                "micro_batch": 16,
                "kl_weight": 0.01,
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
    Eight rollouts of one task in **SearchHouse**: an object lies hidden in one of four rooms around a hall; find it, carry it back,
    deliver it for a reward of 10. What is seen in the hall does not tell which rooms were searched. Quantities of one level come one
    level after the other, `k = 0` first. The controls run `hgpo` again.
    """)
    return


@app.cell
def _():
    depth = mo.ui.slider(0, 4, 1, value=2, label="$K$, past observations that are compared")
    alpha = mo.ui.slider(0, 3, 0.5, value=1, label=r"$\alpha$, how strongly depth weighs")
    weights = mo.ui.radio(["code", "paper"], value="code", label="weights")
    absent = mo.ui.radio(["drop", "zero"], value="drop", label="a level of advantage 0")
    normaliser = mo.ui.radio(["none", "std"], value="none", label="divide by")
    mo.hstack([depth, alpha, weights, absent, normaliser], wrap=True, justify="start")
    return absent, alpha, depth, normaliser, weights


@app.cell
def _(bench):
    from hierlab.lab.testbed import house_testbed
    from hierlab.seeds import generator

    testbed = house_testbed(0.5)
    example = testbed.collect(1, bench.settings.group_size, generator("hgpo lab", "example", 0))
    return example, generator, testbed


@app.cell
def _(absent, alpha, bench, depth, example, normaliser, weights):
    from hierlab.credit import hgpo
    from hierlab.lab import stepper
    from hierlab.lab.context_figures import by_level
    from hierlab.rollout import estimate
    from hierlab.trace import Tape

    with Tape() as tape:
        switches = {"weights": weights.value, "absent": absent.value, "scale": normaliser.value}
        estimate(example, hgpo, history=depth.value, alpha=alpha.value, **switches)
    bench.figure(
        "stepper",
        stepper(by_level(tape), trajectory=example.trajectory, turn=example.turn.tolist()),
        title="Inside HGPO, step by step",
        caption="Rows are rollouts of one task, columns are turns. Slide through the levels of each quantity, shallow to deep.",
        alt="Grids of eight rollouts by up to fourteen turns: context groups, their sizes, returns, advantages and weights by level.",
    )
    return (hgpo,)


@app.cell
def _(bench, depth, example):
    from hierlab.lab.context_figures import most_telling, nested_groups

    bench.figure(
        "nested-groups",
        nested_groups(example, most_telling(example, depth.value), history=depth.value),
        title="One turn and its nested groups",
        caption="Each dot is a turn that shares at least the last k + 1 observations, placed by what followed it; a bar marks the mean of"
        " the group, the turn itself included. The dotted line is the turn's own return.",
        alt="From level to level fewer turns are left in the group of one turn, and the mean it is compared with moves.",
    )
    return


@app.cell
def _(bench, depth, testbed, generator):
    from hierlab.lab.context_figures import level_weights, lost_levels

    several = testbed.collect(50, bench.settings.group_size, generator("hgpo lab", "several"))
    bench.figure(
        "weights",
        level_weights(several, history=depth.value),
        title="What the levels weigh, in the paper and in the code",
        caption="Weights in a turn that is compared at every level. The code counts the present observation as level 1 of its powers, the"
        " paper as level 0, so that at one alpha the code leans less on the deep levels.",
        alt="Bars of the levels' weights by the paper's and the code's formula, with a slider for alpha.",
    )
    return lost_levels, several


@app.cell
def _(bench, lost_levels, several):
    bench.figure(
        "lost-levels",
        lost_levels(several, history=4),
        title="Where turns lose their levels",
        caption="The code leaves out, turn by turn, every level whose advantage is exactly 0, and hands its weight to the others.",
        alt="The deeper the level, the smaller the share of turns that are compared there; most of the others are alone.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Microscope
    A policy that succeeds half of the time plays many batches; each estimator's advantages are held against the true ones. Levels stand
    alone and averaged; the *oracle* compares turns that have seen the same since the beginning.
    """)
    return


@app.cell
def _(bench, hgpo, testbed):
    from functools import partial

    from hierlab.credit import gigpo, grpo
    from hierlab.lab.context_levels import one_level, oracle
    from hierlab.lab.microscope import microscope

    observed = {
        "GRPO": grpo,
        "GiGPO": partial(gigpo, scale="std"),
        "level 0: step only": partial(one_level, level=0),
        "level 1": partial(one_level, level=1),
        "level 2": partial(one_level, level=2),
        "HGPO, uniform": partial(hgpo, alpha=0.0),
        "HGPO": hgpo,
        "HGPO, steep": partial(hgpo, alpha=2.0),
        "HGPO, others' mean": partial(hgpo, mean="other trajectories"),
        "oracle": oracle,
    }
    seen = microscope(observed, testbed, batches=bench.settings.batches, group_size=bench.settings.group_size)
    bench.figure(
        "microscope",
        seen.plot(),
        title="Advantages against the truth",
        caption="A dot is the mean over batches, the line its 95 % interval (bootstrap over batches).",
        alt="GRPO, GiGPO, HGPO's levels and means, and the oracle, compared by bias, variance, correlation and gradient direction.",
    )
    return gigpo, grpo, partial, seen


@app.cell
def _(bench, seen):
    bench.table("microscope", **seen.table())
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ### Level by level
    Now in units of reward: no discount, no deviation, only turns that have company from another rollout at every level. The mean that a
    return is compared with is that of the whole group, as in the method; or of its other turns; or of its other rollouts' turns.
    """)
    return


@app.cell
def _(bench, button):
    def measure_levels(arm, seed, settings):
        from hierlab.envs.open_house import OpenHouse
        from hierlab.envs.search_house import SearchHouse
        from hierlab.lab.context_levels import context_levels
        from hierlab.lab.testbed import house_testbed

        kind = OpenHouse if arm["lit"] else SearchHouse
        house = house_testbed(0.5, house=kind(rooms=arm["rooms"]), history=arm["memory"])
        return context_levels(house, history=arm["K"], groups=settings.level_groups, group_size=settings.group_size, seed=seed)

    house_kinds = {
        "2 rooms, K = 2": {"rooms": 2, "memory": 2, "K": 2, "lit": False},
        "4 rooms, K = 2": {"rooms": 4, "memory": 2, "K": 2, "lit": False},
        "6 rooms, K = 2": {"rooms": 6, "memory": 2, "K": 2, "lit": False},
        "4 rooms, K = 4": {"rooms": 4, "memory": 4, "K": 4, "lit": False},
        "4 rooms lit, K = 2": {"rooms": 4, "memory": 0, "K": 2, "lit": True},
    }
    levels = bench.compare("levels", house_kinds, train=measure_levels, seeds=bench.settings.level_seeds, run=button.value)
    return house_kinds, levels


@app.cell
def _(bench, levels):
    from hierlab.lab.context_figures import level_errors

    bench.figure(
        "levels",
        level_errors(levels.best("4 rooms, K = 4")),
        title="What depth gains and costs",
        caption="Levels 0 to 4 in a house of four rooms, squared units of reward: mean over seeds with 95 % intervals. Colours say which"
        " mean a return is compared with.",
        alt="Against the depth of the level: squared bias, variance and their sum, for three ways to take the group's mean.",
    )
    return


@app.cell
def _(bench, house_kinds, levels):
    from hierlab.lab.results import mean_and_interval

    def at(kind, curve, place):
        return mean_and_interval([values[place] for values in levels.best(kind)[curve]])

    curves = [f"{mean}_{part}" for mean in ("all", "other_trajectories") for part in ("squared_bias", "variance", "squared_error")]
    level_rows = [
        [kind, k, *(at(kind, curve, k) for curve in ("coverage", "mixed", *curves))]
        for kind, arm in house_kinds.items()
        for k in range(arm["K"] + 1)
    ]
    parts = ("squared bias", "variance", "error")
    columns = ["house", "level k", "coverage", "mixed", *parts, *(f"{part}, other rollouts' mean" for part in parts)]
    bench.table("levels", columns, level_rows)
    return (mean_and_interval,)


@app.cell
def _(bench, house_kinds, levels, mean_and_interval):
    from hierlab.lab.context_levels import proposition

    proposition_rows = [
        [kind, mean.replace("_", " "), words, mean_and_interval(said.gap)]
        for kind in house_kinds
        for mean in ("all", "other_trajectories")
        for words, said in proposition(levels.best(kind), mean).items()
    ]
    bench.table("proposition", ["house", "mean of", "statement", "positive if it holds"], proposition_rows)
    return (proposition,)


@app.cell
def _(bench, house_kinds, levels, mean_and_interval):
    names = ("oracle_support", "true_square", "shallow_squared_bias", "shallow_variance", "oracle_squared_bias", "oracle_variance")
    oracle_rows = [[kind, *(mean_and_interval(levels.best(kind)[name]) for name in names)] for kind in house_kinds]
    bench.table("oracle", ["house", *(name.replace("_", " ") for name in names)], oracle_rows)
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Experiment
    Every method trains with the same tasks, rollouts and updates, at each step size of one grid, and is measured at its own best one
    (chosen for each seed by the *other* seeds) and at the shared middle one. HGPO's advantage is about half as long as GiGPO's, a mean
    where that is a sum: "GiGPO, HGPO's step" is GiGPO's direction with the length that HGPO's update would have had.

    1. **SearchHouse**, a table of logits over the last five observations; groups look back K of them.
    2. **SearchHouse with the lights on**, where the past tells nothing: what is gained there is not gained from memory.
    3. **A language model that writes its commands**: a novice, tested on games it never trained on, of the same kind and larger.
    """)
    return


@app.cell
def _(bench):
    button = bench.button()
    button
    return (button,)


@app.cell
def _(bench, button, gigpo, grpo, hgpo, partial):
    def train_in_house(arm, rate, seed, settings, report):
        from hierlab.envs.search_house import SearchHouse
        from hierlab.train.tabular import train_tabular

        sizes = {"iterations": settings.iterations, "tasks": settings.tasks, "group_size": settings.group_size}
        run = train_tabular(SearchHouse().world(settings.memory), **arm, **sizes, rate=rate, seed=seed, report=report)
        values = run.values()
        kept = ("updates", "success", "auc", "final_success", "estimator_seconds", "rollout_seconds")
        return {name: values[name] for name in kept} | {"steps": run.cumulative_turns[-1]}

    deepest = partial(hgpo, history=4)
    house_arms = {
        "GRPO": {"estimator": grpo},
        "GiGPO": {"estimator": partial(gigpo, scale="std")},
        "GiGPO, HGPO's step": {"estimator": partial(gigpo, scale="std"), "length_of": deepest},
        "step only (K = 0)": {"estimator": partial(hgpo, history=0)},
        "HGPO, K = 2": {"estimator": partial(hgpo, history=2)},
        "HGPO, K = 2, uniform": {"estimator": partial(hgpo, history=2, alpha=0.0)},
        "HGPO, K = 4": {"estimator": deepest},
        "HGPO, K = 4, uniform": {"estimator": partial(hgpo, history=4, alpha=0.0)},
        "HGPO, K = 4, steep": {"estimator": partial(hgpo, history=4, alpha=2.0)},
    }
    house = bench.compare("searchhouse", house_arms, train=train_in_house, rates=bench.settings.rates, choose_by="auc", run=button.value)
    house
    return (house,)


@app.cell
def _(bench, house):
    house_curves = house.plot(x="updates", y="success")
    for line in house_curves.data:
        line.line.dash = "dot" if "uniform" in (line.name or "") else "dash" if "steep" in (line.name or "") else None
    bench.figure(
        "searchhouse",
        house_curves,
        title="Learning in SearchHouse",
        caption="Exact probability of success against updates: mean over seeds with 95 % intervals. Dotted lines are uniform weights,"
        " dashed ones steep weights.",
        alt="Learning curves of GRPO, GiGPO and HGPO with several depths and weightings, at the shared and at their own best step sizes.",
    )
    return


@app.cell
def _(bench, button, gigpo, hgpo, partial):
    def train_in_the_light(arm, rate, seed, settings, report):
        from hierlab.envs.open_house import OpenHouse
        from hierlab.train.tabular import train_tabular

        sizes = {"iterations": settings.iterations, "tasks": settings.tasks, "group_size": settings.group_size}
        values = train_tabular(OpenHouse().world(0), arm, **sizes, rate=rate, seed=seed, report=report).values()
        return {name: values[name] for name in ("updates", "success", "auc", "final_success")}

    lit_arms = {"step only (K = 0)": partial(hgpo, history=0), "HGPO, K = 2": hgpo, "GiGPO": partial(gigpo, scale="std")}
    lit = bench.compare("lit house", lit_arms, train=train_in_the_light, rates=bench.settings.rates, choose_by="auc", run=button.value)
    lit
    return (lit,)


@app.cell
def _(bench, button, gigpo, grpo, hgpo, partial):
    def train_language_model(arm, rate, seed, settings, report, scratch):
        from dataclasses import replace

        from hierlab.train.policy import PolicySettings
        from hierlab.train.text_agent import NoviceAgentSettings, alfworld_agent, novice_agent, train_agent

        if settings.agent == "novice":
            start = NoviceAgentSettings(number=settings.games, held_out=settings.held_out, history=settings.history)
            taught = replace(start.novice.imitation, steps=settings.warm_steps)
            agent = novice_agent(replace(start, novice=replace(start.novice, houses=settings.houses, imitation=taught)))
        else:
            agent = alfworld_agent(settings.model, engine=settings.engine, history=settings.history)
        update = PolicySettings(
            learning_rate=rate,
            tasks=settings.agent_tasks,
            mini_batches=settings.mini_batches,
            micro_batch=settings.micro_batch,
            kl_weight=settings.kl_weight,
        )
        amounts = {"iterations": settings.agent_iterations, "group_size": settings.group_size, "episodes": 1}
        return train_agent(agent, arm, update, **amounts, seed=seed, folder=scratch, report=report)

    agent_arms = {
        "GRPO": partial(grpo, scale="none"),
        "GiGPO": gigpo,
        "HGPO": partial(hgpo, scale="none", history=bench.settings.history),
    }
    agent = bench.compare(
        "language model",
        agent_arms,
        train=train_language_model,
        rates=bench.settings.agent_rates,
        choose_by="auc",
        seeds=bench.settings.agent_seeds,
        run=button.value,
    )
    agent
    return (agent,)


@app.cell
def _(agent, bench):
    bench.figure(
        "language-model",
        agent.plot(x="updates", y="success"),
        title="A novice in text games",
        caption="Success of each iteration's rollouts against updates: mean over seeds with 95 % intervals.",
        alt="Learning curves of GRPO, GiGPO and HGPO with a language model, at the shared and at their own best learning rate.",
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
def _(agent, bench, house, levels, proposition):
    def gains(measured, arm, other, metric="auc"):
        """How much better an arm is than another, seed by seed, each at its own best rate."""
        return [a - b for a, b in zip(measured.best(arm)[metric], measured.best(other)[metric], strict=True)]

    dark = levels.best("4 rooms, K = 4")
    bench.claim(
        "C1",
        part="groups of equal observation mix pasts",
        measured=[share[0] for share in dark.mixed],
        baseline=0.5,
        note="Often is taken to mean more than half of the turns that have company.",
    )
    bench.claim(
        "C1",
        part="and err",
        measured=[bias / square for bias, square in zip(dark.shallow_squared_bias, dark.true_square, strict=True)],
        baseline=[0.1 + bias / square for bias, square in zip(dark.oracle_squared_bias, dark.true_square, strict=True)],
        note="Widely is taken to mean that the squared bias exceeds that of the oracle's groups by more than a tenth of the true"
        " advantages' mean square, in the turns that have company in both.",
    )

    full, best = "HGPO, K = 4", {arm: house.best(arm).auc for arm in house.arms}
    bench.claim("C2", part="SearchHouse, over GiGPO", measured=best[full], baseline=best["GiGPO"])
    bench.claim("C2", part="SearchHouse, over GiGPO at equal step length", measured=best[full], baseline=best["GiGPO, HGPO's step"])
    bench.claim("C2", part="SearchHouse, over GRPO", measured=best[full], baseline=best["GRPO"])
    for other in ("GiGPO", "GRPO"):
        in_it, out_of_it = ({arm: agent.best(arm)[name] for arm in agent.arms} for name in ("in_distribution", "out_of_distribution"))
        bench.claim("C2", part=f"language model, unseen games, over {other}", measured=in_it["HGPO"], baseline=in_it[other])
        bench.claim("C2", part=f"language model, larger games, over {other}", measured=out_of_it["HGPO"], baseline=out_of_it[other])
    bench.claim(
        "C2",
        part="language model, larger gain out of distribution",
        measured=gains(agent, "HGPO", "GiGPO", "out_of_distribution"),
        baseline=gains(agent, "HGPO", "GiGPO", "in_distribution"),
        note="That the gain is larger for a smaller model was not tested.",
    )

    shallow, middle = "step only (K = 0)", "HGPO, K = 2"
    bench.claim("C3", part="from K = 0 to 2", measured=best[middle], baseline=best[shallow])
    bench.claim("C3", part="from K = 2 to 4", measured=best[full], baseline=best[middle])
    bench.claim("C3", part="diminishing returns", measured=gains(house, middle, shallow), baseline=gains(house, full, middle))

    bench.claim(
        "C4",
        measured=gains(agent, "HGPO", "GiGPO", "overhead"),
        baseline=0.01,
        direction="less",
        note="Held against 1 % of an iteration: the estimator's share of the iteration with HGPO, less that with GiGPO, here of a model a"
        " thousand times smaller than the paper's.",
    )

    bench.claim("C5", part="K = 2: uniform over linear", measured=best["HGPO, K = 2, uniform"], baseline=best[middle])
    bench.claim("C5", part="K = 4: linear over uniform", measured=best[full], baseline=best["HGPO, K = 4, uniform"])
    bench.claim("C5", part="K = 4: linear over steep", measured=best[full], baseline=best["HGPO, K = 4, steep"])

    for words, said in proposition(dark, "all").items():
        bench.claim(
            "C6",
            part=words,
            measured=said.measured,
            baseline=said.bar,
            direction=said.direction,
            note="The proposition is an implication, and arithmetic; tested is whether its premises and its conclusions hold of HGPO's"
            " levels. Uncorrelated is taken to mean a least correlation of two levels below 0.05.",
        )
    bench.verdicts()
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Take it home
    ```python
    from hierlab.credit import hgpo

    advantage = hgpo(rewards, task, trajectory, turn, state, history=2, alpha=1.0, gamma=0.95)  # one number a turn
    ```
    It costs one table of contexts a level: K + 1 times what GiGPO's step term costs (`benchmarks/estimators.py`). It breaks where GiGPO
    breaks, and sooner: a context of several observations repeats more rarely than one. `mean="other trajectories"` takes a rollout's own
    turns out of what they are compared with; nothing else does as much for its bias, or costs as much variance.
    """)
    return


if __name__ == "__main__":
    app.run()
