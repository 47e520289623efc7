"""Ranking accuracy: does a policy trained on preferences rank as it was told? The lab of arXiv 2405.19534."""

import marimo

app = marimo.App(width="medium", app_title="Ranking accuracy")

with app.setup:
    import marimo as mo


@app.cell
def parameters():
    scale = "reduced"  # smoke | reduced | full
    seeds = 0  # 0: as many as the scale asks for
    overrides = {}  # any field of Settings, e.g. {"epochs": 4}
    return overrides, scale, seeds


@app.cell
def _(overrides, scale, seeds):
    from dataclasses import dataclass
    from typing import Literal

    from hierlab.lab import Bench, setting, settings

    @dataclass(frozen=True)
    class Settings:
        draws: int = setting(5000, "random pairs on which the theorems are tried, a seed", least=10)
        tables: int = setting(20, "random prompts whose optimum is found by training a table, a seed", least=1)
        pairs: int = setting(1000, "comparisons to train on in the language of topics", least=8)
        held_out: int = setting(400, "comparisons to measure on", least=8)
        imitation_steps: int = setting(200, "steps of the fine-tuning that makes the reference", least=1)
        texts: int = setting(32, "texts a topic whenever policy and reference are compared", least=2)
        epochs: float = setting(2.0, "passes over the comparisons", above=0)
        rates: tuple[float, ...] = setting((3e-4, 1e-3), "learning rates of RMSprop that every arm chooses its own from", above=0)
        beta: float = setting(0.1, "how strongly policies are held to the reference, where arms do not say otherwise", above=0)
        chat: Literal["off", "answers", "file"] = setting("answers", "a real model on its own answers, or on the pairs of a file")
        model: str = setting("smollm2-135m", "the real model: smollm2-135m, a hub id or a folder")
        pairs_file: str = setting("", "chat=file: JSON lines with prompt, chosen, rejected, and perhaps agreement")
        requests: int = setting(12, "requests to the real model, a seed", least=1, most=24)
        samples: int = setting(4, "answers to each, an even number", least=2)
        tokens: int = setting(24, "an answer is cut after so many tokens", least=1)
        chat_pairs: int = setting(1000, "chat=file: pairs to read, at most", least=1)
        chat_epochs: float = setting(1.0, "passes of the real model over its pairs", least=0)
        chat_batch: int = setting(4, "pairs an optimiser step of the real model", least=1)
        chat_rate: float = setting(2e-6, "its learning rate", above=0)
        chat_seeds: int = setting(2, "seeds of the real model, at most", least=1)

    bench = Bench(
        "preference-ranking",
        settings(
            Settings,
            scale,
            overrides,
            smoke={
                "draws": 50,
                "tables": 2,
                "pairs": 64,
                "held_out": 40,
                "imitation_steps": 5,
                "texts": 4,
                "epochs": 1.0,
                "rates": (1e-3,),
                "chat": "off",
            },
            full={
                "chat": "file",
                "model": "EleutherAI/pythia-2.8b",
                "pairs_file": "hh-rlhf.jsonl",
                "chat_pairs": 160_000,
                "chat_epochs": 5.0,
                "chat_batch": 64,
                "chat_rate": 1e-6,
                "chat_seeds": 3,
            },
            seeds={"smoke": 1, "reduced": 5, "full": 3},
        ),
        seeds=seeds,
    )
    bench.paper()
    return (bench,)


