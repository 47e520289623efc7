import pytest
import torch

from hierlab.models import LoRA, TinySize, load
from hierlab.rollout import logp as logp_module
from hierlab.rollout import token_logp
from hierlab.rollout.logp import response_outputs

PROMPTS = [[1, 5, 6, 7], [1], [1, *range(4, 20)], [1, 5, 6, 7], [1, 5, 6, 7]]
RESPONSES = [[8, 9, 2], [10, 2], [7], [8, 9, 11, 12, 2], [9, 2]]


def model(**options):
    made = load(
        "tiny", vocabulary=[f"w{i}" for i in range(40)], size=TinySize(hidden=32, layers=2, heads=2, inner=48, context=64), **options
    )
    with torch.no_grad():
        for name, weight in made.model.named_parameters():
            if weight.dim() == 2 and "embed" not in name and "lora" not in name:
                weight *= 6
    return made.model


@pytest.fixture(scope="module")
def double():
    return model(dtype=torch.float64)


def columns(prompts=PROMPTS, responses=RESPONSES, left=0, right=0):
    """Padded columns, with `left` and `right` further columns of nothing but padding."""
    P, T = max(map(len, prompts)) + left, max(map(len, responses)) + right
    prompt_ids, prompt_mask = torch.zeros(len(prompts), P, dtype=torch.int64), torch.zeros(len(prompts), P, dtype=torch.bool)
    response_ids, response_mask = torch.zeros(len(prompts), T, dtype=torch.int64), torch.zeros(len(prompts), T, dtype=torch.bool)
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        prompt_ids[row, P - len(prompt) :], prompt_mask[row, P - len(prompt) :] = torch.tensor(prompt), True
        response_ids[row, : len(response)], response_mask[row, : len(response)] = torch.tensor(response), True
    return prompt_ids, prompt_mask, response_ids, response_mask


def one_by_one(net, prompts=PROMPTS, responses=RESPONSES, temperature=1.0):
    """Log-probabilities and entropies without batch, padding or cache."""
    result = []
    for prompt, response in zip(prompts, responses, strict=True):
        logits = net(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1] / temperature
        logp = logits.log_softmax(-1)
        result.append((logp.gather(1, torch.tensor(response)[:, None])[:, 0], -(logp.exp() * logp).sum(-1)))
    return result


def test_no_rows_and_no_responses(double):
    empty = torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, 3, dtype=torch.bool)
    assert token_logp(double, *empty, *empty).shape == (0, 3)
    prompt = columns()[:2]
    nothing = torch.zeros(5, 0, dtype=torch.int64), torch.zeros(5, 0, dtype=torch.bool)
    assert token_logp(double, *prompt, *nothing).shape == (5, 0)
    masked = columns()[2], torch.zeros_like(columns()[3])
    for x in token_logp(double, *prompt, *masked, entropy=True):
        assert torch.equal(x, torch.zeros(5, 5))


def test_one_row_one_token(double):
    result = token_logp(double, *columns([[1]], [[9]]))
    torch.testing.assert_close(result[0], one_by_one(double, [[1]], [[9]])[0][0])


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
@pytest.mark.parametrize("share", [0.0, 0.8, 1.0], ids=["prompts read apart", "shared", "always shared"])
def test_equals_rows_one_by_one(double, monkeypatch, temperature, share):
    monkeypatch.setattr(logp_module, "_SHARE_BELOW", share)
    logp, entropy = token_logp(double, *columns(), temperature=temperature, entropy=True)
    for row, (expected, expected_entropy) in enumerate(one_by_one(double, temperature=temperature)):
        torch.testing.assert_close(logp[row, : len(expected)], expected, atol=1e-10, rtol=0)
        torch.testing.assert_close(entropy[row, : len(expected)], expected_entropy, atol=1e-10, rtol=0)
        assert (logp[row, len(expected) :] == 0).all()
        assert (entropy[row, len(expected) :] == 0).all()


@pytest.mark.parametrize("share", [0.0, 0.8])
def test_gradient_equals_that_of_rows_one_by_one(double, monkeypatch, share):
    monkeypatch.setattr(logp_module, "_SHARE_BELOW", share)
    weights = torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    parameters = list(double.parameters())
    expected = torch.autograd.grad(sum((weights[row, : len(x)] * x).sum() for row, (x, _) in enumerate(one_by_one(double))), parameters)
    found = torch.autograd.grad((weights * token_logp(double, *columns())).sum(), parameters)
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)  # the model's norms compute in float32 whatever its dtype


