"""HierVerb: a verbalizer for every level of a label tree, and two losses that tie the levels together. The lab of arXiv 2305.16885."""

import marimo

app = marimo.App(width="medium", app_title="HierVerb")

with app.setup:
    import marimo as mo


@app.cell
def parameters():
    scale = "reduced"  # smoke | reduced | full
    seeds = 0  # 0: as many as the scale asks for
    overrides = {}  # any field of Settings, e.g. {"epochs": 20}
    return overrides, scale, seeds


@app.cell
def _(overrides, scale, seeds):
    from dataclasses import dataclass
    from typing import Literal

    from hierlab.lab import Bench, setting, settings

    @dataclass(frozen=True)
    class Settings:
        encoder: str = setting("minilm", "what reads texts: minilm, bag, or at full scale a hub id or folder")
        data: str = setting("icd10", "what is filed: icd10, or a file of JSON lines with text and path")
        tune: Literal["head", "all"] = setting("head", "what is trained: transforms and label vectors, or the encoder as well")
        roots: int = setting(0, "file below the first so many roots only; 0: below all", least=0)
        pool: int = setting(10, "texts a leaf from which training sets are drawn", least=1)
        test: int = setting(6, "texts a leaf that are held out to be filed", least=1)
        shots: tuple[int, ...] = setting((1, 2, 4), "training texts a leaf", least=1)
        shot_seeds: int = setting(5, "seeds of the comparison over shots, at most", least=1)
        rates: tuple[float, ...] = setting((1e-3, 2e-3), "learning rates that every arm chooses its own from", above=0)
        epochs: int = setting(10, "passes over the training set (paper: 20)", least=1)
        batch: int = setting(40, "texts a step, each in two views (paper: 5)", least=1)
        truths: int = setting(5, "true distributions under the microscope", least=2)

    bench = Bench(
        "hierverb",
        settings(
            Settings,
            scale,
            overrides,
            smoke={
                "encoder": "bag",
                "roots": 3,
                "pool": 5,
                "test": 2,
                "shots": (1, 2),
                "rates": (3e-3,),
                "epochs": 2,
                "truths": 2,
            },
            full={
                "encoder": "google-bert/bert-base-uncased",
                "data": "wos.jsonl",
                "tune": "all",
                "pool": 200,
                "test": 20,
                "shots": (1, 2, 4, 8, 16),
                "rates": (5e-5,),
                "epochs": 20,
                "batch": 5,
            },
            seeds={"smoke": 1, "reduced": 10, "full": 3},
        ),
        seeds=seeds,
    )
    bench.paper()
    return (bench,)


