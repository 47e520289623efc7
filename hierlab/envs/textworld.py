"""TextWorld games drawn from a seed: built, compiled, explored once, then played from the cache.

A house (`hierlab.envs.house`) becomes a game in Inform 7, compiled by TextWorld. Its rooms describe themselves tersely, so
that a small model can read them. The game is then explored in full: every state it can reach is visited in the running
interpreter and written down (`hierlab.envs.state_graph`), and episodes are played from that record, which says exactly what
the game would say, some thousand times faster.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from hierlab.envs import house as house_module
from hierlab.envs import state_graph as graph_module
from hierlab.envs.environment import Observation
from hierlab.envs.house import OPPOSITE, GameSettings, House, describe, draw_house
from hierlab.envs.state_graph import GraphWorld, StateGraph
from hierlab.envs.text_games import RULES, Interpreter, Rules, TextEnvironment
from hierlab.files import cache_folder, digest, locked, read_json, write_json
from hierlab.seeds import derive_seed
from hierlab.sources import source_digest

VERBS = ("go", "open", "close", "take", "put", "insert")
"""What a player may do. TextWorld's `look`, `inventory` and `examine` are left out because every observation shows the room and
what is carried; `drop`, because it multiplies the states without helping any errand."""


@dataclass(frozen=True)
class TextWorldTask:
    """A TextWorld game as a task; implements `EpisodicTask`.

    Attributes:
        house: what the game was made of.
        graph: the game, written down in full.
        path: the compiled game.
        rules: rewards and turn limit.
    """

    house: House
    graph: StateGraph
    path: Path
    rules: Rules

    @property
    def id(self) -> str:
        """Names the game by its content."""
        return f"textworld-{digest(asdict(self.house))[:12]}"

    @property
    def walkthrough(self) -> tuple[str, ...]:
        """A shortest solution; with one errand, it has as many commands as the settings' `quest_length` asked for."""
        return self.graph.solution()

    def environment(self) -> TextEnvironment:
        """A fresh environment, played from the graph."""
        return TextEnvironment(GraphWorld(self.graph), self.rules)

    def interpreted(self) -> TextEnvironment:
        """The same environment played by the interpreter: slow, and for comparison."""
        return TextEnvironment(Interpreter(self.path, _observe, infos=("description", "inventory", "objective")), self.rules)


def game(house: House, *, rules: Rules = RULES) -> TextWorldTask:
    """The game of a house, from the cache or built into it. Several processes may ask for one game at the same time."""
    folder = cache_folder() / "games" / _content_hash(house)
    graph = _cached_graph(folder)
    if graph is None:
        with locked(folder.with_suffix(".lock")):
            graph = _cached_graph(folder) or _build(house, folder)
    return TextWorldTask(house, graph, folder / "game.z8", rules)


def games(settings: GameSettings, seeds: Iterable[int], *, rules: Rules = RULES) -> list[TextWorldTask]:
    """One game a seed.

    Raises:
        ValueError: if no house fits the settings.
    """
    return [game(draw_house(settings, seed), rules=rules) for seed in seeds]


def disjoint_games(settings: GameSettings, *sizes: int, seed: int = 0, rules: Rules = RULES) -> tuple[list[TextWorldTask], ...]:
    """Sets of games of the given sizes, no two games alike.

    Args:
        settings: what all of them are drawn from.
        *sizes: number of games in each set, such as warm-up, training and held-out games.
        seed: draws other sets.
        rules: rewards and turn limit.

    Raises:
        ValueError: if a size is negative, or the settings do not allow so many different houses.
    """
    if any(size < 0 for size in sizes):
        raise ValueError(f"sizes must not be negative, got {sizes}")
    wanted, attempts = sum(sizes), 2 * sum(sizes) + 100
    houses: dict[House, None] = {}
    for i in range(attempts):
        if len(houses) == wanted:
            break
        houses[draw_house(settings, derive_seed("textworld", seed, i))] = None
    if len(houses) < wanted:
        raise ValueError(
            f"only {len(houses)} different houses of {settings} in {attempts} seeds, {wanted} are wanted; allow more rooms or things"
        )
    drawn = iter(houses)
    return tuple([game(house, rules=rules) for house in islice(drawn, size)] for size in sizes)