def test_entropy_is_differentiable(double):
    def total():
        return token_logp(double, *columns(), entropy=True)[1].sum()

    weight = double.model.norm.weight
    gradient = torch.autograd.grad(total(), weight)[0]
    with torch.no_grad():
        step = torch.zeros_like(weight)
        step[3] = 1e-6
        weight += step
        up = total()
        weight -= 2 * step
        down = total()
        weight += step
    assert gradient[3].item() == pytest.approx(((up - down) / 2e-6).item(), rel=1e-5)


def test_padding_columns_change_nothing(double):
    plain, padded = token_logp(double, *columns()), token_logp(double, *columns(left=3, right=2))
    assert padded.shape == (5, 7)
    torch.testing.assert_close(padded[:, :5], plain, atol=1e-12, rtol=0)
    assert (padded[:, 5:] == 0).all()


def test_what_stands_in_the_padding_is_not_read(double):
    prompt_ids, prompt_mask, response_ids, response_mask = columns()
    other = torch.where(prompt_mask, prompt_ids, 33), prompt_mask, torch.where(response_mask, response_ids, 34), response_mask
    torch.testing.assert_close(token_logp(double, *other), token_logp(double, *columns()), atol=1e-12, rtol=0)


def test_order_of_rows(double):
    order = torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(
        token_logp(double, *(x[order] for x in columns())), token_logp(double, *columns())[order], atol=1e-12, rtol=0
    )


def test_tokens_between_two_pieces_of_a_response_are_read_but_not_scored(double):
    prompt_ids, prompt_mask, response_ids, response_mask = columns([[1, 5]], [[8, 9, 10, 11]])
    response_mask[0, 1] = False
    result = token_logp(double, prompt_ids, prompt_mask, response_ids, response_mask)[0]
    expected = one_by_one(double, [[1, 5]], [[8, 9, 10, 11]])[0][0]
    torch.testing.assert_close(result, torch.where(response_mask[0], expected, 0.0), atol=1e-12, rtol=0)


def test_float32_agrees_with_float64():
    single = model()
    torch.testing.assert_close(token_logp(single, *columns()), token_logp(single.double(), *columns()).float(), atol=1e-5, rtol=0)


def test_half_precision_logits_are_scored_in_float32():
    half = model(dtype=torch.bfloat16)
    columns_, temperature = columns(), 0.7
    logp, entropy = token_logp(half, *columns_, temperature=temperature, entropy=True)
    assert logp.dtype == entropy.dtype == torch.float32
    logits = response_outputs(half, *columns_).float() / temperature
    expected = logits.log_softmax(-1)
    torch.testing.assert_close(logp, torch.where(columns_[3], expected.gather(-1, columns_[2][..., None])[..., 0], 0.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(entropy, torch.where(columns_[3], -(expected.exp() * expected).sum(-1), 0.0), atol=1e-5, rtol=0)
    logp.sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.dtype == torch.bfloat16 for p in half.parameters())


def test_gradient_checkpointing_and_adapters():
    plain, saving = model(lora=LoRA(rank=2)), model(lora=LoRA(rank=2))
    saving.gradient_checkpointing_enable()
    saving.train()
    torch.testing.assert_close(token_logp(saving, *columns()), token_logp(plain, *columns()), atol=1e-5, rtol=0)


def test_only_response_positions_meet_the_vocabulary(double):
    seen = []
    handle = double.lm_head.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[0] * output.shape[1]))
    token_logp(double, *columns())
    handle.remove()
    assert sum(seen) <= 5 * 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: (c[0], c[1][:, 1:], c[2], c[3]), "masks of the same shape"),
        (lambda c: (c[0], c[1], c[2][:-1], c[3][:-1]), "masks of the same shape"),
        (lambda c: (c[0], torch.zeros_like(c[1]), c[2], c[3]), "at least one token"),
        (lambda c: (c[0], c[1].flip(1), c[2], c[3]), "padded on the left"),
    ],
)
def test_wrong_columns_are_refused(double, change, message):
    with pytest.raises(ValueError, match=message):
        token_logp(double, *change(columns()))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_wrong_temperature_is_refused(double, temperature):
    with pytest.raises(ValueError, match="temperature must be positive"):
        token_logp(double, *columns(), temperature=temperature)