@app.cell
def _(bench):
    import torch

    from hierlab.studies.taxonomy.few_shot_filing import excerpt, filing_task

    given = bench.settings
    torch.set_num_threads(1)
    task = filing_task(given.encoder, given.data, roots=given.roots, test=given.test, pool=given.pool)
    example = excerpt(task)
    return example, task, torch


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Step through
    Six texts from three chapters of ICD-10-CM, one from each of six sections, each in two views: twelve rows. A verbalizer was fitted on
    four other texts a section. Move the figure's own slider: each step is a quantity that the two losses recorded while they ran.
    """)
    return


@app.cell
def _():
    variant = mo.ui.radio({"paper": "paper", "released code": "official"}, value="paper", label="losses of")
    mixing = mo.ui.slider(0, 1, 0.25, value=1, label=r"$\beta$, how much children count (paper only)")
    decay = mo.ui.slider(0, 2, 0.5, value=1, label=r"$\alpha$, how much less a distant level counts")
    mo.hstack([variant, mixing, decay], wrap=True, justify="start")
    return decay, mixing, variant


@app.cell
def _(bench, decay, example, mixing, torch, variant):
    from hierlab.lab import stepper
    from hierlab.trace import Tape
    from hierlab.train.few_shot_loop import LoopSettings
    from hierlab.train.verbalizer import HierVerb

    tree, leaves = example.corpus.tree, example.corpus.leaves
    fitted = HierVerb(
        tree,
        None,
        names=example.starts[variant.value],
        variant=variant.value,
        mixing=mixing.value if variant.value == "paper" else None,
        decay=decay.value,
        loop=LoopSettings(rate=1e-3, label_rate=2e-3, epochs=6, batch=24),
    ).fit(example.states[list(example.pool)], [leaves[row] for row in example.pool])
    with Tape() as tape:
        fitted.losses(example.states[list(example.test)], [leaves[row] for row in example.test], torch.Generator().manual_seed(1))
    bench.figure(
        "stepper",
        stepper(tape, row_names=[f"{text}{view}" for text in "abcdef" for view in (1, 2)]),
        title="Inside HierVerb's losses, step by step",
        caption="Rows are six texts in two views each; columns of probabilities are labels, columns of cosines are rows again.",
        alt="Heat maps: probabilities of three chapters and six sections, what flows up the tree, which rows share a label, cosines.",
    )
    return LoopSettings, fitted, leaves, tree


@app.cell
def _(bench, example, fitted, leaves, tree):
    from hierlab.studies.taxonomy.filing_figures import flow

    filed_under = {row: fitted.predict(example.states[[row]])[0] for row in example.test}
    broken = [row for row, (chapter, section) in filed_under.items() if tree.parents[section] != chapter]
    shown = (broken or list(example.test))[0]
    above, below = fitted.predict_proba(example.states[[shown]])
    bench.figure(
        "flow",
        flow(tree, below[0].tolist(), above[0].tolist(), leaves[shown]),
        title="One text's probability, flowing up the tree",
        caption=f"“{example.corpus.texts[shown]}”: sections above, coloured by chapter; below, what they add up to beside what the "
        "chapters' own classifier says. ✓ marks the true path.",
        alt="Bars: probabilities of six sections; for three chapters their own probability and the sum over their sections.",
    )
    return


@app.cell
def _(bench, example, tree):
    from hierlab.studies.taxonomy.filing_figures import vector_map

    bench.figure(
        "label-vectors",
        vector_map(tree, {"paper": example.starts["paper"], "released code": example.starts["official"]}),
        title="Where label vectors start",
        caption="Large dots are chapters, small ones their sections, in one plane; the buttons swap the paper's start for the released.",
        alt="Three stars of label vectors: chapters among their sections in the paper's start, further out in the released one.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Microscope
    Truth is known here: probabilities written down for every leaf of a tree, and which rows share a label.

    ### What the chain asks for
    A loss is proper if the truth minimises its expectation. Expectations over the true leaf are sums, so this is computed.
    """)
    return


@app.cell
def _(bench):
    from hierlab.studies.taxonomy.chain_microscope import second_softmax

    bench.figure(
        "second-softmax",
        second_softmax(),
        title="One softmax or two",
        caption="Loss and gradient against the probability that the leaves give to the right one of 21 chapters.",
        alt="The paper's loss and gradient are large where the right chapter is improbable; the released ones are nearly flat throughout.",
    )
    return


@app.cell
def _(bench):
    from hierlab.studies.taxonomy.chain_microscope import minimisers

    bench.figure(
        "minimisers",
        minimisers(),
        title="The probability each chain asks for",
        caption="What minimises the expected loss, against the true probability of one of 21 chapters, the others sharing the rest.",
        alt="The paper's chain follows the diagonal; the released one jumps from zero to one.",
    )
    return


