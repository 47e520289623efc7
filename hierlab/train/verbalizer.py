r"""HierVerb as a classifier: fit it on a handful of texts a path, ask it for a label on every level (arXiv 2305.16885).

A text becomes the prompt "It was 1 level: [MASK] 2 level: [MASK]. {text}"; the state at each mask is scored against the label vectors
of its level (`hierlab.taxonomy.verbalizer`). The loss is $\mathcal L_C+\lambda_1\mathcal L_{HCC}+\lambda_2\mathcal L_{FHC}$.

Two ways to train. `train="all"` is the paper's: the encoder is tuned, its own dropout makes the two views of a text, and the contrast
acts on its states at the masks. `train="head"` leaves the encoder as it is, so that each text is encoded once; the transforms and label
vectors are trained on the kept states, dropout on these makes the views, and the contrast acts on the transformed states, which are what
can still move. That is our choice for machines without a GPU, not the paper's method in full.

Of the released code (1KE-JI/HierVerb) the official variant takes the losses and the start of the label vectors. It does not take what
looks like oversights: there, biases and norms are never trained (a generator of parameters is used up by the first of two lists), and
the label vectors of all levels but the first are in no optimiser. Nor does it add 0.001 of a masked-language-model loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from hierlab.checks import check_choice, check_range
from hierlab.models.bag_encoder import BagEncoder
from hierlab.models.sentence_encoder import SentenceEncoder, at_masks, load_encoder
from hierlab.seeds import derive_seed, generator
from hierlab.taxonomy.constraint_chain import constraint_chain, level_loss
from hierlab.taxonomy.flat_contrast import flat_contrast
from hierlab.taxonomy.label_tree import LabelTree
from hierlab.taxonomy.level_labels import several_paths, single_path
from hierlab.taxonomy.verbalizer import Kind, Verbalizer, label_vectors
from hierlab.train.few_shot_loop import LoopSettings, train_epochs

Variant = Literal["paper", "official"]
Training = Literal["head", "all"]
Inputs = Sequence[str] | Tensor


def prompt(text: str, depth: int, mask: str) -> str:
    """The paper's template with one mask a level, before the text."""
    levels = " ".join(f"{level + 1} level: {mask}" for level in range(depth))
    return f"It was {levels}. {text}"


