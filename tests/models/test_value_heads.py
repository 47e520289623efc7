"""Value heads: what they read, what is trained, and what is kept on disk."""

import pytest
import torch

from hierlab.models import LoRA, TinySize, load
from hierlab.models.value_heads import load_values, save_values, value_model
from hierlab.rollout import logp as logp_module
from hierlab.rollout.logp import response_outputs

SMALL = TinySize(hidden=32, layers=2, heads=2, inner=48, context=64)
PROMPT = torch.tensor([[0, 1, 4], [0, 1, 4], [1, 5, 6], [0, 1, 4]])
PROMPT_MASK = PROMPT > 0
RESPONSE = torch.tensor([[4, 5, 2, 0], [5, 2, 0, 0], [6, 6, 6, 2], [2, 0, 0, 0]])
RESPONSE_MASK = RESPONSE > 0
COLUMNS = PROMPT, PROMPT_MASK, RESPONSE, RESPONSE_MASK


def tiny(**options):
    return load("tiny", vocabulary=["take the key"], size=SMALL, **options)


# degenerate sizes


def test_one_head_says_nothing_at_first():
    values = response_outputs(value_model(tiny()), *COLUMNS)
    assert values.shape == (4, 4, 1)
    assert values.dtype == torch.float32
    assert not values.any()


def test_nothing_is_asked():
    assert response_outputs(value_model(tiny()), *COLUMNS[:3], torch.zeros_like(RESPONSE_MASK)).shape[:2] == (4, 0)


# what a value is the value of


@pytest.mark.parametrize("share_below", [0.0, 2.0], ids=["prompts read with each row", "prompts read once"])
@pytest.mark.parametrize("share", [False, True])
def test_a_value_is_that_of_the_state_before_the_token(monkeypatch, share_below, share):
    monkeypatch.setattr(logp_module, "_SHARE_BELOW", share_below)
    policy = tiny()
    model = value_model(policy, ("a", "b"), share=share, std=0.5)
    values = response_outputs(model, *COLUMNS)
    for row in range(4):
        read = torch.cat([PROMPT[row][PROMPT_MASK[row]], RESPONSE[row][RESPONSE_MASK[row]]])
        hidden = policy.model.base_model(input_ids=read[None]).last_hidden_state[0]
        first = int(PROMPT_MASK[row].sum()) - 1  # the state before the first response token is that behind the prompt
        length = int(RESPONSE_MASK[row].sum())
        expected = hidden[first : first + length] @ model.output.weight.T
        torch.testing.assert_close(values[row, :length], expected, atol=1e-5, rtol=0)


def test_a_value_does_not_depend_on_the_token_or_on_what_follows():
    model = value_model(tiny(), std=0.5)
    other = RESPONSE.clone()
    other[2, 2:] = 5
    values, changed = response_outputs(model, *COLUMNS), response_outputs(model, PROMPT, PROMPT_MASK, other, RESPONSE_MASK)
    torch.testing.assert_close(values[2, :3], changed[2, :3])
    assert values[2, 3] != changed[2, 3]


def test_half_precision_backbones_have_float32_values():
    assert response_outputs(value_model(tiny(dtype=torch.bfloat16), std=0.5), *COLUMNS).dtype == torch.float32


# what is trained