@app.cell
def _(bench):
    from hierlab.studies.taxonomy.chain_microscope import VARIANTS, properness, random_truth, star_tree

    star = star_tree(3, 2)
    proper = {
        _name: [properness(star, random_truth(star, _seed), _variant) for _seed in range(bench.settings.truths)]
        for _variant, _name in VARIANTS.items()
    }

    def _mean(found, what):
        return f"{sum(getattr(one, what) for one in found) / len(found):.3g}"

    _columns = {
        "expected gradient at the truth": "gradient",
        "distance of the minimum from the truth": "distance",
        "largest chapter, true": "largest_true",
        "largest chapter, at the minimum": "largest_found",
    }
    bench.table(
        "properness",
        ["chain", *_columns],
        [[name, *(_mean(found, what) for what in _columns.values())] for name, found in proper.items()],
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ### What the contrast does on its own
    Twelve random texts in two views, and nothing but the contrastive loss.
    """)
    return


@app.cell
def _(bench):
    from hierlab.studies.taxonomy.chain_microscope import contrast_figure

    bench.figure(
        "contrast-alone",
        contrast_figure(),
        title="The contrastive loss alone",
        caption="Mean cosine at the deepest mask of each kind of pair while the loss is descended in steps of one length.",
        alt="Two panels of four lines: views of a text, pairs of one leaf, of one root, and strangers, by either variant of the loss.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ### Metrics by hand
    Two chapters, *a* with two sections and *b* with three; what each way of counting makes of one prediction.
    """)
    return


@app.cell
def _(bench):
    from hierlab.taxonomy import LabelTree, constrained_f1, label_f1, path_f1

    toy = LabelTree.from_children({0: [2, 3], 1: [4, 5, 6]}, ["a", "b", "a1", "a2", "b1", "b2", "b3"])
    cases = {
        "right path": ([0, 2], [0, 2]),
        "right chapter, wrong section": ([0, 3], [0, 2]),
        "right section, wrong chapter": ([1, 2], [0, 2]),
        "another path": ([1, 4], [0, 2]),
        "right path and a stray section": ([0, 2, 5], [0, 2]),
        "two paths, both right": ([0, 2, 3], [0, 2, 3]),
        "nothing": ([], [0, 2]),
    }

    def counted(predicted, gold):
        paper, official = (path_f1(toy, [predicted], [gold], counting=_counting) for _counting in ("paper", "official"))
        scores = (label_f1(toy, [predicted], [gold]).micro, constrained_f1(toy, [predicted], [gold]).micro, paper.micro, official.micro)
        sets = [", ".join(toy.names[label] for label in labels) or "–" for labels in (predicted, gold)]
        return [*sets, *(f"{score:.2f}" for score in scores), f"{paper.gamma:.2f}", f"{official.gamma:.2f}"]

    bench.table(
        "metrics by hand",
        ["case", "predicted", "gold", "micro", "C-micro", "P-micro", "P-micro, released", "γ", "γ, released"],
        [[case, *counted(*sets)] for case, sets in cases.items()],
    )
    return


