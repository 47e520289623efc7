"""SearchHouse with the lights on: one sees where the object is, so that there is nothing to remember.

The present observation, the turn aside, is the whole state. Whatever a method gains by looking at the past it cannot gain here.
"""

from __future__ import annotations

from dataclasses import dataclass

from hierlab.envs.search_house import Scene, SearchHouse


@dataclass(frozen=True)
class OpenHouse(SearchHouse):
    """A `SearchHouse` in which what is seen is the place and where the object is: `hall|obj in room2`, `room2|carried`."""

    def look(self, hidden: int, scene: Scene) -> str:
        """What is seen."""
        return f"{f'room{scene.place}' if scene.place else 'hall'}|{'carried' if scene.holding else f'obj in room{hidden}'}"
