"""Language models and CLIP encoders to merge, at sizes that train in a moment."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hierlab.adaptation.task_vectors import relative_norms
from hierlab.envs.clip_tasks import merged_encoders, missing_for_clip, read_image
from hierlab.models.tiny import word_tokenizer
from hierlab.train.imitation import imitation_loss
from hierlab.train.merged_language_model import MergeSettings, train_merged_language_model

# language models


@pytest.fixture(scope="module")
def language():
    return train_merged_language_model(0, MergeSettings(base_steps=8, fine_steps=4, held_out=8))


def test_fine_tuning_a_language_model_helps_its_own_problems(language):
    own, base = language.evaluate(np.eye(2)), language.evaluate(np.zeros((1, 2)))[0]
    assert (own.diagonal() < base).all()
    assert 0 < relative_norms(language.base, language.vectors).max() < 0.5


def test_losses_of_some_problems(language):
    scales = np.array([[0.2, 0.9], [1.0, 0.1]])
    assert np.array_equal(language.evaluate(scales, [1])[:, 0], language.evaluate(scales)[:, 1])
    language.evaluate(np.array([[0.0, 0.0]]))
    assert language.evaluate(np.zeros((1, 2)), [0])[0, 0] == pytest.approx(
        imitation_loss(language.language_model.model, language.problems[0]).item()
    )


def test_problems_are_right_and_held_out_ones_are_not_learnt(language):
    tokenizer = language.language_model.tokenizer
    for prompt, response in language.problems[0]:
        a, b = tokenizer.decode(prompt, skip_special_tokens=True).removesuffix(" =").replace(" ", "").split("+")
        assert int(tokenizer.decode(response, skip_special_tokens=True).replace(" ", "")) == int(a) + int(b)
    for prompt, response in language.problems[1]:
        digits = tokenizer.decode(prompt, skip_special_tokens=True).split()[1:-1]
        assert tokenizer.decode(response, skip_special_tokens=True).split() == digits[::-1]


def test_wrong_language_settings_are_refused(language):
    with pytest.raises(ValueError, match="one column a task vector"):
        language.evaluate([[1.0]])
    with pytest.raises(ValueError, match="held_out must be at least 1"):
        train_merged_language_model(0, MergeSettings(held_out=0))


# CLIP


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    """A tiny random CLIP, two encoders beside it, and two data sets of coloured squares."""
    from PIL import Image
    from transformers import CLIPConfig, CLIPModel, CLIPVisionModel

    folder = tmp_path_factory.mktemp("clip")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    tokenizer = word_tokenizer(["a photo of a red blue green ."])
    text = {**small, "vocab_size": len(tokenizer), "eos_token_id": 2, "max_position_embeddings": 16}
    config = CLIPConfig(text_config=text, vision_config={**small, "image_size": 16, "patch_size": 8}, projection_dim=8)
    torch.manual_seed(0)
    model = CLIPModel(config)
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    for task in ("one", "two"):
        encoder = CLIPVisionModel(config.vision_config)
        encoder.load_state_dict(model.vision_model.state_dict())
        for weight in encoder.parameters():
            weight.data += 0.1 * torch.randn_like(weight)
        encoder.save_pretrained(folder / f"tuned-{task}")
        for label, colour in (("red", (255, 0, 0)), ("blue_green", (0, 200, 200))):
            (folder / "data" / task / label).mkdir(parents=True)
            for number in range(3):
                Image.new("RGB", (20 + number, 30), colour).save(folder / "data" / task / label / f"{number}.png")
    return folder


def test_clip_encoders_are_merged_and_measured(clip_folder):
    from transformers import CLIPVisionModel

    arguments = (str(clip_folder / "base"), str(clip_folder / "tuned-{task}"), clip_folder / "data", ("one", "two"))
    encoders = merged_encoders(*arguments, images=5)
    assert (encoders.tasks, encoders.names) == (2, ("one", "two"))
    assert [len(task.labels) for task in encoders.image_tasks] == [5, 5]
    measured = encoders.evaluate([[0, 0], [0, 1], [0.5, 0.5]])
    assert measured.shape == (3, 2)
    assert set(np.round(measured * 5, 6).ravel()) <= {0, 1, 2, 3, 4, 5}

    encoders.evaluate([[0, 1]])  # the encoder's weights are now those of the second fine-tuned one
    tuned = CLIPVisionModel.from_pretrained(clip_folder / "tuned-two").state_dict()
    assert all(torch.allclose(w, tuned[n], atol=1e-6) for n, w in encoders.clip.vision_model.state_dict().items())
    assert np.array_equal(encoders.only([1]).evaluate([[1.0]]), encoders.evaluate([[0.0, 1.0]], [1]))
    one, other = encoders.halves()
    assert [len(half.image_tasks[0].labels) for half in (one, other)] == [3, 2]
    doubled = encoders.with_vectors(encoders.vectors * 2)
    assert np.array_equal(doubled.evaluate([[0.5, 0.0]]), encoders.evaluate([[1.0, 0.0]]))


def test_published_checkpoints_have_a_prefix_that_is_understood(clip_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    for name, prefix in (("tuned-one", "vision_model."), ("other", "something.else.")):
        (tmp_path / name).mkdir(exist_ok=True)
        weights = load_file(clip_folder / "tuned-one" / "model.safetensors")
        save_file({prefix + key: weight for key, weight in weights.items()}, tmp_path / name / "model.safetensors", {"format": "pt"})
        (tmp_path / name / "config.json").write_text((clip_folder / "tuned-one" / "config.json").read_text())
    base, data = str(clip_folder / "base"), clip_folder / "data"
    ours = merged_encoders(base, str(clip_folder / "tuned-{task}"), data, ("one",))
    assert torch.equal(merged_encoders(base, str(tmp_path / "tuned-{task}"), data, ("one",)).vectors, ours.vectors)
    with pytest.raises(ValueError, match="is no CLIP image encoder: it lacks embeddings"):
        merged_encoders(base, str(tmp_path / "other"), data, ("one",))


def test_images_are_cropped_to_the_middle(tmp_path):
    from PIL import Image

    image = Image.new("RGB", (64, 32), (0, 0, 0))
    image.paste((255, 255, 255), (16, 0, 48, 32))
    image.save(tmp_path / "half.png")
    x = read_image(tmp_path / "half.png", 32)
    assert x.shape == (3, 32, 32)
    assert x.min() > 1  # all of the middle is white


def test_what_clip_lacks_is_said(clip_folder, tmp_path):
    assert missing_for_clip(clip_folder / "data", ("one", "two")) == ""
    assert "set folder to where they are" in missing_for_clip("", ("one",))
    with pytest.raises(FileNotFoundError, match="found no images of three"):
        merged_encoders("model", "tuned", clip_folder / "data", ("one", "three"))