@app.cell
def _(bench):
    from pathlib import Path

    from hierlab.lab.errors import Refused

    if bench.settings.chat == "file" and not Path(bench.settings.pairs_file).is_file():
        raise Refused(
            f"chat=file reads comparisons from {bench.settings.pairs_file or 'a file'}, which is not there: write JSON lines with prompt, "
            "chosen and rejected (for HH-RLHF: hf download Anthropic/hh-rlhf --repo-type dataset), and add --set pairs_file=PATH"
        )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Step through
    Twelve pairs of texts in a language of four topics, read by a tiny model before and after DPO. Move the figure's own slider: first the
    log-probability of every token, then what `ideal_margin`, `dpo`, `dpo_threshold` and `ranked_right` recorded while they ran. A pair
    is ranked correctly exactly where its loss is at most *the loss at which the ranking turns*.
    """)
    return


@app.cell
def _():
    beta = mo.ui.slider(0.05, 1, 0.05, value=0.1, label=r"$\beta$")
    gamma = mo.ui.slider(0, 2, 0.25, value=1, label=r"$\gamma$, weight of the reference")
    stage = mo.ui.radio(["reference", "after DPO"], value="after DPO", label="policy")
    likelihood = mo.ui.radio(["whole answers", "per token"], value="whole answers", label="likelihood of")
    mo.hstack([beta, gamma, stage, likelihood], wrap=True, justify="start")
    return beta, gamma, likelihood, stage


@app.cell
def _(bench):
    from functools import partial

    from hierlab.preference import dpo
    from hierlab.train.topic_preferences import TopicSettings, topic_task, train_on_topics

    def topics_of(settings):
        chosen = {name: getattr(settings, name) for name in ("pairs", "held_out", "imitation_steps", "texts", "beta")}
        return TopicSettings(**chosen)

    before = topic_task(topics_of(bench.settings), 0)
    example = train_on_topics(
        topic_task(topics_of(bench.settings), 0),
        partial(dpo, beta=bench.settings.beta),
        rate=bench.settings.rates[-1],
        epochs=bench.settings.epochs,
    )
    return before, dpo, example, partial, topic_task, topics_of, train_on_topics


@app.cell
def _(before, bench, beta, dpo, example, gamma, likelihood, stage):
    from hierlab.lab import stepper
    from hierlab.preference import difficulty, dpo_threshold, ideal_margin, ranked_right
    from hierlab.trace import Tape, show
    from hierlab.train.topic_preferences import token_scores

    shown = before.held_out_pairs[:12]
    scores = {name: token_scores(task.policy.model, shown) for name, task in {"reference": before, "after DPO": example.task}.items()}

    def answers(name):
        whole = [x.nansum(dim=1).double() for x in scores[name]]
        lengths = [(~x.isnan()).sum(dim=1) for x in scores[name]]
        return whole if likelihood.value == "whole answers" else [x / n for x, n in zip(whole, lengths, strict=True)]

    hardness = difficulty(*answers("reference"))
    with Tape() as tape:
        show("tokens of the preferred answers", scores[stage.value][0], r"\log\pi(y_{w,t})")
        show("tokens of the other answers", scores[stage.value][1], r"\log\pi(y_{l,t})")
        ideal_margin(*answers("reference"), before.held_out.agreement[: len(shown)], beta=beta.value)
        dpo(*answers(stage.value), *answers("reference"), beta=beta.value, gamma=gamma.value)
        dpo_threshold(hardness, beta=beta.value, gamma=gamma.value)
        ranked_right(*answers(stage.value))
    bench.figure(
        "stepper",
        stepper(tape, row_names=[f"p{number}" for number in range(1, len(shown) + 1)]),
        title="Twelve pairs, from tokens to rankings",
        caption="One bar a pair, in nats; the first two steps show every token. Slide through the quantities in their order.",
        alt="Log-probabilities of tokens, difficulty, scores, margin and loss of twelve pairs, the loss at which each ranking turns, "
        "which are ranked correctly, and the margin of the perfect optimum.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Microscope
    ### The theorems
    Random pairs with margins and difficulties of tens of nats, and tables of logits trained by DPO on what raters would say, held against
    the formulas.
    """)
    return


