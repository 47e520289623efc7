"""Dynamic sampling and the overlong penalty: what is kept, what is paid for, and when it gives up."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch

from hierlab.credit import live_groups
from hierlab.rollout import Rollouts, summary
from hierlab.rollout.dynamic import DynamicCollector
from hierlab.rollout.overlong import OverlongCollector


@dataclass(frozen=True)
class Task:
    """Attempt k of the group succeeds where `pattern` has a 1; answers have `length` tokens."""

    id: str
    pattern: str
    length: int = 2


class Policy:
    tokenizer = SimpleNamespace(pad_token_id=0)


def collect(policy, tasks, generator) -> Rollouts:
    rows = [(task, k) for task in tasks for k in range(len(task.pattern))]
    length = torch.tensor([task.length for task, _ in rows])
    mask = torch.arange(int(length.max())) < length[:, None]
    success = [task.pattern[k] == "1" for task, k in rows]
    ids, prompt = mask.long(), torch.ones(len(rows), 1, dtype=torch.int64)
    return Rollouts(
        prompt, prompt.bool(), ids, mask, -mask.float(), torch.tensor(success).float(),
        task=[task.id for task, _ in rows], trajectory=[(task.id, k) for task, k in rows],
        turn=torch.zeros(len(rows), dtype=torch.int64), state=[""] * len(rows), columns={"success": success},
    )  # fmt: skip


def run(tasks, pool=(), *, seed=0, **options) -> Rollouts:
    return DynamicCollector(collect, pool, **options)(Policy, tasks, torch.Generator().manual_seed(seed))


LIVE, RIGHT, WRONG = Task("live", "10"), Task("right", "11", 3), Task("wrong", "00", 4)
POOL = [Task(f"live{i}", "01", 5) for i in range(6)] + [Task(f"dead{i}", "00", 7) for i in range(6)]


def test_a_live_group_is_kept_as_it_is():
    rollouts = run([LIVE])
    assert rollouts.task == ["live", "live"]
    assert rollouts["extra_tokens"].tolist() == [0, 0]


def test_dead_groups_are_replaced_and_paid_for():
    rollouts = run([RIGHT, LIVE, WRONG], POOL, batch=2)
    assert len(set(rollouts.task)) == 3
    assert live_groups(rollouts.rewards, rollouts.task).all()
    tried = run([RIGHT, LIVE, WRONG], POOL, batch=2)
    assert tried.task == rollouts.task  # the same seed
    assert run([RIGHT, LIVE, WRONG], POOL, batch=2, seed=3).task != rollouts.task
    assert rollouts.task[:2] == ["live", "live"]
    assert (rollouts.response_ids[~rollouts.response_mask] == 0).all()


@pytest.mark.parametrize("batch", [1, 3, 12])
def test_every_token_generated_is_counted(batch):
    spent = []

    def counting(policy, tasks, generator):
        rollouts = collect(policy, tasks, generator)
        spent.append(int(rollouts.response_mask.sum()))
        return rollouts

    rollouts = DynamicCollector(counting, POOL, batch=batch)(Policy, [RIGHT, WRONG], torch.Generator().manual_seed(1))
    assert summary(rollouts)["generated_tokens"] == sum(spent)
    assert len(rollouts) == 4


def test_what_an_inner_collector_counts_as_extra_is_counted_once():
    def wasteful(policy, tasks, generator):
        rollouts = collect(policy, tasks, generator)
        return rollouts.with_columns(extra_tokens=torch.full((len(rollouts),), 10))

    rollouts = DynamicCollector(wasteful, POOL)(Policy, [RIGHT, LIVE], torch.Generator().manual_seed(0))
    written = 2 * (3 + 2 + 6 * 5 + 6 * 7)  # the whole pool is one batch
    assert summary(rollouts)["generated_tokens"] == written + 10 * 2 * (2 + len(POOL))


def test_the_metric_is_success_and_not_the_reward():
    shaped = OverlongCollector(collect, max_length=4, buffer=2)
    rollouts = shaped(Policy, [RIGHT, LIVE, WRONG], torch.Generator())
    assert rollouts.rewards.tolist() == [0.5, 0.5, 1, 0, -1, -1]
    assert list(rollouts["success"]) == [True, True, True, False, False, False]
    mixed = Task("mixed", "11", 3)

    def uneven(policy, tasks, generator):
        rollouts = collect(policy, tasks, generator)
        return replace(rollouts, rewards=rollouts.rewards + torch.arange(len(rollouts)))

    with pytest.raises(RuntimeError, match="0 of 1 problems"):
        DynamicCollector(uneven, [])(Policy, [mixed], torch.Generator())


def test_no_problem_is_tried_twice():
    seen = []

    def noting(policy, tasks, generator):
        seen.extend(task.id for task in tasks)
        return collect(policy, tasks, generator)

    DynamicCollector(noting, [RIGHT, LIVE, *POOL], batch=4)(Policy, [RIGHT, WRONG, LIVE], torch.Generator().manual_seed(0))
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize(
    ("pool", "options", "message"),
    [([], {}, "1 of 2 problems were solved"), (POOL[6:], {"batch": 2, "most": 2}, "1 of 6 problems"), (POOL, {"most": 0}, "most=0")],
)
def test_it_gives_up_by_name(pool, options, message):
    with pytest.raises(RuntimeError, match=message):
        run([RIGHT, LIVE], pool, **options)


def test_wrong_usage():
    with pytest.raises(ValueError, match="batch must be at least 1"):
        DynamicCollector(collect, [], batch=0)
    with pytest.raises(ValueError, match="buffer"):
        OverlongCollector(collect, max_length=4, buffer=9)(Policy, [LIVE], torch.Generator())
