"""HiPER: advantages on two clocks, turns and subgoals. The lab of arXiv 2602.16165."""

import marimo

app = marimo.App(width="medium", app_title="HiPER")

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
        batches: int = setting(200, "batches under the microscope", least=2)
        episodes: int = setting(4000, "episodes of one policy in the exact tests", least=2)
        critic_seeds: int = setting(6, "seeds of the test with wrong critics, at most", least=1)
        variant_seeds: int = setting(5, "seeds of the variants of HiPER, at most", least=1)
        iterations: int = setting(20, "updates of the tables in the corridor", least=1)
        group_size: int = setting(8, "episodes an iteration in the corridor", least=2)
        cells: int = setting(5, "length of the corridor in training", least=3)
        slack: float = setting(2.0, "turns of an episode in training, in lengths of the shortest way", least=1)
        obedience: float = setting(0.75, "how often the first policy walks towards its subgoal", above=0, most=0.99)
        switching: float = setting(0.2, "how often the first policy names a new subgoal", above=0, most=0.99)
        critic_rate: float = setting(0.5, "how far the critic moves towards an iteration's mean target", least=0, most=1)
        head_start: int = setting(200, "episodes that the critic has seen before the first update, in the arms that let it", least=1)
        keep_penalty: float = setting(3.5, "what keeping the subgoal costs an episode, in the arm that pays for it", least=0)
        rates: tuple[float, ...] = setting((0.8, 2.5, 8.0), "step sizes in the corridor that every method chooses its own from", above=0)
        agent: Literal["house", "alfworld"] = setting("house", "what the language model plays")
        model: str = setting("tiny", "the language model: tiny, or at full scale a hub id or folder")
        engine: Literal["transformers", "vllm"] = setting("transformers", "what samples from the language model")
        errands: int = setting(2, "things to bring somewhere in each house", least=1, most=3)
        houses: int = setting(4, "houses in which it runs errands", least=1)
        turns: int = setting(12, "turn limit in a house", least=1)
        warm_steps: int = setting(300, "steps of imitation before it is trained by reward", least=1)
        agent_seeds: int = setting(3, "seeds of the language model's training, at most", least=1)
        agent_iterations: int = setting(6, "updates of the language model", least=1)
        agent_tasks: int = setting(4, "games an iteration", least=1)
        agent_group: int = setting(6, "episodes of each game in an iteration", least=1)
        agent_rates: tuple[float, ...] = setting((3e-4, 1e-3), "learning rates that every method chooses its own from", above=0)
        value_rate: float = setting(1e-3, "learning rate of the language model's critic", above=0)
        mini_batches: int = setting(1, "optimiser steps a batch of rollouts", least=1)
        micro_batch: int = setting(512, "rows a forward pass; changes memory and speed, not the result", least=1)
        kl_weight: float = setting(0.0, "weight of the divergence from the initial policy (scripts: 0.01)", least=0)

        def __post_init__(self):
            if (self.agent == "alfworld") != (self.engine == "vllm"):
                raise ValueError("agent=alfworld and engine=vllm go together: in houses the tiny model samples by itself")

    bench = Bench(
        "hiper",
        settings(
            Settings,
            scale,
            overrides,
            smoke={
                "batches": 10,
                "episodes": 60,
                "iterations": 2,
                "group_size": 4,
                "rates": (2.5,),
                "errands": 1,
                "houses": 1,
                "turns": 4,
                "warm_steps": 5,
                "agent_iterations": 1,
                "agent_tasks": 1,
                "agent_rates": (1e-3,),
            },
            full={
                "agent": "alfworld",
                "model": "Qwen/Qwen2.5-1.5B-Instruct",
                "engine": "vllm",
                "agent_iterations": 150,
                "agent_tasks": 128,
                "agent_group": 1,
                "agent_rates": (1e-6,),
                "value_rate": 1e-5,
                "mini_batches": 15,
                "micro_batch": 16,
                "kl_weight": 0.01,
            },
            seeds={"smoke": 1, "reduced": 10, "full": 10},
        ),
        seeds=seeds,
    )
    bench.paper()
    return (bench,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Step through
    In **KeyCorridor** a key lies at the left end and the goal at the right one, worth 10. An agent writes three decisions each turn: keep
    or switch the subgoal, the subgoal, the action. First one of its responses, token by token: whose decision is a token, and where is
    the critic read?
    """)
    return


@app.cell
def _():
    from dataclasses import replace as renamed

    from hierlab.envs.key_corridor import COMMANDS, SUBGOALS, KeyCorridor
    from hierlab.lab.plan_testbed import PlanTestbed
    from hierlab.seeds import generator

    corridor = KeyCorridor(2, cells=5, horizon=14)
    player = PlanTestbed("corridor of 5 cells, novice", corridor.world(), corridor.novice(0.9, 0.25))
    played = player.collect(1, 60, generator("hiper lab", "example"))
    won = [name for name in dict.fromkeys(played.trajectory) if played["success"][played.trajectory.index(name)]]
    lost = [name for name in dict.fromkeys(played.trajectory) if name not in won]
    shown = dict(zip([*won[:3], lost[0]], ("reached A", "reached B", "reached C", "missed"), strict=True))
    example = played.select([row for name in shown for row, other in enumerate(played.trajectory) if other == name])
    example = renamed(example, trajectory=[shown[name] for name in example.trajectory])
    return COMMANDS, SUBGOALS, example, generator


@app.cell
def _():
    include_tags = mo.ui.checkbox(value=True, label="masks cover the tags (released scripts)")
    keeps_talking = mo.ui.checkbox(value=False, label="show a turn that keeps its subgoal")
    mo.hstack([include_tags, keeps_talking], wrap=True, justify="start")
    return include_tags, keeps_talking


@app.cell
def _(COMMANDS, SUBGOALS, bench, example, include_tags, keeps_talking):
    import re

    import torch

    from hierlab.credit import boundaries, parse_plans, value_masks
    from hierlab.credit.plan_execute import Plan, write_plan
    from hierlab.lab.plan_figures import response_figure
    from hierlab.rollout import estimate

    def words(row):
        """A turn as the response of a language model, cut into tokens that do not respect the tags."""
        switch, subgoal, action = example.response_ids[row].tolist()
        said = write_plan(Plan(bool(switch), SUBGOALS[subgoal - 2], COMMANDS[action - 2 - len(SUBGOALS)]))
        return re.findall(r"</|[<>]+|\w+| \w+", said)

    wanted = (example.turn > 0) & (example["switch"] != keeps_talking.value)
    written = words(int(wanted.nonzero()[0]))
    whole = torch.ones(1, len(written), dtype=torch.bool)
    plans = parse_plans([written], whole, include_tags=include_tags.value)
    bench.figure(
        "response",
        response_figure(written, plans, value_masks(plans.plan_end, estimate(example, boundaries)[wanted][:1], whole)),
        title="One response, token by token",
        caption="Left: the tokens of each decision, on which its advantage lands. Right: the token before which each value is read."
        " V high is read only where a subgoal is named.",
        alt="The tokens of a response from top to bottom; coloured cells mark those of the switch, the subgoal and the action.",
    )
    return (estimate,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    Now four trajectories, three that reach the goal and one that does not, read by a critic that is exactly right. Rows are
    trajectories, columns turns; the last pictures are turns by their three tokens. The controls run `hiper` again: take away the
    planner's value at the end of a segment, or let keeping cost something, and see what moves.
    """)
    return