@app.cell
def _(bench):
    from hierlab.studies.preference.ranking_theorems import exceptions, optimum_error

    tried = [exceptions(bench.settings.draws, seed) for seed in bench.seeds]
    errors = [optimum_error(bench.settings.tables, beta=bench.settings.beta, seed=seed) for seed in bench.seeds]
    says = {
        "Theorem 4.1": "ranked correctly if and only if the loss is at most −log σ(βc)",
        "Proposition 2.6": "reference right and loss at most 0.6: ranked correctly",
        "Proposition A.7, sure": "IPO loss at most (1/2τ − c)²: ranked correctly",
        "Proposition A.7, hopeless": "c above 1/2τ: ranked wrongly at an IPO loss of 0",
    }
    bench.table(
        "theorems",
        ["statement", "what it says", "tried on", "exceptions"],
        [
            [
                "Theorem 3.1",
                "training on all pairs reaches m* = −c + logit(α)/β",
                f"{bench.settings.tables * len(bench.seeds)} prompts",
                f"largest error {max(errors):.0e} nats",
            ],
            *([name, says[name], f"{sum(t[name][0] for t in tried)} pairs", str(sum(t[name][1] for t in tried))] for name in says),
        ],
    )
    return errors, tried


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ### How hard the pairs are, and what the perfect optimum would rank
    In the language of topics the probability $\alpha$ with which raters prefer an answer is known, not estimated. The perfect optimum
    ranks a pair correctly where $\alpha>\sigma(\beta c)$: above the line.
    """)
    return


@app.cell
def _(before, bench):
    from hierlab.preference.ranking_accuracy import BETAS
    from hierlab.studies.preference.ranking_figures import difficulty_plane

    bench.figure(
        "difficulty-plane",
        difficulty_plane((before.reference[1] - before.reference[0])[:200].tolist(), before.held_out.agreement[:200].tolist(), BETAS),
        title="Which pairs a perfect optimiser would rank correctly",
        caption="A dot is a held-out pair: how wrongly the reference ranks it, and how likely raters are to prefer the chosen answer. "
        "Slide through β: the boundary steepens, until the reference alone decides.",
        alt="Pairs spread over tens of nats; the boundary is a sigmoid that turns into a step at difficulty 0 as beta grows.",
    )
    return (BETAS,)


@app.cell
def _(BETAS, before, bench):
    from hierlab.preference import ideal_accuracies

    known = [x.double() for x in before.reference], before.held_out.agreement
    idealised = {
        "plain likelihoods": ideal_accuracies(*known),
        "likelihoods per token": ideal_accuracies(*known, before.tokens),
        "plain, ratio as released": ideal_accuracies(*known, variant="official"),
    }
    bench.table(
        "idealised",
        ["ranked by", *(f"β = {beta:g}" for beta in BETAS)],
        [[name, *(f"{found[beta]:.3f}" for beta in BETAS)] for name, found in idealised.items()],
    )
    return


@app.cell
def _(bench, example):
    from hierlab.studies.preference.ranking_figures import turning_losses

    hard = (example.task.reference[1] - example.task.reference[0]).tolist()
    shown_stages = sorted({0, example.best, len(example.seen) - 1, *range(0, len(example.seen), 4)})
    names = {number: f"step {example.seen[number]['step']:g}" for number in shown_stages}
    bench.figure(
        "turning-losses",
        turning_losses(hard, {names[number]: example.margins[number].tolist() for number in shown_stages}, beta=bench.settings.beta),
        title="The loss of a pair, and the loss that would turn its ranking",
        caption="A dot is a held-out pair. Below the line it is ranked correctly, above it wrongly. Slide through the training.",
        alt="All pairs start at a loss of log 2. Training lowers most of them a little; hard pairs, at the right, stay far above the line.",
    )
    return (turning_losses,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Experiment
    1. **The language of topics**: a tiny model, fine-tuned on the preferred answers, is trained by DPO at three $\beta$ and four $\gamma$,
       and, as the baseline that knows nothing of comparisons, by more of the same fine-tuning. Every arm chooses its own learning rate by
       its own held-out loss, and counts at the checkpoint where that is lowest, as in the paper; what it has at the end stands beside it.
    2. **A real model**: SmolLM2-135M-Instruct answers requests, its answers are compared by a known utility, and it is trained by DPO on
       these comparisons. At full scale: a model and comparisons of your own.
    """)
    return


@app.cell
def _(bench):
    button = bench.button()
    button
    return (button,)


@app.cell
def _(bench, button, dpo, partial, topic_task, topics_of, train_on_topics):
    from hierlab.preference import sft

    def train_topics(arm, rate, seed, settings, report, scratch):
        from hierlab.train.topic_preferences import topic_values

        task = topic_task(topics_of(settings), seed)
        return topic_values(train_on_topics(task, arm, rate=rate, epochs=settings.epochs, report=report, folder=scratch))

    strength = bench.settings.beta
    topic_arms = {
        "DPO": partial(dpo, beta=strength),
        "DPO, β / 2": partial(dpo, beta=strength / 2),
        "DPO, 5 β": partial(dpo, beta=5 * strength),
        "γ = 0": partial(dpo, beta=strength, gamma=0.0),
        "γ = 0.5": partial(dpo, beta=strength, gamma=0.5),
        "γ = 2": partial(dpo, beta=strength, gamma=2.0),
        "SFT only": sft,
    }
    topics = bench.compare(
        "topics", topic_arms, train=train_topics, rates=bench.settings.rates, choose_by="held_out_loss", lower=True, run=button.value
    )
    topics
    return (topics,)