class HierVerb(BaseEstimator):
    r"""A few-shot classifier into a label tree.

    Args:
        tree: the labels.
        encoder: an encoder, or the name of one (see `load_encoder`); None if it is fitted on states and `names` is given.
        names: [V, H] where the label vectors start; None: the encoder's input embeddings of the names' word pieces, pooled over the tree
            as the variant has it.
        variant: "paper" or "official": of both losses and of how label vectors start.
        verbalizer: "levels", one a level (the method), or "flat", one for all levels (the ablation).
        train: "head" or "all", see above.
        chain: whether the constraint chain is part of the loss.
        contrast: whether the contrastive loss is.
        multi_path: whether a text may have several labels a level, each predicted where its probability is above one half.
        chain_weight: $\lambda_1$.
        contrast_weight: $\lambda_2$.
        mixing: $\beta$; None: as in `constraint_chain`.
        decay: $\alpha$.
        dropout: share of a kept state's numbers set to 0, with `train="head"`.
        loop: rates, epochs, batch; None: `LoopSettings()`.
        device: where an encoder given by name is loaded; None: on a GPU if there is one and it is to be tuned, else on the CPU.
        random_state: seeds weights, order and dropout.

    Attributes:
        encoder_: the encoder; with `train="all"` a tuned copy.
        verbalizer_: the fitted transforms and label vectors.
        centre_, spread_: [D, H] mean and deviation of the training states, by which states are standardised (`train="head"`).
        loss_curve_: mean loss of each epoch.
    """

    def __init__(
        self,
        tree: LabelTree,
        encoder: SentenceEncoder | BagEncoder | str | None = "minilm",
        *,
        names: Tensor | None = None,
        variant: Variant = "paper",
        verbalizer: Kind = "levels",
        train: Training = "head",
        chain: bool = True,
        contrast: bool = True,
        multi_path: bool = False,
        chain_weight: float = 1.0,
        contrast_weight: float = 0.01,
        mixing: float | None = None,
        decay: float = 1.0,
        dropout: float = 0.1,
        loop: LoopSettings | None = None,
        device: str | None = None,
        random_state: int = 0,
    ):
        self.tree, self.encoder, self.names, self.variant, self.verbalizer, self.train = tree, encoder, names, variant, verbalizer, train
        self.chain, self.contrast, self.multi_path = chain, contrast, multi_path
        self.chain_weight, self.contrast_weight, self.mixing, self.decay = chain_weight, contrast_weight, mixing, decay
        self.dropout, self.loop, self.device, self.random_state = dropout, loop, device, random_state

    def fit(self, X: Inputs, y: Sequence[int] | Sequence[Iterable[int]], report: Callable[..., None] | None = None) -> HierVerb:
        """Train on labelled texts.

        Args:
            X: N texts; or, with `train="head"`, their states at the masks [N, D, H].
            y: [N] the leaf of each text, on the deepest level; with `multi_path` all labels of each text.
            report: called with the epochs done and their number.

        Raises:
            ValueError: if a switch has an unknown value, X and y do not fit together or the tree, or there is nothing to fit on.
            FloatingPointError: if training diverges.
        """
        self._check(X, y)
        self.encoder_ = self._loaded(X)
        device = X.device if isinstance(X, Tensor) else self.encoder_.device
        labels = (several_paths if self.multi_path else single_path)(self.tree, y, device=device)
        self.verbalizer_ = self._drawn().to(device).train()
        network = [self.verbalizer_.transforms]
        if self.train == "all":
            network.append(self.encoder_.model.train())
        else:
            kept = self._kept_states(X)
            self.centre_, self.spread_ = kept.mean(0), kept.std(0, correction=0).clamp(min=1e-6)
            kept = self._standardised(kept)

        def loss(batch: Tensor, drawing: torch.Generator) -> Tensor:
            twice = batch.repeat_interleave(2)  # two views of a text, in neighbouring rows
            states = self._tuned_states([X[i] for i in twice.tolist()]) if self.train == "all" else kept[twice]
            return self._loss(states, [column[twice.to(device)] for column in labels], drawing)

        settings = self.loop or LoopSettings()
        with torch.random.fork_rng():  # a tuned encoder draws its dropout from the global generator
            torch.manual_seed(derive_seed("verbalizer", "encoder", self.random_state))
            self.loss_curve_ = train_epochs(network, self.verbalizer_.labels, loss, len(y), settings, self.random_state, report)
        self.verbalizer_.eval()
        if self.train == "all":
            self.encoder_.model.eval()
        return self

    def predict_proba(self, X: Inputs) -> list[np.ndarray]:
        """The probabilities of every level's labels: D arrays [N, l_d], whose columns are `tree.levels[d]`.

        Levels are independent of each other: that they agree is not built in.

        Raises:
            ValueError: if it has not been fitted, or X does not fit.
        """
        states = self._states(X)
        with torch.no_grad():
            logits = self.verbalizer_.scores(self.verbalizer_(states)[0])
        return [(z.sigmoid() if self.multi_path else z.softmax(-1)).cpu().numpy() for z in logits]

    def predict(self, X: Inputs) -> list[tuple[int, ...]]:
        """The predicted labels of each text: the most probable one of each level, or with `multi_path` all above one half.

        Raises:
            ValueError: as `predict_proba`.
        """
        proba = self.predict_proba(X)
        if self.multi_path:
            marks = np.concatenate([p > 0.5 for p in proba], axis=1)
            order = [label for level in self.tree.levels for label in level]
            return [tuple(order[i] for i in np.flatnonzero(row)) for row in marks]
        best = [np.asarray(level)[p.argmax(1)] for level, p in zip(self.tree.levels, proba, strict=True)]
        return [tuple(map(int, labels)) for labels in zip(*best, strict=True)]

    def losses(self, X: Inputs, y: Sequence, drawing: torch.Generator | None = None) -> dict[str, Tensor]:
        """The parts of the loss as in training, each text in two views: "levels", "chain" and "contrast", unweighted.

        Args:
            X: N texts or states, each once.
            y: as in `fit`.
            drawing: draws the dropout that makes the views; None: there is none, and both views are equal.

        Raises:
            ValueError: if it has not been fitted, or X and y do not fit.
        """
        self._check(X, y)
        states = self._states(X)
        labels = (several_paths if self.multi_path else single_path)(self.tree, y, device=states.device)
        self.verbalizer_.train(drawing is not None)
        parts = self._parts(states.repeat_interleave(2, 0), [column.repeat_interleave(2, 0) for column in labels], drawing)
        self.verbalizer_.eval()
        return parts

    def _parts(self, states: Tensor, labels: Sequence[Tensor], drawing: torch.Generator | None) -> dict[str, Tensor]:
        logits, hidden = self.verbalizer_(states, drawing)
        scores = self.verbalizer_.scores(logits)
        parts = {"levels": self._classified(logits, scores, labels)}
        if self.chain:
            switches = {"variant": self.variant, "multi_path": self.multi_path, "mixing": self.mixing}
            parts["chain"] = constraint_chain(self.tree, scores, labels, **switches)
        if self.contrast:
            contrasted = hidden if self.train == "head" else states
            parts["contrast"] = flat_contrast(contrasted, labels, variant=self.variant, decay=self.decay)
        return parts

    def _loss(self, states: Tensor, labels: Sequence[Tensor], drawing: torch.Generator) -> Tensor:
        weights = {"levels": 1.0, "chain": self.chain_weight, "contrast": self.contrast_weight}
        return torch.stack([weights[name] * value for name, value in self._parts(states, labels, drawing).items()]).sum()

    def _classified(self, logits: Sequence[Tensor], scores: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
        """Every level's classification; at a flat verbalizer's masks all labels of the tree compete."""
        if self.verbalizer == "levels" or self.multi_path:
            return level_loss(self.tree, scores, labels, multi_path=self.multi_path)
        flat = [torch.tensor(level, device=column.device)[column] for level, column in zip(self.tree.levels, labels, strict=True)]
        return torch.stack([torch.nn.functional.cross_entropy(z, y) for z, y in zip(logits, flat, strict=True)]).sum()

    def _check(self, X: Inputs, y: Sequence) -> None:
        check_choice("variant", self.variant, Variant)
        check_choice("verbalizer", self.verbalizer, Kind)
        check_choice("train", self.train, Training)
        for name, value in (("chain_weight", self.chain_weight), ("contrast_weight", self.contrast_weight)):
            check_range(name, value, 0)
        check_range("dropout", self.dropout, 0, 0.99)
        if isinstance(X, str) or len(X) != len(y) or not len(y):
            raise ValueError(f"fit needs one label a text and at least one text, got {len(X)} texts and {len(y)} labels")
        if isinstance(X, Tensor) and self.train == "all":
            raise ValueError('train="all" tunes the encoder and needs the texts themselves, got states')

    def _drawn(self) -> Verbalizer:
        """The verbalizer before training."""
        start = self.names
        if start is None:
            if self.encoder_ is None:
                raise ValueError("fitted on states, HierVerb needs an encoder, or `names`, where the label vectors start")
            own = self.encoder_.word_vectors(self.tree.names, special=self.variant == "official")
            start = label_vectors(self.tree, own, variant=self.variant, pieces=self.encoder_.piece_counts(self.tree.names)).cpu()
        return Verbalizer(
            self.tree,
            start,
            kind=self.verbalizer,
            head=getattr(self.encoder_, "head", None),
            dropout=self.dropout if self.train == "head" else 0.0,
            generator=generator("verbalizer", "weights", self.random_state),
        )

    def _loaded(self, X: Inputs) -> SentenceEncoder | BagEncoder | None:
        """The encoder if one is needed; to be tuned, a copy of it."""
        if isinstance(X, Tensor) and self.names is not None:
            return None
        if self.encoder is None:
            raise ValueError("encoder=None can be fitted on states only, with `names`, where the label vectors start")
        place = self.device or ("cuda" if self.train == "all" and torch.cuda.is_available() else "cpu")
        encoder = load_encoder(self.encoder, device=place) if isinstance(self.encoder, str) else self.encoder
        if self.train == "head":
            return encoder
        if not isinstance(encoder, SentenceEncoder):
            raise ValueError(f'train="all" needs an encoder that can be tuned, got {encoder.name!r}')
        return replace(encoder, model=deepcopy(encoder.model))

    def _states(self, X: Inputs) -> Tensor:
        """What the fitted verbalizer reads, where it is."""
        if not hasattr(self, "verbalizer_"):
            raise ValueError("this HierVerb has not been fitted: call fit first")
        states = self._kept_states(X).to(self.verbalizer_.labels[0].device)
        return self._standardised(states) if self.train == "head" else states

    def _standardised(self, states: Tensor) -> Tensor:
        return (states - self.centre_) / self.spread_

    def _kept_states(self, X: Inputs) -> Tensor:
        if isinstance(X, Tensor):
            if X.dim() != 3 or X.shape[1] != self.tree.depth:
                raise ValueError(f"states must have shape [N, {self.tree.depth}, H], one state a level, got {tuple(X.shape)}")
            return X
        if self.encoder_ is None:
            raise ValueError("it was fitted on states, without an encoder: give states, not texts")
        return self.encoder_.mask_states([prompt(text, self.tree.depth, self.encoder_.mask_token) for text in X], self.tree.depth)

    def _tuned_states(self, texts: Sequence[str]) -> Tensor:
        encoder = self.encoder_
        tokens = encoder.tokens([prompt(text, self.tree.depth, encoder.mask_token) for text in texts])
        return at_masks(encoder.model(**tokens).last_hidden_state, tokens["input_ids"], encoder.mask_id, self.tree.depth)
