"""One step of TRL's trainer with our advantages, in each of two processes; `test_trl.py` starts them and compares what they write."""

import sys
from pathlib import Path

import torch
import trl
from datasets import Dataset
from safetensors.torch import save_file

from hierlab.adapters import grpo_trainer
from hierlab.credit import gae, rloo
from hierlab.models import load

KIND, FOLDER = sys.argv[1], Path(sys.argv[2])


def values(examples, batch):
    """A value for each token, and a list to gather."""
    return {"values": batch["completion_ids"].float() / 10, "prompts": [example["prompt"] for example in examples]}


def lengths(completions, **others):
    """A reward that differs inside a group."""
    return [float(len(text) % 3) for text in completions]


class Watched(grpo_trainer({"rloo": rloo, "gae": gae}[KIND], columns=values)):
    """Writes what it saw."""

    def _generate_and_score_completions(self, inputs):
        batch = super()._generate_and_score_completions(inputs)
        rank = self.accelerator.process_index
        kept = {name: batch[name].contiguous() for name in ("advantages", "completion_ids", "completion_mask")}
        save_file(kept | {"rewards": self._rewards_per_function[:, 0].contiguous()}, FOLDER / f"{rank}.safetensors")
        return batch


policy = load("tiny", vocabulary=["a b c d"])
torch.set_num_threads(1)
options = {
    "per_device_train_batch_size": 6, "num_generations": 4, "max_completion_length": 6, "max_steps": 1, "learning_rate": 1e-3,
    "report_to": [],
    "use_cpu": True, "ddp_backend": "gloo", "bf16": False, "save_strategy": "no", "disable_tqdm": True, "gradient_checkpointing": False,
}  # fmt: skip
Watched(
    model=policy.model,
    processing_class=policy.tokenizer,
    args=trl.GRPOConfig(str(FOLDER), **options),
    reward_funcs=lengths,
    train_dataset=Dataset.from_dict({"prompt": ["a b", "c d", "b", "a"]}),
).train()
