import pytest
import torch

from hierlab.models import LanguageModel, LoRA, TinySize, load
from hierlab.rollout import SamplingParams, TransformersEngine, decoding, token_logp
from hierlab.rollout import engine as engine_module
from hierlab.rollout.sampling import choose, pad_left

WORDS = [f"w{i}" for i in range(40)]
PROMPTS = [[1, 5, 6, 7], [1], [1, 5, 6, 7], [1, *range(4, 30)], [1, 9], [1, 5, 6, 7]]


def policy(seed=0, sharpen=8.0, **options):
    """A tiny model, its weights enlarged so that what it reads matters."""
    made = load("tiny", vocabulary=WORDS, size=TinySize(hidden=32, layers=2, heads=2, inner=48, context=64), seed=seed, **options)
    with torch.no_grad():
        for name, weight in made.model.named_parameters():
            if weight.dim() == 2 and "embed" not in name:
                weight *= sharpen
    return made


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def tiny():
    return policy()


@pytest.fixture(params=["Llama's decoder", "general decoder"])
def engine(tiny, request, monkeypatch):
    if request.param == "general decoder":
        monkeypatch.setattr(decoding, "as_llama", lambda model: None)
    return TransformersEngine(tiny)


def rescored(tiny, samples, temperature=1.0):
    with torch.no_grad():
        columns = samples.prompt_ids, samples.prompt_mask, samples.response_ids, samples.response_mask
        return token_logp(tiny.model, *columns, temperature=temperature)


def by_hand(model, prompt, params, uniform, stop):
    """Sample one response by full forward passes without cache or padding."""
    ids, logp = list(prompt), []
    for t in range(params.max_new_tokens):
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[:, -1]
        token, score = choose(logits, uniform[t : t + 1], params)
        ids.append(token.item())
        logp.append(score.item())
        if ids[-1] in stop:
            break
    return ids[len(prompt) :], logp


def test_one_prompt_of_one_token_one_new_token(engine):
    samples = engine.generate([[1]], SamplingParams(1), generator())
    assert samples.prompt_ids.tolist() == [[1]]
    assert samples.response_ids.shape == samples.response_mask.shape == samples.logp.shape == (1, 1)
    assert samples.response_mask.all()


@pytest.mark.parametrize("options", [{}, {"temperature": 0.7}, {"temperature": 0.0}, {"top_p": 0.6, "temperature": 1.5}])
def test_equals_sampling_one_by_one_without_cache(tiny, engine, options):
    params = SamplingParams(12, stop_ids=tuple(range(4, 14)), **options)
    samples = engine.generate(PROMPTS, params, generator(3))
    uniform = torch.rand(len(PROMPTS), 12, generator=generator(3))
    for row, prompt in enumerate(PROMPTS):
        ids, logp = by_hand(tiny.model, prompt, params, uniform[row], {2, *params.stop_ids})
        assert samples.responses()[row] == ids
        torch.testing.assert_close(samples.logp[row][samples.response_mask[row]], torch.tensor(logp), atol=1e-4, rtol=0)


@pytest.mark.parametrize("temperature", [1.0, 0.6, 2.0])
@pytest.mark.parametrize(
    "prompts", [PROMPTS, [[1, 5, 6]] * 4, [[1, i, i + 1] for i in range(9, 17)]], ids=["unequal", "all equal", "equal lengths"]
)
def test_log_probabilities_equal_a_fresh_forward_pass(tiny, engine, prompts, temperature):
    samples = engine.generate(prompts, SamplingParams(16, temperature=temperature, stop_ids=(4, 5, 6, 7, 8)), generator())
    assert not samples.response_mask.all()  # some end early: the batch has shrunk
    torch.testing.assert_close(rescored(tiny, samples, temperature), samples.logp, atol=1e-4, rtol=0)


def test_layout(engine):
    samples = engine.generate(PROMPTS, SamplingParams(10, stop_ids=tuple(range(4, 20))), generator())
    lengths = samples.response_mask.sum(1)
    assert samples.response_ids.shape[1] == lengths.max()
    expected = torch.arange(samples.response_ids.shape[1]) < lengths[:, None]
    assert torch.equal(samples.response_mask, expected)
    assert (samples.response_ids[~expected] == 0).all()
    assert (samples.logp[~expected] == 0).all()
    assert (samples.logp[expected] < 0).all()
    for row, prompt in enumerate(PROMPTS):
        assert samples.prompt_ids[row][samples.prompt_mask[row]].tolist() == prompt
        assert samples.prompt_mask[row, -1]
    for response in samples.responses():
        assert all(token not in {2, *range(4, 20)} for token in response[:-1])
        assert len(response) == 10 or response[-1] in {2, *range(4, 20)}