@app.cell
def _():
    boundary_bootstrap = mo.ui.checkbox(value=True, label="boundary bootstrap")
    switch_advantage = mo.ui.radio(["code", "paper", "none"], value="code", label="switch advantage")
    lam_turn = mo.ui.slider(0, 1, 0.05, value=1, label=r"$\lambda_{turn}$")
    lam_seg = mo.ui.slider(0, 1, 0.05, value=0.95, label=r"$\lambda_{seg}$")
    keep_penalty = mo.ui.slider(0, 3.5, 0.1, value=0.3, label="keep penalty")
    keep_mode = mo.ui.radio(["normalised", "fixed"], value="normalised", label="of each")
    normalise = mo.ui.checkbox(value=True, label="normalise")
    mo.hstack([boundary_bootstrap, switch_advantage, lam_turn, lam_seg, keep_penalty, keep_mode, normalise], wrap=True, justify="start")
    return boundary_bootstrap, keep_mode, keep_penalty, lam_seg, lam_turn, normalise, switch_advantage


@app.cell
def _(bench, boundary_bootstrap, estimate, example, keep_mode, keep_penalty, lam_seg, lam_turn, normalise, switch_advantage):
    from dataclasses import replace

    from hierlab.credit import hae, hiper, shaped_rewards
    from hierlab.lab import stepper
    from hierlab.trace import Step, Tape

    with Tape() as tape:
        paid = estimate(example, shaped_rewards, keep_penalty=keep_penalty.value, keep_mode=keep_mode.value)
        clocks = {"lam_turn": lam_turn.value, "lam_seg": lam_seg.value, "boundary_bootstrap": boundary_bootstrap.value}
        shaped = replace(example, rewards=paid)
        estimate(shaped, hiper, switch_advantage=switch_advantage.value, normalise=normalise.value, **clocks)
    other = "code" if switch_advantage.value == "paper" else "paper"
    with Tape() as beside:
        estimate(shaped, hae, switch_advantage=other, **clocks)
    rated = next(step for step in beside.steps if step.name == "switch advantage")
    place = next(i for i, step in enumerate(tape.steps) if step.name.endswith("on its tokens"))
    steps = [*tape.steps[:place], Step(f"switch advantage, the {other}'s", rated.value, rated.formula), *tape.steps[place:]]
    bench.figure(
        "stepper",
        stepper(steps, trajectory=example.trajectory, turn=example.turn.tolist()),
        title="Inside HiPER, step by step",
        caption="Rows are trajectories, columns turns; at the end, rows are turns and columns the tokens of switch, subgoal and action.",
        alt="Grids of four trajectories: shaped rewards, segment starts, values, one-step errors, the three advantages, token advantages.",
    )
    return hae, hiper, replace