@pytest.mark.parametrize("lora", [None, LoRA(rank=2)], ids=["full", "lora"])
def test_a_backbone_of_its_own_begins_as_the_policy_and_leaves_it_alone(lora):
    policy = tiny(lora=lora)
    if lora:
        with torch.no_grad():  # adapters that have been trained
            for name, weight in policy.model.named_parameters():
                if "lora_B" in name:
                    weight.normal_(generator=torch.Generator().manual_seed(0))
    model, shared = value_model(policy, std=0.5), value_model(policy, std=0.5, share=True)
    torch.testing.assert_close(response_outputs(model, *COLUMNS), response_outputs(shared, *COLUMNS))
    before = [weight.clone() for weight in policy.model.parameters()]
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=1.0)
    response_outputs(model, *COLUMNS).square().sum().backward()
    optimizer.step()
    assert all(torch.equal(old, new) for old, new in zip(before, policy.model.parameters(), strict=True))
    assert not torch.allclose(response_outputs(model, *COLUMNS), response_outputs(shared, *COLUMNS))
    trained = {name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert {name for name in trained if "output" in name} == {"output.weight", "output.bias"}
    assert any("layers" in name for name in trained)
    assert not lora or all("lora" in name or "output" in name for name in trained)


def test_frozen_weights_are_shared_between_policy_and_critic():
    policy = tiny(lora=LoRA(rank=2))
    model = value_model(policy)
    held = {weight.data_ptr() for weight in policy.model.parameters()}
    for name, weight in model.named_parameters():
        assert (weight.data_ptr() in held) == (not weight.requires_grad), name


def test_a_shared_backbone_gets_no_gradient_and_follows_the_policy():
    policy = tiny()
    model = value_model(policy, std=0.5, share=True)
    assert {name for name, _ in model.named_parameters()} == {"output.weight", "output.bias"}
    values = response_outputs(model, *COLUMNS)
    values.sum().backward()
    assert model.output.weight.grad.any()
    assert all(weight.grad is None for weight in policy.model.parameters())
    with torch.no_grad():
        policy.model.get_input_embeddings().weight.mul_(1.5)
    assert not torch.allclose(values, response_outputs(model, *COLUMNS))


def test_gradient_checkpointing_is_respected():
    policy = tiny()
    policy.model.gradient_checkpointing_enable()
    policy.model.train()
    for share in (False, True):
        response_outputs(value_model(policy, std=0.5, share=share), *COLUMNS).sum().backward()


# on disk


@pytest.mark.parametrize("lora", [None, LoRA(rank=2)], ids=["full", "lora"])
@pytest.mark.parametrize("share", [False, True])
def test_values_come_back_bit_by_bit(tmp_path, lora, share):
    policy = tiny(lora=lora)
    model = value_model(policy, ("low", "high"), share=share)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.1)
    save_values(model, tmp_path / "values.safetensors")
    again = load_values(value_model(policy, ("low", "high"), share=share), tmp_path / "values.safetensors")
    assert torch.equal(response_outputs(model, *COLUMNS), response_outputs(again, *COLUMNS))
    size = (tmp_path / "values.safetensors").stat().st_size
    assert size < 4 * sum(weight.numel() for weight in model.parameters() if weight.requires_grad) + 8192


def test_the_same_seed_gives_the_same_heads():
    first, again, other = (value_model(tiny(), std=0.5, seed=seed).output.weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, LoRA(rank=2)], ids=["full", "lora"])
def test_smollm2_has_values(lora):
    policy = load("smollm2-135m", lora=lora)
    ids = torch.tensor([policy.tokenizer.encode("Put the apple in the box.")])
    mask = torch.ones_like(ids, dtype=torch.bool)
    model = value_model(policy, ("low", "high", "switch"), std=0.01)
    values = response_outputs(model, ids, mask, ids, mask)
    assert values.shape == (1, ids.shape[1], 3)
    assert values.isfinite().all()
    values.sum().backward()
    assert model.output.weight.grad.any()


# wrong usage


@pytest.mark.parametrize("heads", [(), ("a", "a")])
def test_heads_need_names(heads):
    with pytest.raises(ValueError, match="at least one head, and no name twice"):
        value_model(tiny(), heads)


def test_files_of_other_models_are_refused(tmp_path):
    file = tmp_path / "values.safetensors"
    save_values(value_model(tiny()), file)
    with pytest.raises(ValueError, match="has the heads values, the model has low"):
        load_values(value_model(tiny(), ("low",)), file)
    with pytest.raises(ValueError, match=r"is of another backbone: .* more weights differ"):
        load_values(value_model(tiny(), share=True), file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match="is truncated, or holds no value heads"):
        load_values(value_model(tiny()), file)
    with pytest.raises(FileNotFoundError):
        load_values(value_model(tiny()), tmp_path / "none")