def test_same_generator_state_same_samples(engine):
    one, same, other = (engine.generate(PROMPTS, SamplingParams(8), generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.response_ids, same.response_ids)
    assert torch.equal(one.logp, same.logp)
    assert one.response_ids.tolist() != other.response_ids.tolist()


def test_responses_do_not_depend_on_when_others_end(engine, monkeypatch):
    params = SamplingParams(12, stop_ids=tuple(range(4, 14)))
    shrinking = engine.generate(PROMPTS, params, generator())
    monkeypatch.setattr(engine_module, "_DROP_BELOW", 0.0)
    keeping = engine.generate(PROMPTS, params, generator())
    assert shrinking.responses() == keeping.responses()
    torch.testing.assert_close(shrinking.logp, keeping.logp, atol=1e-5, rtol=0)


def test_the_generator_advances_by_the_same_amount_whatever_is_sampled(engine):
    early, late = generator(), generator()
    engine.generate(PROMPTS, SamplingParams(12, stop_ids=tuple(range(42))), early)
    engine.generate(PROMPTS, SamplingParams(12), late)
    assert torch.equal(early.get_state(), late.get_state())


def test_samples_can_be_trained_on_and_leave_no_trace(tiny, engine):
    tiny.model.train()
    samples = engine.generate(PROMPTS, SamplingParams(4), generator())
    assert tiny.model.training
    tiny.model.eval()
    assert all(p.grad is None for p in tiny.model.parameters())
    columns = samples.prompt_ids, samples.prompt_mask, samples.response_ids, samples.response_mask
    (token_logp(tiny.model, *columns) * samples.logp).sum().backward()  # an inference tensor would be refused here
    assert all(p.grad is not None for p in tiny.model.parameters())
    tiny.model.zero_grad(set_to_none=True)


def test_weights_are_shared(tiny):
    changing = policy(seed=5)
    engine = TransformersEngine(changing)
    before = engine.generate([[1, 5]], SamplingParams(8, temperature=0), generator())
    with torch.no_grad():
        changing.model.model.embed_tokens.weight.copy_(changing.model.model.embed_tokens.weight.flip(0))
    engine.sync(changing.model)
    after = engine.generate([[1, 5]], SamplingParams(8, temperature=0), generator())
    assert before.responses() != after.responses()
    with pytest.raises(ValueError, match="cannot follow another model"):
        engine.sync(tiny.model)


def test_adapters_count():
    adapted = policy(lora=LoRA(rank=2))
    for weight in adapted.model.parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.5, generator=generator())
    samples = TransformersEngine(adapted).generate(PROMPTS, SamplingParams(6), generator())
    torch.testing.assert_close(rescored(adapted, samples), samples.logp, atol=1e-4, rtol=0)
    with adapted.model.disable_adapter():
        assert (rescored(adapted, samples) - samples.logp).abs().max() > 1e-2


def other_architecture(name):
    """A tiny model of another kind, with unequal numbers of query and key heads."""
    import transformers

    kind = {"Llama, grouped heads": "Llama", "Qwen2": "Qwen2", "Mistral, sliding window": "Mistral"}[name]
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    options = {"sliding_window": 4} if kind == "Mistral" else {}
    config = getattr(transformers, f"{kind}Config")(vocab_size=45, max_position_embeddings=64, initializer_range=0.3, **sizes, **options)
    torch.manual_seed(0)
    return LanguageModel(getattr(transformers, f"{kind}ForCausalLM")(config).eval(), policy().tokenizer, name)


@pytest.mark.parametrize("name", ["Llama, grouped heads", "Qwen2", "Mistral, sliding window"])
def test_other_architectures(name):
    other = other_architecture(name)
    params = SamplingParams(12, stop_ids=tuple(range(4, 10)))
    samples = TransformersEngine(other).generate(PROMPTS, params, generator(3))
    uniform = torch.rand(len(PROMPTS), 12, generator=generator(3))
    for row, prompt in enumerate(PROMPTS):
        assert samples.responses()[row] == by_hand(other.model, prompt, params, uniform[row], {2, *params.stop_ids})[0]
    torch.testing.assert_close(rescored(other, samples), samples.logp, atol=1e-4, rtol=0)