@app.cell
def _(SUBGOALS, bench, boundary_bootstrap, estimate, example, hae, lam_seg, lam_turn):
    from hierlab.lab.plan_figures import timeline_figure

    one = example.select([row for row, name in enumerate(example.trajectory) if name == example.trajectory[0]])
    options = {"lam_turn": lam_turn.value, "lam_seg": lam_seg.value, "boundary_bootstrap": boundary_bootstrap.value}
    bench.figure(
        "timeline",
        timeline_figure(
            one, estimate(one, hae, **options), SUBGOALS, one["world_state"] % 5, estimate(one, hae, switch_advantage="paper").switch
        ),
        title="One trajectory on its two clocks",
        caption="The way, the decisions to switch, what the critic foresaw, and who is credited for what, before normalisation.",
        alt="A time line of one episode: cells and segments, values of the three heads, advantages of actions, subgoals and switches.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Microscope
    In a corridor of 14 states everything is exactly known: the value at each of the three moments of a turn, the advantage of every
    decision, and the policy gradient. A policy with bent habits plays many batches, judged by an exact critic; nothing is normalised.
    """)
    return


@app.cell
def _(bench, hiper):
    from functools import partial

    from hierlab.credit import turn_gae
    from hierlab.lab.microscope import microscope
    from hierlab.lab.plan_testbed import corridor_testbed

    raw = partial(hiper, normalise=False, lam_seg=1.0)
    flat = partial(turn_gae, whiten=False)
    observed = {
        "flat GAE": flat,
        "flat GAE, λ = 0.95": partial(flat, lam=0.95),
        "HiPER, λ = 1": raw,
        "HiPER, paper's switch": partial(raw, switch_advantage="paper"),
        "HiPER, λ = 0.95": partial(raw, lam_turn=0.95, lam_seg=0.95),
    }
    seen = microscope(observed, corridor_testbed(), batches=bench.settings.batches, tasks=1, group_size=32)
    bench.figure(
        "microscope",
        seen.plot(),
        title="Advantages of decisions against the truth",
        caption="A dot is the mean over batches of 32 episodes, the line its 95 % interval (bootstrap over batches).",
        alt="Flat GAE and HiPER compared by bias, variance, correlation and gradient direction.",
    )
    return flat, observed, partial, raw, seen, turn_gae


@app.cell
def _(bench, seen):
    bench.table("microscope", **seen.table())
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ### The two theorems, tested
    Each seed bends the habits in its own way. Thousands of episodes give each estimator's mean gradient and its covariance: the first is
    held against the exact gradient ($z^2$ is 1 on average if there is no bias), the trace of the second against flat GAE's. *Sees the
    subgoal* is flat GAE with a critic that knows the subgoal of the turn before. The same again with actions that ignore the subgoal.
    """)
    return


