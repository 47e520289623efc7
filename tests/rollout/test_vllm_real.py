"""`VLLMEngine` on vLLM itself (its CPU build), held to `TransformersEngine` and to a fresh forward pass of SmolLM2-135M.

Run by `make test-vllm`, in an environment of its own. All tests share one engine; those that change weights set them back.
"""

from __future__ import annotations

import copy
from importlib.util import find_spec

import pytest
import torch

from hierlab.models import LanguageModel, LoRA, load
from hierlab.models.lora import with_adapters
from hierlab.rollout import Samples, SamplingParams, TransformersEngine, VLLMEngine, token_logp

if find_spec("vllm") is None:
    pytest.skip("vLLM has an environment of its own: make test-vllm", allow_module_level=True)

TOLERANCE = 2e-4
"""Of log-probabilities, in float32: the two implementations sum in another order. The largest difference seen was 5e-5."""

TEXTS = ["The capital of France is", "Two plus three makes", "Once upon a time there was a", "The capital of France is"]


@pytest.fixture(scope="module")
def policy() -> LanguageModel:
    torch.set_num_threads(1)
    return load("smollm2-135m")


@pytest.fixture(scope="module")
def engine(policy):
    patch = pytest.MonkeyPatch()
    patch.setenv("VLLM_LOGGING_LEVEL", "ERROR")
    patch.setenv("VLLM_NO_USAGE_STATS", "1")
    random_state, set_num_threads = torch.get_rng_state(), torch.set_num_threads
    made = VLLMEngine(policy, max_model_len=512, max_num_seqs=16, kv_cache_memory_bytes=2**29, disable_log_stats=False)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.set_num_threads is set_num_threads
    yield made
    patch.undo()


@pytest.fixture
def restored(policy, engine):
    """The engine, with the policy's weights in it again afterwards."""
    yield engine
    engine.sync(policy.model)


def prompts(policy, texts=TEXTS):
    return [policy.tokenizer(text).input_ids for text in texts]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def rescored(model, samples: Samples, temperature=1.0):
    columns = samples.prompt_ids, samples.prompt_mask, samples.response_ids, samples.response_mask
    return token_logp(model, *columns, temperature=temperature)


def changed(model, scale=1.1):
    """A copy of the model whose last layers' weights are larger."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for layer in other.model.layers[-4:]:
            layer.mlp.down_proj.weight.mul_(scale)
            layer.self_attn.q_proj.weight.mul_(scale)
        other.model.embed_tokens.weight.mul_(scale)
        other.model.norm.weight.mul_(scale)
    return other


def test_greedy_samples_and_their_log_probabilities_are_those_of_the_other_engine(policy, engine):
    params = SamplingParams(12, temperature=0)
    one = engine.generate(prompts(policy), params, generator())
    other = TransformersEngine(policy).generate(prompts(policy), params, generator())
    assert one.responses() == other.responses()
    assert torch.equal(one.response_mask, other.response_mask)
    assert torch.equal(one.prompt_ids, other.prompt_ids)
    assert torch.equal(one.prompt_mask, other.prompt_mask)
    torch.testing.assert_close(one.logp, other.logp, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_are_those_of_a_forward_pass(policy, engine, temperature):
    samples = engine.generate(prompts(policy), SamplingParams(12, temperature=temperature), generator(3))
    assert samples.response_mask.sum() > 12
    torch.testing.assert_close(samples.logp, rescored(policy.model, samples, temperature), atol=TOLERANCE, rtol=0)


def test_both_engines_sample_from_one_distribution(policy, engine):
    """The first token after one prompt, 256 times: the share of the likeliest token lies within 5 standard errors of its probability."""
    many = prompts(policy, TEXTS[:1]) * 256
    samples = engine.generate(many, SamplingParams(1), generator(5))
    with torch.no_grad():
        probability = policy.model(torch.tensor(many[:1])).logits[0, -1].softmax(-1)
    likeliest = int(probability.argmax())
    p = float(probability[likeliest])
    share = (samples.response_ids[:, 0] == likeliest).float().mean().item()
    assert abs(share - p) < 5 * (p * (1 - p) / len(many)) ** 0.5


def test_new_weights_are_followed_without_a_restart(policy, restored):
    other = changed(policy.model)
    ids, params = prompts(policy), SamplingParams(8, temperature=0)
    stale = restored.generate(ids, params, generator())
    assert (rescored(other, stale) - stale.logp).abs().max() > 100 * TOLERANCE
    restored.sync(other)
    fresh = restored.generate(ids, params, generator())
    torch.testing.assert_close(fresh.logp, rescored(other, fresh), atol=TOLERANCE, rtol=0)
    expected = TransformersEngine(LanguageModel(other, policy.tokenizer, "changed")).generate(ids, params, generator())
    assert fresh.responses() == expected.responses()


def test_what_was_cached_under_old_weights_is_forgotten(policy, restored):
    """The prompt is longer than a block of the cache, so its keys and values would be found again."""
    ids = [prompts(policy, ["A long story about a fox. " * 40])[0]]
    params = SamplingParams(4, temperature=0)
    restored.generate(ids, params, generator())
    other = changed(policy.model)
    restored.sync(other)
    hits = cache_hits(restored)
    fresh = restored.generate(ids, params, generator())
    assert cache_hits(restored) == hits
    torch.testing.assert_close(fresh.logp, rescored(other, fresh), atol=TOLERANCE, rtol=0)


def cache_hits(engine) -> int:
    """Prompt tokens that vLLM found in its prefix cache, since it was started."""
    return sum(metric.value for metric in engine.llm.get_metrics() if metric.name == "vllm:prefix_cache_hits")


def test_a_shared_prompt_is_read_once(policy, engine):
    ids = prompts(policy, ["Tell me about the sea and its fish. " * 30])
    params = SamplingParams(2)
    engine.generate(ids, params, generator())
    hits = cache_hits(engine)
    samples = engine.generate(ids * 8, params, generator())
    assert cache_hits(engine) - hits > 0.9 * 8 * (len(ids[0]) - 128)  # all but the last block, of 128 tokens at most
    torch.testing.assert_close(samples.logp, rescored(policy.model, samples), atol=TOLERANCE, rtol=0)


def test_stop_tokens_end_a_response_and_belong_to_it(policy, engine):
    params = SamplingParams(12, temperature=0)
    free = engine.generate(prompts(policy), params, generator()).responses()
    stop = free[0][4]
    stopped = engine.generate(prompts(policy), SamplingParams(12, temperature=0, stop_ids=(stop,)), generator())
    expected = [r[: r.index(stop) + 1] if stop in r else r for r in free]
    assert stopped.responses() == expected
    assert len(stopped.responses()[0]) <= 5


def test_only_the_end_tokens_of_the_policy_end_a_response(policy, engine, monkeypatch):
    """A model without end tokens writes on where its configuration's would have ended it."""
    end = policy.tokenizer.eos_token_id
    ids = [policy.tokenizer.apply_chat_template([{"role": "user", "content": "Say hi."}], add_generation_prompt=True, return_dict=False)]
    params = SamplingParams(40, temperature=0)
    ended = engine.generate(ids, params, generator()).responses()[0]
    assert ended[-1] == end
    monkeypatch.setattr(engine, "end_ids", ())
    assert len(engine.generate(ids, params, generator()).responses()[0]) == 40