def test_groups_of_every_size_shrinking_at_random(tiny):
    """The decoder that shares prompts against the general one, row for row, while groups shrink and vanish."""
    prompts, draw = [[1, 5, 6], [1, 7], [1, *range(4, 20)], [1]], generator(5)
    with torch.inference_mode():
        for sizes in ([1, 1, 1, 1], [4, 4, 4, 4], [9, 1, 1, 1], [1, 3, 0, 2], [2, 2, 2, 0], [5, 0, 0, 0]):
            ids, mask = pad_left(prompts, 0)
            place = torch.arange(4).repeat_interleave(torch.tensor(sizes))[torch.randperm(sum(sizes), generator=draw)]
            fast = decoding.read_prompts(tiny.model, ids, mask, place)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(decoding, "as_llama", lambda model: None)
                general = decoding.read_prompts(tiny.model, ids, mask, place)
            assert type(fast) is not type(general)
            for _ in range(40):  # past the first capacity
                torch.testing.assert_close(fast.logits, general.logits, atol=1e-4, rtol=0)
                if len(general.logits) > 1 and torch.rand((), generator=draw) < 0.2:
                    kept = torch.rand(len(general.logits), generator=draw) < 0.8
                    kept[0] = True
                    fast.keep(kept.nonzero()[:, 0])
                    general.keep(kept.nonzero()[:, 0])
                token = torch.randint(4, 40, (len(general.logits),), generator=draw)
                fast.advance(token)
                general.advance(token)


def test_half_precision():
    half = policy(dtype=torch.bfloat16, sharpen=2.0)
    samples = TransformersEngine(half).generate(PROMPTS, SamplingParams(6), generator())
    assert samples.logp.dtype == torch.float32
    torch.testing.assert_close(rescored(half, samples), samples.logp, atol=0.1, rtol=0)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], "no prompts"),
        ([[1], []], "prompt 1 is empty"),
        ([[1, 10_000]], "outside the vocabulary"),
        ([[-1]], "outside the vocabulary"),
        ([[1], [1] * 61], "prompt 1 has 61 tokens, which with max_new_tokens=4 exceed the model's context of 64"),
    ],
)
def test_prompts_that_cannot_be_answered_are_refused(engine, prompts, message):
    with pytest.raises(ValueError, match=message):
        engine.generate(prompts, SamplingParams(4), generator())


def test_a_full_context_is_allowed(tiny, engine):
    samples = engine.generate([[1] * 60], SamplingParams(4), generator())
    torch.testing.assert_close(rescored(tiny, samples), samples.logp, atol=1e-4, rtol=0)


def test_every_response_may_have_its_own_limit(tiny, engine):
    limits, params = [1, 5, 12, 3, 99, 2], SamplingParams(12, stop_ids=tuple(range(4, 10)))
    samples = engine.generate(PROMPTS, params, generator(3), limits)
    uniform = torch.rand(len(PROMPTS), 12, generator=generator(3))
    for row, prompt in enumerate(PROMPTS):
        ids, _ = by_hand(tiny.model, prompt, SamplingParams(min(12, limits[row])), uniform[row], {2, *params.stop_ids})
        assert samples.responses()[row] == ids
    assert engine.generate([[1] * 60, [1] * 63], SamplingParams(4), generator(), [4, 1]).response_mask.sum(1)[1] == 1


@pytest.mark.parametrize(
    ("limits", "message"),
    [([4], "one number per prompt, got 1 for 2"), ([4, 0], "the limit of prompt 1 is 0"), ([2, 2], "prompt 1 has 63 tokens")],
)
def test_limits_that_cannot_be_kept_are_refused(engine, limits, message):
    with pytest.raises(ValueError, match=message):
        engine.generate([[1], [1] * 63], SamplingParams(4), generator(), limits)


def test_a_model_that_has_diverged_is_named():
    broken = policy()
    with torch.no_grad():
        broken.model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="diverged"):
        TransformersEngine(broken).generate(PROMPTS, SamplingParams(4), generator())


@pytest.mark.slow
def test_smollm2_log_probabilities_equal_a_fresh_forward_pass():
    smollm2 = load("smollm2-135m")
    texts = ["Name a colour.", "Once upon a time there was a small town by the sea, and", "Hi"]
    prompts = [smollm2.tokenizer.encode(text) for text in texts]
    samples = TransformersEngine(smollm2).generate([*prompts, prompts[0]], SamplingParams(10), generator())
    torch.testing.assert_close(rescored(smollm2, samples), samples.logp, atol=1e-4, rtol=0)