@app.cell
def _(bench):
    button = bench.button()
    button
    return (button,)


@app.cell
def _(bench, button, flat, observed, partial):
    def measure_gradient(arm, seed, settings):
        from dataclasses import replace as with_sight

        from hierlab.lab.gradient_moments import gradient_moments
        from hierlab.lab.plan_testbed import corridor_testbed as testbed_of
        from hierlab.seeds import generator as draws

        bed = with_sight(testbed_of(seed=seed, informative=arm["informative"]), sight=arm["sight"])
        blocks = tuple(table.numel() for table in bed.policy)
        moments = gradient_moments(
            arm["estimator"], bed, bed.collect(1, settings.episodes, draws("hiper lab", "exact", seed)), blocks=blocks
        )
        traces = dict(zip(("trace_switch", "trace_subgoal", "trace_action"), moments.traces, strict=True))
        return {"z_square": moments.z_square, "squared_bias": moments.squared_bias, "trace": moments.trace, **traces}

    def put_to_the_test(informative):
        blind = {name: {"estimator": estimator, "sight": "state"} for name, estimator in observed.items()}
        blind["flat GAE, λ = 0"] = {"estimator": partial(flat, lam=0.0), "sight": "state"}
        aware = {
            "flat GAE, sees the subgoal": {"estimator": flat, "sight": "subgoal"},
            "flat GAE, sees it, λ = 0": {"estimator": partial(flat, lam=0.0), "sight": "subgoal"},
        }
        return {name: arm | {"informative": informative} for name, arm in (blind | aware).items()}

    exact = bench.compare("exact test", put_to_the_test(True), train=measure_gradient, run=button.value)
    blurred = bench.compare("without information", put_to_the_test(False), train=measure_gradient, run=button.value)
    return blurred, exact, measure_gradient


@app.cell
def _(bench, exact):
    from hierlab.lab.plan_figures import variance_figure

    def mean(numbers):
        return sum(numbers) / len(numbers)

    parts_of = ("trace_switch", "trace_subgoal", "trace_action")
    bench.figure(
        "variance",
        variance_figure({arm: [mean(exact.best(arm)[part]) for part in parts_of] for arm in exact.arms}, "flat GAE"),
        title="Variance of the gradient, decision by decision",
        caption="Trace of the covariance of one episode's gradient, mean over seeds; 1 is flat GAE with the best state-only critic.",
        alt="Stacked bars: what switch, subgoal and action contribute to the variance of each estimator's gradient.",
    )
    return


@app.cell
def _(bench, blurred, exact):
    from hierlab.lab.results import mean_and_interval

    def against_flat(results, arm):
        """The estimator's trace in shares of flat GAE's, seed by seed."""
        return [own / flat for own, flat in zip(results.best(arm).trace, results.best("flat GAE").trace, strict=True)]

    exact_rows = [
        [
            arm,
            mean_and_interval(exact.best(arm).z_square),
            mean_and_interval(exact.best(arm).squared_bias),
            mean_and_interval(against_flat(exact, arm)),
            mean_and_interval(against_flat(blurred, arm)),
        ]
        for arm in exact.arms
    ]
    bench.table(
        "exact test", ["estimator", "z²", "squared bias", "variance, flat GAE = 1", "the same where subgoals say nothing"], exact_rows
    )
    return (against_flat,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ### When the critic is wrong
    The theorem wants an exact critic. HAE reads one at the end of every segment, whatever $\lambda$; flat GAE with $\lambda=1$ only
    subtracts it. Errors of several sizes, in deviations of the values, and critics learnt from few episodes.
    """)
    return


@app.cell
def _(bench, button, flat, partial, raw):
    def measure_bias(arm, seed, settings):
        from hierlab.lab.gradient_moments import gradient_moments
        from hierlab.lab.plan_testbed import corridor_testbed as testbed_of
        from hierlab.lab.plan_testbed import learnt_plan_critic, noisy_plan_critic
        from hierlab.seeds import generator as draws

        bed = testbed_of(seed=seed)
        bed = learnt_plan_critic(bed, arm["learnt"], seed=seed) if "learnt" in arm else noisy_plan_critic(bed, arm["noise"], seed=seed)
        rollouts = bed.collect(1, settings.episodes, draws("hiper lab", "wrong critics", seed))
        return {name: gradient_moments(estimator, bed, rollouts).squared_bias for name, estimator in arm["estimators"].items()}

    judged = {"flat GAE": flat, "flat GAE, λ = 0.95": partial(flat, lam=0.95), "HiPER, λ = 1": raw}
    critics = {"exact": {"noise": 0.0}} | {f"noise {size:g}": {"noise": size} for size in (0.25, 0.5, 1.0)}
    critics |= {f"learnt, {number}": {"learnt": number} for number in (30, 300, 3000)}
    wrong_arms = {name: critic | {"estimators": judged} for name, critic in critics.items()}
    wrong = bench.compare("wrong critics", wrong_arms, train=measure_bias, seeds=bench.settings.critic_seeds, run=button.value)
    return judged, wrong


@app.cell
def _(bench, judged, wrong):
    from hierlab.lab.plan_figures import dots_figure

    bench.figure(
        "wrong-critics",
        dots_figure({name: {arm: wrong.best(arm)[name] for arm in wrong.arms} for name in judged}, "critic", "squared bias"),
        title="What a wrong critic does to the gradient",
        caption="Squared length of the bias, in squared lengths of the exact gradient: mean over seeds with 95 % intervals.",
        alt="Bias of flat GAE and HiPER for an exact critic, noisy ones, and ones learnt from 30, 300 and 3,000 episodes.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Experiment
    All arms train the same three tables from the same novice, who can carry out a subgoal but does not know which one is good, in
    corridors of one, two and three errands that depend on each other. The critic is learnt alongside, from nothing. Every arm is
    measured at its own best step size (chosen for each seed by the *other* seeds) and at a shared one. "Flat GAE, HiPER's step" is the
    control that separates the idea from its scale: flat GAE's direction, with the length that HiPER's update would have had.
    """)
    return


