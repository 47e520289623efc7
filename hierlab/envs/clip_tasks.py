"""The paper's own setting: CLIP image encoders fine-tuned to several data sets, merged, and asked to name images without training.

A class is named by CLIP's text encoder ("a photo of a ..."), which all merged models share; an image is given the class whose text is
nearest. The published checkpoints are pickled modules, which we do not load; the same fine-tunings exist as safetensors on the Hugging
Face hub (`tanganke/clip-vit-base-patch32_<task>`). Images come from folders: one a task, in it one a class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from hierlab.adaptation.task_vectors import flatten, task_vectors, unflatten
from hierlab.seeds import generator

TASKS = ("sun397", "stanford-cars", "dtd", "svhn", "eurosat", "gtsrb", "resisc45", "mnist")
"""The eight data sets of the paper, as the hub's checkpoints name them."""
TEMPLATE = "a photo of a {}."
_SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm"}
_MEAN, _DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's own
_BATCH = 128


@dataclass(frozen=True)
class ImageTask:
    """Images of one data set.

    Attributes:
        name: of the data set.
        pixels: [m, 3, S, S] ready for the encoder.
        labels: [m] numbers of classes.
        head: [C, e] one text embedding a class, of length 1.
    """

    name: str
    pixels: Tensor
    labels: Tensor
    head: Tensor


@dataclass(frozen=True)
class MergedEncoders:
    """Fine-tuned image encoders, ready to be merged and measured.

    Attributes:
        clip: the pre-trained CLIP; its image encoder's weights are overwritten by every measurement.
        base: [d] the pre-trained image encoder's parameters.
        vectors: [N, d] task vectors.
        image_tasks: [N] the data sets.
    """

    clip: Any
    base: Tensor
    vectors: Tensor
    image_tasks: tuple[ImageTask, ...]

    @property
    def tasks(self) -> int:
        """N, the number of data sets."""
        return len(self.vectors)

    @property
    def names(self) -> tuple[str, ...]:
        """[N] of the data sets."""
        return tuple(task.name for task in self.image_tasks)

    @torch.no_grad()
    def evaluate(self, scales: ArrayLike, tasks: Sequence[int] | None = None) -> np.ndarray:
        """Zero-shot accuracy of merged encoders.

        Args:
            scales: [K, N] scale vectors.
            tasks: numbers of the data sets to measure; None for all.

        Returns:
            [K, n] shares of right answers.

        Raises:
            ValueError: if scales does not have one column a task vector.
        """
        c = torch.as_tensor(np.asarray(scales), dtype=self.base.dtype, device=self.base.device)
        if c.dim() != 2 or c.shape[1] != self.tasks:
            raise ValueError(f"scales must be [K, {self.tasks}], one column a task vector, got shape {tuple(c.shape)}")
        wanted = list(range(self.tasks)) if tasks is None else list(tasks)
        encoder: nn.Module = self.clip.vision_model
        accuracies = np.empty((len(c), len(wanted)))
        for row, scale in enumerate(c):
            encoder.load_state_dict(unflatten(self.base + scale @ self.vectors, encoder.state_dict()))
            accuracies[row] = [self._accuracy(self.image_tasks[n]) for n in wanted]
        return accuracies

    def _accuracy(self, task: ImageTask) -> float:
        right = 0
        for pixels, labels in zip(task.pixels.split(_BATCH), task.labels.split(_BATCH), strict=True):
            features = self.clip.visual_projection(self.clip.vision_model(pixel_values=pixels).pooler_output)
            right += int(((features @ task.head.T).argmax(-1) == labels).sum())
        return right / len(task.labels)

    def only(self, tasks: Sequence[int]) -> MergedEncoders:
        """The same base with some of the tasks."""
        return replace(self, vectors=self.vectors[list(tasks)], image_tasks=tuple(self.image_tasks[n] for n in tasks))

    def with_vectors(self, vectors: Tensor) -> MergedEncoders:
        """The same with other task vectors, such as thinned ones."""
        if vectors.shape != self.vectors.shape:
            raise ValueError(f"vectors must have shape {tuple(self.vectors.shape)}, got {tuple(vectors.shape)}")
        return replace(self, vectors=vectors)

    def halves(self) -> tuple[MergedEncoders, MergedEncoders]:
        """The same measured on every other image: to choose by one half, and score on the other."""
        one, other = (
            replace(self, image_tasks=tuple(replace(t, pixels=t.pixels[part::2], labels=t.labels[part::2]) for t in self.image_tasks))
            for part in (0, 1)
        )
        return one, other