def test_every_response_may_have_its_own_limit(policy, engine):
    ids, params, limits = prompts(policy), SamplingParams(9, temperature=0), [2, 3, 1, 9]
    samples = engine.generate(ids, params, generator(), limits)
    assert samples.response_mask.sum(1).tolist() == limits
    assert samples.responses() == TransformersEngine(policy).generate(ids, params, generator(), limits).responses()


def test_seeds_are_reproducible_and_rows_differ(policy, engine):
    ids, params = prompts(policy), SamplingParams(10)
    one, same, other = (engine.generate(ids, params, generator(seed)) for seed in (1, 1, 2))
    assert one.responses() == same.responses()
    assert one.responses() != other.responses()
    assert one.responses()[0] != one.responses()[3]
    alone = engine.generate(ids[:1], params, generator(1))
    assert alone.responses()[0] == one.responses()[0]


def test_adapters_are_merged_on_the_way(policy, restored):
    adapted = with_adapters(copy.deepcopy(policy.model), LoRA(rank=4), seed=0)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02, generator=generator())
    restored.sync(adapted)
    samples = restored.generate(prompts(policy), SamplingParams(8, temperature=0), generator())
    torch.testing.assert_close(samples.logp, rescored(adapted, samples), atol=TOLERANCE, rtol=0)
    with adapted.disable_adapter():
        assert (rescored(adapted, samples) - samples.logp).abs().max() > 100 * TOLERANCE


def test_a_diverged_model_is_refused(policy, restored):
    broken = copy.deepcopy(policy.model)
    with torch.no_grad():
        broken.model.norm.weight.fill_(torch.nan)
    restored.sync(broken)
    with pytest.raises(FloatingPointError, match="diverged"):
        restored.generate(prompts(policy), SamplingParams(2), generator())


@pytest.mark.parametrize(
    ("ids", "params", "message"),
    [
        ([], SamplingParams(4), "no prompts"),
        ([[]], SamplingParams(4), "is empty"),
        ([[1, 49_152]], SamplingParams(4), "outside the vocabulary of 49152"),
        ([[1] * 510], SamplingParams(4), "exceed the model's context of 512"),
        ([[1]], SamplingParams(4, top_p=0.9), "top_p=1"),
    ],
)
def test_what_cannot_be_answered_is_refused_and_harms_nothing(policy, engine, ids, params, message):
    with pytest.raises(ValueError, match=message):
        engine.generate(ids, params, generator())
    assert len(engine.generate([[1]], SamplingParams(1), generator())) == 1


def test_an_option_that_vllm_refuses_is_said_by_vllm(policy):
    with pytest.raises(TypeError, match="no_such_option"):
        VLLMEngine(policy, no_such_option=1)