@app.cell
def _(bench, button, hiper, partial, turn_gae):
    from hierlab.credit import gigpo, grpo

    def train_in_corridor(arm, rate, seed, settings, report):
        from dataclasses import replace as changed

        from hierlab.envs.key_corridor import KeyCorridor as Corridor
        from hierlab.train.tabular_plans import train_plans

        corridor = Corridor(arm["subtasks"], cells=settings.cells)
        corridor = changed(corridor, horizon=round(settings.slack * corridor.shortest))
        run = train_plans(
            corridor.world(),
            corridor.novice(settings.obedience, settings.switching),
            rate=rate,
            iterations=settings.iterations,
            episodes=settings.group_size,
            critic_rate=settings.critic_rate,
            seed=seed,
            report=report,
            **{name: option for name, option in arm.items() if name != "subtasks"},
        )
        return run.values()

    def rivals(subtasks):
        arms = {
            "flat GAE": {"estimator": turn_gae},
            "flat GAE, λ = 0.95": {"estimator": partial(turn_gae, lam=0.95)},
            "flat GAE, HiPER's step": {"estimator": turn_gae, "length_of": hiper},
            "GiGPO": {"estimator": partial(gigpo, scale="std")},
            "HiPER": {"estimator": hiper},
        }
        return {name: arm | {"subtasks": subtasks} for name, arm in arms.items()}

    choice = {"rates": bench.settings.rates, "choose_by": "auc", "run": button.value}
    games = {
        1: bench.compare("one subtask", rivals(1), train=train_in_corridor, **choice),
        2: bench.compare("two subtasks", rivals(2), train=train_in_corridor, **choice),
        3: bench.compare("three subtasks", rivals(3), train=train_in_corridor, **choice),
    }
    mo.vstack(list(games.values()))
    return choice, games, grpo, train_in_corridor


@app.cell
def _(bench, games):
    bench.figure(
        "three-subtasks",
        games[3].plot(x="updates", y="success"),
        title="Learning three dependent subtasks",
        caption="Exact probability of success against updates: mean over seeds with 95 % intervals.",
        alt="Learning curves of flat GAE, GiGPO and HiPER at the shared and at their own best step size.",
    )
    return


@app.cell
def _(bench, games):
    from hierlab.lab.plan_figures import dots_figure as dots

    names_of = {1: "one", 2: "two", 3: "three"}
    bench.figure(
        "subtasks",
        dots({arm: {names_of[n]: game.best(arm).auc for n, game in games.items()} for arm in games[3].arms}, "subtasks", "auc"),
        title="The more subtasks, the larger the gain?",
        caption="Area under the success curve at each arm's best step size: mean over seeds with 95 % intervals.",
        alt="Flat GAE, GiGPO and HiPER in corridors of one, two and three subtasks.",
    )
    return