@app.cell
def _(bench):
    from hierlab.studies.taxonomy.filing_figures import penalty_curve

    bench.figure(
        "penalty",
        penalty_curve(),
        title="The price of labels without a path",
        caption="γ multiplies path F1. Where predicted paths share an ancestor, the released count is negative and γ exceeds 1.",
        alt="A falling curve: 1 at no invalid label, 0.54 at one per gold label, above 1 to the left of zero.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Experiment
    Inclusion terms of ICD-10-CM are filed under chapter and section. All arms read the same states of one encoder, learn from the same
    texts in the same two views, and choose their learning rate from the same grid (for each seed by the *other* seeds).

    1. **Shots**: HierVerb, its flat ablation, two classifiers on one state, and four baselines that are not trained by gradient.
    2. **Ablation** at the smallest number of shots: verbalizer, chain and contrast one by one, as in the paper and as released.
    """)
    return


@app.cell
def _(bench):
    button = bench.button()
    button
    return (button,)


@app.cell
def _(bench, button):
    def file_by_shots(arm, rate, seed, settings, report):
        from hierlab.studies.taxonomy.few_shot_filing import file_texts, filing_task
        from hierlab.train.few_shot_loop import LoopSettings

        work = filing_task(settings.encoder, settings.data, roots=settings.roots, test=settings.test, pool=settings.pool)
        loop = LoopSettings(rate=rate, label_rate=2 * rate, epochs=settings.epochs, batch=settings.batch)
        return file_texts(work, arm, settings.shots, loop=loop, seed=seed, tune=settings.tune, report=report)

    no_losses = {"kind": "hierverb", "chain": False, "contrast": False}
    prompted = {
        "SoftVerb": {**no_losses, "verbalizer": "flat"},
        "HierVerb": {"kind": "hierverb"},
        "HierVerb, as released": {"kind": "hierverb", "variant": "official"},
    }
    unprompted = {"flat sigmoids": {"kind": "labels"}, "leaf softmax": {"kind": "leaves"}}
    trivial = {
        "mask centroid": {"kind": "mask centroid"},
        "sentence centroid": {"kind": "centroid"},
        "TF-IDF centroid": {"kind": "tfidf"},
        "majority path": {"kind": "majority"},
    }
    # The flat classifiers read kept states; beside a tuned encoder they would compare two things at once.
    arms = {**prompted, **(unprompted if bench.settings.tune == "head" else {}), **trivial}
    shots = bench.compare(
        "shots",
        arms,
        train=file_by_shots,
        rates=bench.settings.rates,
        choose_by="mean_macro_f1",
        seeds=bench.settings.shot_seeds,
        run=button.value,
    )
    shots
    return no_losses, shots


@app.cell
def _(bench, shots):
    def over_shots(metric, title):
        drawn = shots.plot(x="shots", y=metric, rate="best").update_layout(legend={"y": -0.24}, height=480)
        return drawn.update_yaxes(title=title).update_xaxes(title="training texts a section", tickvals=list(bench.settings.shots))

    bench.figure(
        "shots",
        over_shots("macro_f1_curve", "macro F1"),
        title="Macro F1 by number of shots",
        caption="Each arm at its own best learning rate: mean over seeds with 95 % intervals.",
        alt="Nine arms rise with the number of shots; how far HierVerb is above its flat ablation at one shot is what the paper is about.",
    )
    return (over_shots,)


@app.cell
def _(bench, over_shots):
    bench.figure(
        "consistency",
        over_shots("consistency_curve", "share of texts"),
        title="Predictions that form a path",
        caption="Share of texts whose predicted section lies in the predicted chapter: mean over seeds with 95 % intervals.",
        alt="Arms that read the chapter off the section are always consistent; arms that ask every level on its own are not.",
    )
    return


@app.cell
def _(bench, button, no_losses):
    def file_one_size(arm, rate, seed, settings, report):
        from hierlab.studies.taxonomy.few_shot_filing import file_texts, filing_task
        from hierlab.train.few_shot_loop import LoopSettings

        work = filing_task(settings.encoder, settings.data, roots=settings.roots, test=settings.test, pool=settings.pool)
        loop = LoopSettings(rate=rate, label_rate=2 * rate, epochs=settings.epochs, batch=settings.batch)
        return file_texts(work, arm, settings.shots[:1], loop=loop, seed=seed, tune=settings.tune, report=report)

    parts = {"no losses": (False, False), "chain": (True, False), "contrast": (False, True), "both": (True, True)}
    ablated = {"flat": {**no_losses, "verbalizer": "flat"}} | {
        f"levels, {words}{suffix}": {"kind": "hierverb", "chain": chain, "contrast": contrast, "variant": kind}
        for kind, suffix in (("paper", ""), ("official", ", released"))
        for words, (chain, contrast) in parts.items()
    }
    ablation = bench.compare(
        "ablation", ablated, train=file_one_size, rates=bench.settings.rates, choose_by="mean_macro_f1", run=button.value
    )
    ablation
    return (ablation,)


@app.cell
def _(ablation, bench):
    from hierlab.studies.taxonomy.filing_figures import bars

    fewest = bench.settings.shots[0]
    bench.figure(
        "ablation",
        bars(ablation, {f"macro_f1_{fewest}": "macro F1", f"p_micro_f1_{fewest}": "path micro F1", f"consistency_{fewest}": "consistency"}),
        title="What each part adds",
        caption="Mean over seeds and 95 % interval, each arm at its own best learning rate, with the fewest training texts.",
        alt="Nine arms by macro F1, path micro F1 and consistency: flat, four of the paper's variant, four of the released one.",
    )
    return (fewest,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Verdicts
    Computed from the numbers above. A claim of several parts holds only if all of them do.
    """)
    return