def train_and_held_out(
    settings: GameSettings,
    train: int,
    held_out: int,
    *,
    seed: int = 0,
    rules: Rules = RULES,
) -> tuple[list[TextWorldTask], list[TextWorldTask]]:
    """Training games and held-out games, no two alike."""
    train_games, held_out_games = disjoint_games(settings, train, held_out, seed=seed, rules=rules)
    return train_games, held_out_games


def vocabulary(tasks: Sequence[TextWorldTask]) -> list[str]:
    """Every word and mark that a player of these games can read or may write, sorted."""
    lines = {line for task in tasks for line in (*task.graph.texts, *(c for table in task.graph.moves for c in table))}
    return sorted({word for line in lines for word in re.findall(r"\w+|[^\w\s]", line)})


def scene_text(description: str, inventory: str, goal: str) -> str:
    """The observation in what a game prints of a room (see `_description`) and of what is carried.

    Inform lists things in the order they were moved; `describe` sorts them, so that the same state always reads the same.

    >>> scene_text("-= Hall =-\\nbox closed; desk: pen and cup; exits: east;", "You are carrying: a hat.", "put pen on rack")
    'hall. box closed. desk: cup, pen. exits east. carrying hat. goal: put pen on rack'
    """
    title, _, body = description.partition("=-")
    *furniture, exits = [part.strip() for part in body.split(";") if part.strip()]
    pieces = [(part.removesuffix(" closed").partition(":")[0], None if part.endswith(" closed") else _listed(part)) for part in furniture]
    carried = re.sub(r"\ban? ", "", inventory.partition("carrying")[2].rstrip(". \n"))
    return describe(title.strip("-= \n").lower(), pieces, _listed(exits), _listed(carried), goal)


def _listed(text: str) -> list[str]:
    """What a text lists: `desk: pen, hat and cup` -> pen, hat, cup; `nothing` -> nothing at all."""
    things = text.rpartition(":")[2].strip()
    return [] if things == "nothing" else re.split(", | and ", things)


def _observe(state: Any, opening: Any) -> Observation:
    """What a running game shows. TextWorld repeats the commands of the scene before once a game is won; there are none then."""
    allowed = () if state["won"] else tuple(command for command in state["admissible_commands"] if command.split()[0] in VERBS)
    return Observation(scene_text(state["description"], state["inventory"], opening["objective"]), allowed)


def _content_hash(house: House) -> str:
    """Names everything a compiled and explored game depends on: the house, the code that builds it, the tools it uses."""
    code = source_digest(sys.modules[__name__], house_module, graph_module)
    return digest({"house": asdict(house), "code": code, "tools": {name: version(name) for name in ("textworld", "jericho")}})[:32]


def _cached_graph(folder: Path) -> StateGraph | None:
    """The graph in a finished game folder; None where there is none, or it cannot be read and must be built again."""
    try:
        return StateGraph.from_json(read_json(folder / "graph.json"))
    except (FileNotFoundError, ValueError):
        return None