@app.cell
def _(bench, choice, grpo, hiper, partial, train_in_corridor, turn_gae):
    variants = {
        "GRPO": {"estimator": grpo},
        "no boundary bootstrap": {"estimator": partial(hiper, boundary_bootstrap=False)},
        "no switch term": {"estimator": partial(hiper, switch_advantage="none")},
        "paper's switch": {"estimator": partial(hiper, switch_advantage="paper")},
        "paper's switch and targets": {"estimator": partial(hiper, switch_advantage="paper"), "targets": "paper"},
        "keep penalty": {"estimator": hiper, "keep_penalty": bench.settings.keep_penalty},
        "HiPER, head start": {"estimator": hiper, "head_start": bench.settings.head_start},
        "flat GAE, head start": {"estimator": turn_gae, "head_start": bench.settings.head_start},
        "HiPER, exact critic": {"estimator": hiper, "critic": "exact"},
        "flat GAE, exact critic": {"estimator": turn_gae, "critic": "exact"},
    }
    variants = {name: arm | {"subtasks": 3} for name, arm in variants.items()}
    ablations = bench.compare("ablations", variants, train=train_in_corridor, seeds=bench.settings.variant_seeds, **choice)
    ablations
    return (ablations,)


@app.cell
def _(ablations, bench, games):
    def switch_rates(results):
        """Switch rates at each arm's best step size, the many names well below the axis."""
        return results.plot(x="updates", y="switch_rate", rate="best").update_layout(legend={"y": -0.32}, margin={"b": 60})

    bench.figure(
        "switching",
        switch_rates(games[3]),
        title="How often the subgoal is changed",
        caption="Share of turns that switch, first turns aside, three subtasks: mean over seeds with 95 % intervals.",
        alt="Switch rates against updates for flat GAE, GiGPO and HiPER.",
    )
    bench.figure(
        "switching-variants",
        switch_rates(ablations),
        title="What changes the switching",
        caption="The same for variants of HiPER, among them one that pays for keeping, and for GRPO.",
        alt="Switch rates against updates for variants of HiPER, with and without a penalty on keeping.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ### A language model that writes its plans
    A tiny model was shown how somebody runs errands in houses, now and then led astray, with the plans written out or without. Then it
    is trained by reward: commands only with flat GAE, plans with flat GAE on all it writes, plans with HiPER on its decisions.
    """)
    return


@app.cell
def _(bench, button, hiper, turn_gae):
    from hierlab.train.readouts import PlanValues, TurnValues

    def train_language_model(arm, rate, seed, settings, report, scratch):
        from dataclasses import replace as asked

        from hierlab.envs.house import GameSettings
        from hierlab.envs.text_games import Rules
        from hierlab.train.critic import CriticSettings
        from hierlab.train.imitation import ImitationSettings
        from hierlab.train.plan_agent import HouseAgentSettings, alfworld_plan_agent, house_agent, train_plan_agent
        from hierlab.train.policy import PolicySettings

        if settings.agent == "house":
            agent = house_agent(
                HouseAgentSettings(
                    games=GameSettings(rooms=2, objects=3, things=3, quest_length=4, errands=settings.errands),
                    number=settings.houses,
                    rules=Rules(success=1.0, invalid=-0.01, turns=settings.turns),
                    planning=arm["planning"],
                    imitation=ImitationSettings(steps=settings.warm_steps, batch=32, rate=3e-3),
                )
            )
        else:
            agent = alfworld_plan_agent(settings.model, planning=arm["planning"])
        if arm["planning"]:
            agent = asked(agent, collector=asked(agent.collector, decisions_only=arm["decisions"]))
        shared = {"micro_batch": settings.micro_batch, "mini_batches": settings.mini_batches}
        update = PolicySettings(learning_rate=rate, tasks=settings.agent_tasks, kl_weight=settings.kl_weight, **shared)
        learns = CriticSettings(learning_rate=settings.value_rate, **shared)
        amounts = {"iterations": settings.agent_iterations, "group_size": settings.agent_group, "seed": seed}
        run = train_plan_agent(
            agent, arm["estimator"], update, readout=arm["values"], critic=learns, **amounts, folder=scratch, report=report
        )
        shown = ("auc", "final", "overhead", "updates", "success", "tokens", "turns")
        return {name: run[name] for name in shown} | {"switch_share": run.get("switch_share", [1.0] * settings.agent_iterations)}

    writers = {
        "commands, flat GAE": {"planning": False, "decisions": False, "estimator": turn_gae, "values": TurnValues()},
        "plans, flat GAE": {"planning": True, "decisions": False, "estimator": turn_gae, "values": TurnValues()},
        "plans, HiPER": {"planning": True, "decisions": True, "estimator": hiper, "values": PlanValues()},
    }
    writing = bench.compare(
        "language model",
        writers,
        train=train_language_model,
        rates=bench.settings.agent_rates,
        choose_by="auc",
        seeds=bench.settings.agent_seeds,
        run=button.value,
    )
    writing
    return (writing,)


@app.cell
def _(bench, writing):
    bench.figure(
        "language-model",
        writing.plot(x="updates", y="success"),
        title="A language model that plans",
        caption="Success of each iteration's episodes against updates: mean over seeds with 95 % intervals.",
        alt="Learning curves of flat GAE without plans, flat GAE with plans, and HiPER.",
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
def _(against_flat, bench, exact, games, writing):
    at_best = {n: {arm: game.best(arm) for arm in game.arms} for n, game in games.items()}

    def gains(n, baseline):
        return [own - other for own, other in zip(at_best[n]["HiPER"].auc, at_best[n][baseline].auc, strict=True)]

    start = "The critic learns from nothing here; the table of variants has HiPER with an exact one, and with one that had a head start."
    bench.claim("C1", part="three subtasks, against GiGPO", measured=at_best[3]["HiPER"].auc, baseline=at_best[3]["GiGPO"].auc, note=start)
    for rival in ("GiGPO", "flat GAE", "flat GAE, HiPER's step"):
        part = f"gain over {rival}, three subtasks against one"
        bench.claim("C2", part=part, measured=gains(3, rival), baseline=gains(1, rival), note=start)
    for name, which in {"HiPER, λ = 1": "code's switch advantage", "HiPER, paper's switch": "paper's switch advantage"}.items():
        bench.claim(
            "C3",
            part=which,
            measured=exact.best(name).z_square,
            baseline=1.0,
            direction="within",
            margin=0.5,
            note="Mean squared z of the expected gradient, 1 without bias; the table shows what it is for estimators that have one.",
        )
        bench.claim(
            "C4", part=which, measured=against_flat(exact, name), baseline=1.0, direction="less", note="Shares of flat GAE's variance."
        )
    told = {arm: writing.best(arm) for arm in writing.arms}
    bench.claim("C5", part="credit matters", measured=told["plans, HiPER"].auc, baseline=told["plans, flat GAE"].auc)
    bench.claim(
        "C5",
        part="plans alone help flat GAE",
        measured=told["plans, flat GAE"].final,
        baseline=told["commands, flat GAE"].final,
        note="The parts about GRPO, and about models that were not trained, were not tested.",
    )
    for rival in ("flat GAE", "GiGPO"):
        bench.claim(
            "C6",
            part=f"updates to 80 % success, three subtasks, against {rival}",
            measured=at_best[3]["HiPER"].updates_to_80,
            baseline=at_best[3][rival].updates_to_80,
            direction="less",
            note=start,
        )
    bench.claim(
        "C7",
        part="HiPER switches less late than early",
        measured=at_best[3]["HiPER"].late_switching,
        baseline=at_best[3]["HiPER"].early_switching,
        direction="less",
        note="Share of turns that switch, last quarter of training against the first.",
    )
    bench.verdicts()
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Take it home
    ```python
    from hierlab.credit import hiper

    advantage = hiper(rewards, task, trajectory, turn, switch, value_low, response_mask, value_high, value_switch,
                      action_mask, subgoal_mask, switch_mask)  # one number a token
    ```
    The estimate itself is two recurrences over turns; what it costs is a critic of three heads, trained alongside. It breaks where that
    critic is wrong, since every segment ends with a value and not with what really followed, and where the agent does not write its
    plan down: no switch and no subgoal field, and it is GAE inside one long segment.
    """)
    return


if __name__ == "__main__":
    app.run()