@app.cell
def _(ablation, bench, fewest, shots):
    best = {arm: shots.best(arm) for arm in shots.arms}
    ours, most = best["HierVerb"], bench.settings.shots[-1]
    rivals = [arm for arm in ("SoftVerb", "flat sigmoids", "leaf softmax", "mask centroid") if arm in best]

    def strongest(metric):
        """Each seed's best number among the arms that read the same states."""
        return [max(values) for values in zip(*(best[arm][metric] for arm in rivals), strict=True)]

    for _k in bench.settings.shots:
        for _metric, _words in (("micro_f1", "micro F1"), ("macro_f1", "macro F1")):
            bench.claim(
                "C1",
                part=f"{_k}-shot {_words}",
                measured=ours[f"{_metric}_{_k}"],
                baseline=strongest(f"{_metric}_{_k}"),
                note="HPT is not run. Held, seed by seed, against the best of the other arms that read the states at the masks.",
            )
            bench.claim(
                "C1",
                part=f"{_k}-shot {_words}, sentence vectors",
                measured=ours[f"{_metric}_{_k}"],
                baseline=best["sentence centroid"][f"{_metric}_{_k}"],
                note="Held against nearest centroids of the encoder's sentence vectors, which it was trained to give.",
            )
    bench.not_tested("C2", "The texts of DBPedia and RCV1-V2 are in no package; the lab takes them as a file at full scale.")

    def gap(k):
        return [a - b for a, b in zip(ours[f"macro_f1_{k}"], best["SoftVerb"][f"macro_f1_{k}"], strict=True)]

    bench.claim(
        "C3",
        part=f"the lead over the flat verbalizer, {most} shots against {fewest}",
        measured=gap(most),
        baseline=gap(fewest),
        direction="less",
        note="Macro F1. That it disappears on full data is not tested.",
    )
    for _metric, _words in (("p_micro_f1", "P-micro"), ("p_macro_f1", "P-macro"), ("c_micro_f1", "C-micro"), ("c_macro_f1", "C-macro")):
        bench.claim(
            "C4",
            part=f"{_words}, over the flat verbalizer",
            measured=ours[f"{_metric}_{fewest}"],
            baseline=best["SoftVerb"][f"{_metric}_{fewest}"],
            note=f"{fewest} shot. HPT is not run; arms that read the chapter off the section are consistent by construction.",
        )
    _macro = f"macro_f1_{fewest}"
    flat = ablation.best("flat")[_macro]
    for _suffix, _whose in (("", "paper"), (", released", "released code")):
        bare, both = (ablation.best(f"levels, {_which}{_suffix}")[_macro] for _which in ("no losses", "both"))
        bench.claim("C5", part=f"{_whose}: a verbalizer a level", measured=bare, baseline=flat)
        bench.claim("C5", part=f"{_whose}: the two losses", measured=both, baseline=bare)
        bench.claim(
            "C5",
            part=f"{_whose}: the verbalizer brings more",
            measured=[b - f for b, f in zip(bare, flat, strict=True)],
            baseline=[a - b for a, b in zip(both, bare, strict=True)],
        )
    bench.not_tested("C6", "One encoder is compared; bert-large needs a GPU.")
    bench.verdicts()
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Take it home
    ```python
    from hierlab.taxonomy import LabelTree, tree_metrics
    from hierlab.train.verbalizer import HierVerb

    tree = LabelTree.from_paths(paths)
    model = HierVerb(tree, "minilm").fit(texts, leaves)  # or "google-bert/bert-base-uncased", train="all"
    model.predict(new_texts)  # one label a level
    ```
    Every level has its own classifier, so a prediction may be no path: look at `consistency` and at path F1, and hold it against a softmax
    over leaves, which is consistent for free. It breaks where label names say nothing: label vectors start from their words.
    """)
    return


if __name__ == "__main__":
    app.run()
