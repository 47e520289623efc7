"""GiGPO written down with dictionaries and loops: what the vectorised one must equal, and what it is timed against."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence


def plain_gigpo(
    rewards: Sequence[float],
    task: Sequence[Hashable],
    trajectory: Sequence[Hashable],
    turn: Sequence[int],
    state: Sequence[Hashable],
    *,
    gamma: float = 0.95,
    step_weight: float = 1.0,
    scale: str = "none",
    episode_statistics: str = "turns",
    eps: float = 1e-6,
) -> list[float]:
    """One advantage per turn. Rows may stand in any order."""
    rows = range(len(rewards))
    episodes, anchors, tasks = defaultdict(list), defaultdict(list), defaultdict(list)
    for i in rows:
        episodes[task[i], trajectory[i]].append(i)
    outcome, returns = [0.0] * len(rewards), [0.0] * len(rewards)
    for members in episodes.values():
        members.sort(key=lambda i: turn[i])
        total, running = sum(rewards[i] for i in members), 0.0
        for i in reversed(members):
            running = rewards[i] + gamma * running
            returns[i], outcome[i] = running, total
    for i in rows:
        anchors[task[i], state[i]].append(returns[i])
    for key, members in episodes.items():
        tasks[key[0]] += [outcome[members[0]]] * (len(members) if episode_statistics == "turns" else 1)

    def moments(values: list[float]) -> tuple[float, float]:
        mean = sum(values) / len(values)
        if scale == "none":
            return mean, 1.0
        spread = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5 if len(values) > 1 else 1.0
        return mean, spread + eps

    of_task = {key: moments(values) for key, values in tasks.items()}
    of_anchor = {key: moments(values) for key, values in anchors.items()}
    result = []
    for i in rows:
        mean, spread = of_task[task[i]]
        anchor_mean, anchor_spread = of_anchor[task[i], state[i]]
        result.append((outcome[i] - mean) / spread + step_weight * (returns[i] - anchor_mean) / anchor_spread)
    return result