def merged_encoders(
    model: str, finetuned: str, folder: str | Path, tasks: Sequence[str], *, images: int = 1000, seed: int = 0
) -> MergedEncoders:
    """Load CLIP, its fine-tuned image encoders, and images.

    Args:
        model: hub id or folder of the pre-trained CLIP.
        finetuned: hub id or folder of a fine-tuned image encoder, with "{task}" in the place of its name.
        folder: the data sets, `folder/<task>/<class>/<image>`.
        tasks: names of the data sets.
        images: how many of each data set, drawn without replacement.
        seed: draws them.

    Raises:
        ModuleNotFoundError: if Pillow, which reads images, is missing.
        FileNotFoundError: if a data set's folder is missing or holds no images.
        OSError: if a model can neither be found nor fetched.
        ValueError: if a fine-tuned encoder has other parameters than the pre-trained one.
    """
    missing = missing_for_clip(folder, tasks)
    if missing:
        raise FileNotFoundError(missing) if find_spec("PIL") else ModuleNotFoundError(missing)
    from transformers import AutoTokenizer, CLIPModel, CLIPVisionModel

    device = "cuda" if torch.cuda.is_available() else "cpu"
    clip = CLIPModel.from_pretrained(model, use_safetensors=True).to(device).eval()
    tokenizer = AutoTokenizer.from_pretrained(model)
    start = {name: weight.clone() for name, weight in clip.vision_model.state_dict().items()}
    tuned = [_encoder_weights(CLIPVisionModel, finetuned.format(task=task), device) for task in tasks]
    size = clip.config.vision_config.image_size
    loaded = tuple(_image_task(task, Path(folder) / task, clip, tokenizer, size, images, seed) for task in tasks)
    return MergedEncoders(clip, flatten(start), task_vectors(start, tuned), loaded)


def _encoder_weights(kind: Any, name: str, device: str) -> dict[str, Tensor]:
    encoder, loading = kind.from_pretrained(name, use_safetensors=True, output_loading_info=True)
    if absent := sorted(loading["missing_keys"]):
        raise ValueError(f"{name} is no CLIP image encoder: it lacks {', '.join(absent[:3])}")
    return getattr(encoder, "vision_model", encoder).to(device).state_dict()  # transformers 5 has one level less


def missing_for_clip(folder: str | Path, tasks: Sequence[str]) -> str:
    """What `merged_encoders` would lack on this machine, with what to do about it; empty if nothing."""
    if find_spec("PIL") is None:
        return "material=clip reads images by Pillow, which is not installed; run: pip install pillow"
    if not str(folder):
        return "material=clip needs images: set folder to where they are, folder/<task>/<class>/<image>, with the tasks " + ", ".join(tasks)
    absent = [task for task in tasks if not any(_images(Path(folder) / task))]
    return f"material=clip found no images of {', '.join(absent)} in {folder}/<task>/<class>/" if absent else ""


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/*") if path.suffix.lower() in _SUFFIXES)


def _image_task(name: str, folder: Path, clip: Any, tokenizer: Any, size: int, images: int, seed: int) -> ImageTask:
    paths = _images(folder)
    classes = sorted({path.parent.name for path in paths})
    order = torch.randperm(len(paths), generator=generator("clip tasks", name, seed))[:images].tolist()
    chosen, device = [paths[i] for i in order], clip.device
    pixels = torch.stack([read_image(path, size) for path in chosen]).to(device)
    labels = torch.tensor([classes.index(path.parent.name) for path in chosen], device=device)
    words = [TEMPLATE.format(label.replace("_", " ")) for label in classes]
    tokens = tokenizer(words, padding=True, truncation=True, return_tensors="pt").to(device)
    with torch.no_grad():
        text = clip.text_model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).pooler_output
        head = clip.text_projection(text)
    return ImageTask(name, pixels, labels, head / head.norm(dim=-1, keepdim=True))


def read_image(path: Path, size: int) -> Tensor:
    """[3, size, size] the middle square of an image, its shorter side scaled to `size`, in CLIP's units.

    Raises:
        OSError: if the file is no image.
    """
    from PIL import Image

    with Image.open(path) as image:
        picture = image.convert("RGB")
    factor = size / min(picture.size)
    picture = picture.resize([max(size, round(side * factor)) for side in picture.size], Image.Resampling.BICUBIC)
    left, top = ((side - size) // 2 for side in picture.size)
    x = torch.tensor(np.asarray(picture.crop((left, top, left + size, top + size))), dtype=torch.float32).permute(2, 0, 1) / 255
    return (x - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_DEVIATION)[:, None, None]