@app.cell
def _(bench, topics):
    from hierlab.studies.preference.ranking_figures import curves_of

    followed = {"rewarded": "reward accuracy", "accuracy": "ranking accuracy", "flips": "wrong rankings flipped"}
    bench.figure(
        "two-accuracies",
        curves_of(topics, "DPO", "steps", followed, title="steps"),
        title="Reward accuracy is not ranking accuracy",
        caption="DPO on held-out pairs: mean over seeds with 95 % intervals.",
        alt="Reward accuracy rises from 0 well above one half within a few steps; ranking accuracy hardly moves, and few rankings flip.",
    )
    return (curves_of,)


@app.cell
def _(bench, example):
    from hierlab.studies.preference.ranking_figures import group_areas
    from hierlab.train.topic_preferences import GROUPS

    legends = dict(zip(GROUPS, ("right, still right", "right, now wrong", "wrong, now right", "wrong, still wrong"), strict=True))
    bench.figure(
        "four-groups",
        group_areas(
            [record["step"] for record in example.seen],
            {legends[name]: [record[f"{name}_share"] for record in example.seen] for name in GROUPS},
        ),
        title="What becomes of the pairs",
        caption="One seed of DPO: held-out pairs by what the reference ranked, and what the policy ranks now.",
        alt="Four bands over the steps of training: the bands of pairs that stay as they were are wide, the two that change are thin.",
    )
    return


@app.cell
def _(bench, topics):
    from hierlab.studies.preference.ranking_figures import arm_dots

    bench.figure(
        "flips",
        arm_dots(
            topics, {"flipped": "flipped, lowest loss", "end_flipped": "flipped, end", "unlearned": "unlearned, lowest loss"}, title="share"
        ),
        title="Rankings that each loss turned",
        caption="Of the pairs that the reference ranks wrongly, how many are right; of those it ranks rightly, how many are wrong.",
        alt="Shares of flipped and unlearned rankings for seven arms, with 95 % intervals.",
    )
    return


@app.cell
def _(bench, curves_of, topics):
    bench.figure(
        "distance",
        curves_of(
            topics,
            "DPO",
            "moved",
            {"won": "win rate over the reference", "accuracy": "ranking accuracy"},
            title="squared distance of weights",
        ),
        title="Ranking accuracy and win rate along the way",
        caption="DPO: mean over seeds with 95 % intervals, against the mean squared distance from the reference.",
        alt="Win rate and ranking accuracy against the squared distance of the policy's weights from the reference's.",
    )
    return


@app.cell
def _(bench, button, dpo, partial):
    def train_chat(arm, seed, settings, report, scratch):
        from hierlab.train.chat_preferences import chat_task, file_task, train_on_chat

        if settings.chat == "file":
            task = file_task(settings.model, settings.pairs_file, most=settings.chat_pairs)
        else:
            task = chat_task(settings.model, prompts=settings.requests, samples=settings.samples, tokens=settings.tokens, seed=seed)
        amounts = {"rate": settings.chat_rate, "epochs": settings.chat_epochs, "batch": settings.chat_batch, "beta": settings.beta}
        return train_on_chat(task, arm, **amounts, seed=seed, report=report, folder=scratch)

    chat = None
    if bench.settings.chat != "off":
        chat_arms = {"DPO, real model": partial(dpo, beta=bench.settings.beta)}
        chat = bench.compare("real model", chat_arms, train=train_chat, seeds=bench.settings.chat_seeds, run=button.value)
    chat
    return (chat,)