def _build(house: House, folder: Path) -> StateGraph:
    """Compile and explore a game, and move it into place in one step."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for leftover in folder.parent.glob(f".{folder.name}.*"):  # of a process that was killed while it held the lock
        shutil.rmtree(leftover)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name:
        finished = Path(name) / "game"
        path = compile_house(house, finished)
        graph = explore(path, house.goal)
        write_json(finished / "graph.json", graph.to_json())
        shutil.rmtree(folder, ignore_errors=True)
        finished.replace(folder)
    return graph


def compile_house(house: House, folder: Path) -> Path:
    """Make a TextWorld game of a house; its files are written to `folder`.

    Returns:
        The path of the compiled game.
    """
    import textworld
    from textworld.generator import compile_game
    from textworld.generator.game import Event, Quest

    options = textworld.GameOptions()
    options.seeds, options.kb = 0, _knowledge()
    maker = textworld.GameMaker(options)
    room = {name: maker.new_room(name) for name in house.rooms}
    for a, direction, b in house.doors:
        maker.connect(room[a].exits[direction], room[b].exits[OPPOSITE[direction]])
    piece = {name: maker.new("c" if container else "s", name, desc=name) for name, container, _ in house.furniture}
    for name, container, place in house.furniture:
        room[place].add(piece[name])
        if container:
            piece[name].add_property("closed")
    thing = {name: maker.new("o", name, desc=name) for name, _ in house.contents}
    for name, place in house.contents:
        piece[place].add(thing[name])
    for entity in room.values():
        entity.infos.desc = _description(entity)
    maker.set_player(room[house.start])
    delivered = [maker.new_fact("in" if piece[to].type == "c" else "on", thing[what], piece[to]) for what, to in house.errands]
    maker.quests = [Quest(win_events=[Event(conditions=delivered)], desc=house.goal)]
    files = textworld.GameOptions()
    files.path, files.force_recompile = str(folder / "game.z8"), True
    path = Path(compile_game(maker.build(), files))
    path.with_suffix(".ni").unlink()
    return path


def _description(room: Any) -> str:
    """What a room says of itself, in Inform 7: each piece of furniture with its contents, and the exits."""
    parts = []
    for piece in room.content:
        if piece.type == "c":
            parts.append(f"[if {piece.id} is open]{piece.name}: [list of things in {piece.id}][otherwise]{piece.name} closed[end if]; ")
        else:
            parts.append(f"{piece.name}: [list of things on {piece.id}]; ")
    exits = [direction for direction, way in room.exits.items() if way.dest is not None]
    return "".join(parts) + f"exits: {', '.join(exits) or 'nothing'};"


@cache
def _knowledge() -> Any:
    """TextWorld's own logic, whatever lies in the working directory."""
    from textworld.generator.data import LOGIC_DATA_PATH, TEXT_GRAMMARS_PATH, KnowledgeBase

    return KnowledgeBase.load(logic_path=LOGIC_DATA_PATH, grammar_path=TEXT_GRAMMARS_PATH)


def explore(path: Path, goal: str, *, limit: int = 20_000) -> StateGraph:
    """Visit every state of a compiled game that the commands of `VERBS` can reach, breadth first.

    TextWorld's logic says which commands apply and which facts they change; the interpreter, put back to the state before,
    plays the first command that leads to each new set of facts and shows what is seen there.

    Raises:
        ValueError: if there are more than `limit` states.
    """
    import jericho
    from textworld.generator.game import Game
    from textworld.generator.inform7 import Inform7Game

    compiled = Game.load(str(path.with_suffix(".json")))
    naming = Inform7Game(compiled)
    rules = [rule for name, rule in compiled.kb.rules.items() if name.split("/")[0] in VERBS]
    constants = compiled.kb.types.constants_mapping
    interpreter = jericho.FrotzEnv(str(path))
    interpreter.reset()
    printed = "".join(interpreter.step(f"tw-extra-infos {what}")[0] for what in ("description", "inventory"))

    facts = compiled.world.state.copy()
    number = {frozenset(facts.facts): 0}
    texts, moves, won = [_printed_text(printed, goal)], [{}], set()
    frontier = deque([(0, facts, interpreter.get_state())])
    while frontier:
        here, facts, memory = frontier.popleft()
        actions = list(facts.all_applicable_actions(rules, constants))
        for command, action in sorted(zip(naming.gen_commands_from_actions(actions), actions, strict=True), key=lambda pair: pair[0]):
            after = facts.apply_on_copy(action)
            there = number.setdefault(frozenset(after.facts), len(texts))
            moves[here][command] = there
            if there < len(texts):
                continue
            if there == limit:
                raise ValueError(f"the game in {path.parent} has more than {limit} states; choose fewer rooms, objects or things")
            interpreter.set_state(memory)
            printed = interpreter.step(command)[0]
            texts.append(_printed_text(printed, goal))
            moves.append({})
            if "*** The End ***" in printed:
                won.add(there)
            else:
                frontier.append((there, after, interpreter.get_state()))
    interpreter.close()
    return StateGraph(tuple(texts), tuple(moves), frozenset(won))


def _printed_text(printed: str, goal: str) -> str:
    """The observation in what the interpreter printed."""
    description, inventory = (re.search(rf"<{tag}>\n(.*?)</{tag}>", printed, re.DOTALL)[1] for tag in ("description", "inventory"))
    return scene_text(description, inventory, goal)