@app.cell
def _(bench, chat, turning_losses):
    if chat is not None:
        tuned = chat.best("DPO, real model")
        spread = [c for values in tuned.difficulty for c in values]
        bench.figure(
            "real-model",
            turning_losses(spread, {"after DPO": [m for values in tuned.margin for m in values]}, beta=bench.settings.beta),
            title="The same picture in a real model",
            caption="A dot is a pair that the model was trained on, after training. Below the line it is ranked correctly.",
            alt="Pairs of a real model spread over tens of nats; losses of hard pairs have fallen, but not below the line that turns them.",
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
def _(bench, chat, topics):
    plain, half, none = (topics.best(arm) for arm in ("DPO", "γ = 0.5", "γ = 0"))
    bench.claim("C1", part="topics", measured=plain.ranking_accuracy, baseline=0.6, direction="less")
    bench.claim(
        "C2",
        part="topics",
        measured=plain.ideal_accuracy,
        baseline=plain.ranking_accuracy,
        margin=0.19,
        note="Far more is taken to mean at least 19 points, the smallest gap that the paper reports; same β for optimum and training.",
    )
    bench.claim(
        "C3", part="flips", measured=plain.flipped, baseline=0.15, direction="less", note="Rarely is taken to mean fewer than 15 %."
    )
    bench.claim("C3", part="rewards tell pairs apart", measured=plain.reward_accuracy, baseline=0.65)
    bench.claim(
        "C3",
        part="margins grow in three groups",
        measured=plain.grown_margins,
        baseline=0.0,
        note="The smallest mean reward margin of the three groups; where a margin grows from 0, the loss falls from log 2.",
    )
    bench.claim(
        "C4", part="difficulty against loss", measured=plain.auc_difficulty, baseline=plain.auc_loss, note="Area under the curve of each."
    )
    bench.claim("C4", part="difficulty alone", measured=plain.auc_difficulty, baseline=0.95)
    bench.claim("C4", part="hard pairs are longer", measured=plain.hard_length, baseline=plain.other_length)
    bench.claim("C4", part="hard pairs are more ambiguous", measured=plain.hard_disagreement, baseline=plain.other_disagreement)
    for name, arm in {"γ = 0.5": half, "γ = 0": none}.items():
        bench.claim("C5", part=f"{name}, lowest loss", measured=arm.flipped, baseline=plain.flipped)
        bench.claim("C5", part=f"{name}, end of training", measured=arm.end_flipped, baseline=plain.end_flipped)
    bench.claim("C6", part="near the reference", measured=plain.together_near, baseline=0.0)
    bench.claim(
        "C6",
        part="far from it",
        measured=plain.together_far,
        baseline=0.0,
        direction="less",
        note="Correlation of ranking accuracy and exact win rate over the evaluations below and above the median distance.",
    )
    bench.claim(
        "C7",
        part="topics",
        measured=plain.solved_but_wrong,
        baseline=0.0,
        direction="within",
        margin=1e-9,
        note="The share of exceptions, which the proposition says is 0.",
    )
    if chat is not None:
        real = chat.best("DPO, real model")
        before_training = [x for values in real.reference_right_of_request for x in values]
        after, ideal = ([x for values in real[name] for x in values] for name in ("right_of_request", "ideal_of_request"))
        bench.claim("C1", part="real model, as it comes", measured=before_training, baseline=0.6, direction="less", over="requests")
        bench.claim("C2", part="real model", measured=ideal, baseline=after, margin=0.19, over="requests")
    return


@app.cell
def _(bench, tried):
    bench.claim(
        "C7",
        part="random pairs",
        measured=[found["Proposition 2.6"][1] / max(1, found["Proposition 2.6"][0]) for found in tried],
        baseline=0.0,
        direction="within",
        margin=1e-9,
    )
    bench.verdicts()
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Take it home
    ```python
    from hierlab.preference import difficulty, dpo_threshold, ranking_changes

    c = difficulty(reference_chosen, reference_rejected)  # before any training: which pairs will not flip
    dpo_threshold(c, beta=0.1)  # the loss each would have to reach
    ranking_changes(chosen, rejected, reference_chosen, reference_rejected)  # what training did
    ```
    It costs one forward pass of the reference, which DPO makes anyway. Report ranking accuracy beside reward accuracy: they are
    different things, and a trainer's log has the second only. It says nothing about how good the policy's own answers are: a policy may
    win without ranking the answers of others.
    """)
    return


if __name__ == "__main__":
    app.run()
