import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hierlab.envs import alfworld
from hierlab.envs.environment import Environment, EpisodicTask, Observation
from hierlab.envs.house import WORDS, GameSettings, describe, draw_house
from hierlab.envs.house_graph import predict
from hierlab.envs.state_graph import GraphWorld, StateGraph
from hierlab.envs.text_games import Interpreter, Rules, Scene, TextEnvironment, brief, normalise
from hierlab.envs.textworld import VERBS, disjoint_games, explore, game, games, scene_text, train_and_held_out, vocabulary

pytestmark = pytest.mark.filterwarnings("ignore:Game .* is not fully supported")  # by jericho; TextWorld supports it

TINY = GameSettings(rooms=2, objects=3, things=2, quest_length=4)
CORRIDOR = StateGraph(  # a - b - c, won in c; a trap leads out of b for good
    texts=("in a", "in b", "in c", "in a trap"),
    moves=({"go east": 1}, {"go east": 2, "go west": 0, "fall": 3}, {}, {"wait": 3}),
    won=frozenset({2}),
)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HIERLAB_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def tasks(cache):
    return games(TINY, range(3))


def walk(environment: Environment, seed: int, *, noise: float = 0.2) -> list:
    """A random episode: every observation and step, with some commands that are not admissible."""
    rng = np.random.default_rng(seed)
    observation = environment.reset()
    trace = [observation]
    while True:
        commands = observation.admissible
        command = "eat the moon" if rng.random() < noise or not commands else commands[rng.integers(len(commands))]
        step = environment.step(command)
        trace.append(step)
        if step.done:
            return trace
        observation = step.observation


def corridor(**rules) -> TextEnvironment:
    return TextEnvironment(GraphWorld(CORRIDOR), Rules(**rules))


# degenerate sizes


def test_smallest_house_is_solved_by_take_and_put():
    task = game(draw_house(GameSettings(rooms=1, objects=2, things=1, quest_length=2), seed=3))
    verbs = [command.split()[0] for command in task.walkthrough]
    assert verbs == ["take", "put"]
    assert "exits nothing" in task.environment().reset().text


def test_one_state_graph_without_a_win():
    graph = StateGraph(("nowhere",), ({},), frozenset())
    assert graph.distance == (None,)
    assert graph.best_commands(0) == ()
    environment = TextEnvironment(GraphWorld(graph), Rules(turns=2))
    assert environment.reset() == Observation("nowhere")
    assert [environment.step("go").done for _ in range(2)] == [False, True]


def test_limit_of_one_turn():
    environment = corridor(turns=1)
    environment.reset()
    assert environment.step("go east").done


# closed-form answers


def test_rewards_of_success_failure_and_invalid_commands():
    environment = corridor(success=10.0, failure=-1.0, invalid=-0.1, turns=4)
    environment.reset()
    steps = [environment.step(command) for command in ("jump", "go east", "", "go east")]
    assert [step.reward for step in steps] == [-0.1, 0.0, -0.1, 10.0]
    assert [step.valid for step in steps] == [False, True, False, True]
    assert [step.done for step in steps] == [False, False, False, True]
    assert [step.success for step in steps] == [False, False, False, True]
    environment.reset()
    last = [environment.step("go west") for _ in range(4)][-1]
    assert (last.done, last.success) == (True, False)
    assert last.reward == pytest.approx(-1.1)


def test_default_rules_are_the_papers():
    assert (Rules().success, Rules().failure, Rules().invalid) == (10.0, 0.0, -0.1)


@pytest.mark.parametrize("garbage", ["", " ", "\n", "go", "GO NORTH\x00", "go east and go east", "é" * 500, "fall down"])
def test_garbage_costs_a_turn_and_changes_nothing(garbage):
    environment = corridor(turns=3)
    before = environment.reset()
    step = environment.step(garbage)
    assert (step.observation, step.valid, step.reward, step.done) == (before, False, -0.1, False)
    assert environment.step("go east").observation.text == "in b"


def test_case_and_spacing_do_not_matter():
    environment = corridor()
    environment.reset()
    assert environment.step("  Go\n EAST ").valid
    assert normalise(" Go\tEAST\n") == "go east"


def test_only_admissible_commands_reach_the_game():
    class World:
        def __init__(self):
            self.moves = []

        def start(self):
            return Scene(Observation("here", ("stay",)))

        def move(self, command):
            self.moves.append(command)
            return self.start()

    world = World()
    environment = TextEnvironment(world, Rules(turns=9))
    environment.reset()
    for command in ("stay", "quit", "restore", "", "STAY"):
        environment.step(command)
    assert world.moves == ["stay", "stay"]


def test_graph_distances_and_solutions():
    assert CORRIDOR.distance == (2, 1, 0, None)
    assert CORRIDOR.solution() == ("go east", "go east")
    assert CORRIDOR.solution(2) == ()
    assert CORRIDOR.best_commands(3) == ()
    assert StateGraph.from_json(json.loads(json.dumps(CORRIDOR.to_json()))) == CORRIDOR


def test_observations_are_sorted_so_that_a_state_reads_the_same_whatever_came_before():
    goal = "put pen on rack"
    one = scene_text("-= Den =-\nbox: pen, cup and rope; exits: east, north;", "You are carrying: a hat and an apple.", goal)
    two = scene_text("-= Den =-\n\nbox: rope, pen and cup;\nexits: north, east;\n", "You are carrying: an apple and a hat.", goal)
    assert one == two == "den. box: cup, pen, rope. exits east, north. carrying apple, hat. goal: put pen on rack"
    assert one == describe("den", [("box", ["rope", "pen", "cup"])], ["north", "east"], ["hat", "apple"], goal)
    bare = scene_text("-= Den =-\nbox closed; desk: nothing; exits: nothing;", "You are carrying nothing.", goal)
    assert bare == "den. box closed. desk empty. exits nothing. carrying nothing. goal: put pen on rack"


def test_brief_transcript_keeps_places_and_commands():
    turns = [("hall. box closed. exits east", "go east"), ("porch", "wait")]
    assert brief(turns, Observation("den. box closed")) == "hall > go east porch > wait den. box closed >"
    assert brief([], Observation("den")) == "den >"


def test_walkthrough_has_the_quest_length_and_wins(tasks):
    for task in tasks:
        environment = task.environment()
        environment.reset()
        steps = [environment.step(command) for command in task.walkthrough]
        assert len(steps) == TINY.quest_length
        assert [step.success for step in steps] == [False] * (TINY.quest_length - 1) + [True]
        assert steps[-1].reward == 10.0
        assert task.walkthrough[-1] == task.house.goal


@pytest.mark.parametrize("length", [2, 5, 7, 10])
def test_houses_have_the_length_they_were_asked_for(length):
    settings = GameSettings(rooms=4, objects=5, quest_length=length)
    houses = [draw_house(settings, seed) for seed in range(30)]
    assert all(solution_length(house) == length for house in houses)
    assert houses == [draw_house(settings, seed) for seed in range(30)]
    assert len(set(houses)) == 30


def test_several_errands_are_won_when_everything_is_in_its_place():
    for seed in range(10):
        house = draw_house(GameSettings(rooms=2, objects=3, things=3, quest_length=3, errands=2), seed)
        (first, there), (second, elsewhere) = house.errands
        places = dict(house.contents)
        assert places[first] != there
        assert places[second] != elsewhere
        graph = predict(house)
        commands = graph.solution()
        ends = house.goal.split(", ")
        assert len(ends) == 2
        assert set(ends) <= set(commands)
        assert commands[-1] in ends
        assert len(commands) >= solution_length(house) + 2  # the second thing has to be taken and put down too
        alone = replace(house, further=())
        assert draw_house(GameSettings(rooms=2, objects=3, things=3, quest_length=3), seed) == alone
        assert all(graph.texts[state].endswith(f"goal: {house.goal}") for state in graph.won)


def solution_length(house) -> int:
    """By brute force over (room, thing's place, opened pieces), without the formula that drew the house."""
    room_of = {name: room for name, _, room in house.furniture}
    closed = frozenset(name for name, container, _ in house.furniture if container)
    beside = {(a, b) for a, _, b in house.doors} | {(b, a) for a, _, b in house.doors}
    start = (house.start, dict(house.contents)[house.target], closed)
    seen, frontier, length = {start}, [start], 0
    while frontier:
        following = []
        for room, place, shut in frontier:
            if place == house.destination:
                return length
            moves = [(there, place, shut) for here, there in beside if here == room]
            moves += [(room, place, shut - {name}) for name in shut if room_of[name] == room]
            if place is None:
                moves += [(room, name, shut) for name, where in room_of.items() if where == room and name not in shut]
            elif room_of[place] == room and place not in shut:
                moves.append((room, None, shut))
            following += [move for move in moves if move not in seen]
            seen.update(moves)
        frontier, length = following, length + 1
    raise AssertionError("no solution")


def test_vocabulary_covers_whatever_a_player_meets(tasks):
    words = set(vocabulary(tasks))
    for task in tasks:
        for seed in range(5):
            first, *steps = walk(task.environment(), seed)
            for observation in [first, *(step.observation for step in steps)]:
                assert words >= {word.strip(".,:") for line in (observation.text, *observation.admissible) for word in line.split()}
    assert set(WORDS) >= words >= {".", ",", ":"}
    assert vocabulary(tasks) == sorted(words)


# the written-down game against the running one


def test_graph_says_exactly_what_the_interpreter_says(tasks):
    for task in tasks:
        written, running = task.environment(), task.interpreted()
        for seed in range(12):
            assert walk(written, seed) == walk(running, seed)


@pytest.mark.parametrize(
    "settings",
    [
        TINY,
        GameSettings(rooms=1, objects=2, quest_length=2),
        GameSettings(rooms=3, objects=5, quest_length=7),
        replace(TINY, errands=2),
        GameSettings(rooms=1, objects=2, things=3, quest_length=3, errands=3),
    ],
)
def test_prediction_is_what_exploration_finds(settings):
    for seed in range(2):
        house = draw_house(settings, seed)
        assert predict(house) == game(house).graph


def test_every_move_of_a_graph_is_a_move_of_the_game(tasks):
    task = min(tasks, key=lambda task: len(task.graph))
    paths = {0: ()}
    for state in range(len(task.graph)):  # states are numbered breadth first, so the path to each is known when its turn comes
        for command, there in task.graph.moves[state].items():
            paths.setdefault(there, (*paths[state], command))
    running = replace(task, rules=Rules(turns=1000)).interpreted()
    for state, path in paths.items():
        for command, there in list(task.graph.moves[state].items())[:2]:
            observation = running.reset()
            for step in (*path, command):
                observation = running.step(step).observation
            assert observation == task.graph.scenes[there].observation


def test_admissible_commands_are_those_of_textworld(tasks):
    for task in tasks:
        verbs = {command.split()[0] for table in task.graph.moves for command in table}
        assert verbs <= set(VERBS)


def test_states_are_revisited_and_texts_shared(tasks):
    graph = tasks[0].graph
    assert len(set(graph.texts)) < len(graph)
    back = [there for table in graph.moves for there in table.values()]
    assert len(back) > len(set(back))


def test_graph_is_much_faster_than_the_interpreter(tasks):
    def steps_per_second(environment, episodes):
        start = time.perf_counter()
        steps = sum(len(walk(environment, seed)) - 1 for seed in range(episodes))
        return steps / (time.perf_counter() - start)

    assert steps_per_second(tasks[0].environment(), 500) > 20 * steps_per_second(tasks[0].interpreted(), 5)


# properties


@given(st.lists(st.sampled_from(["go east", "go west", "fall", "wait", "nonsense", ""]), max_size=30))
def test_rewards_add_up(commands):
    environment = corridor(turns=12)
    environment.reset()
    rewards, invalid = [], 0
    for command in commands:
        step = environment.step(command)
        rewards.append(step.reward)
        invalid += not step.valid
        if step.done:
            assert sum(rewards) == pytest.approx(10.0 * step.success - 0.1 * invalid)
            assert len(rewards) <= 12
            break


def test_environments_of_one_task_do_not_disturb_each_other(tasks):
    one, other = tasks[0].environment(), tasks[0].environment()
    one.reset(), other.reset()
    expected = walk(tasks[0].environment(), 1)
    one.step(one.reset().admissible[0])
    assert walk(other, 1) == expected


def test_protocols_and_names(tasks):
    assert all(isinstance(task, EpisodicTask) and isinstance(task.environment(), Environment) for task in tasks)
    assert len({task.id for task in tasks}) == len(tasks)
    assert tasks[0].id == games(TINY, [0], rules=Rules(turns=3))[0].id


def test_train_and_held_out_games_differ():
    train, held_out = train_and_held_out(TINY, 2, 2, seed=5)
    houses = [task.house for task in (*train, *held_out)]
    assert len(set(houses)) == 4
    assert [task.house for task in train_and_held_out(TINY, 2, 2, seed=5)[1]] == houses[2:]
    assert [task.house for task in disjoint_games(TINY, 0, 1, seed=6)[1]] != houses[:1]


# cache


def test_second_call_reads_the_cache(tasks, monkeypatch):
    monkeypatch.setattr("hierlab.envs.textworld._build", None)
    assert game(tasks[0].house) == tasks[0]


@pytest.mark.parametrize("damage", ['{"texts": ["a"', "{}", '{"texts": ["a"], "moves": [{"go": 7}], "won": []}'])
def test_damaged_cache_is_built_again(tasks, damage):
    path = tasks[1].path.parent / "graph.json"
    path.write_text(damage)
    assert game(tasks[1].house) == tasks[1]
    assert StateGraph.from_json(json.loads(path.read_text())) == tasks[1].graph


BUILD = (
    "from hierlab.envs.textworld import games; from hierlab.envs.house import GameSettings; print(*(len(t.graph) for t in games({}, [{}])))"
)


def build_elsewhere(folder: Path, seed: int) -> subprocess.Popen:
    code = BUILD.format(TINY, seed)
    environment = {**os.environ, "HIERLAB_CACHE": str(folder)}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_processes_may_ask_for_one_game_at_once(tmp_path):
    processes = [build_elsewhere(tmp_path, 9) for _ in range(3)]
    results = [process.communicate(timeout=120) for process in processes]
    assert {(out, err) for out, err in results} == {(results[0][0], "")}
    assert int(results[0][0]) > 1
    (folder,) = (path for path in (tmp_path / "games").iterdir() if path.is_dir())
    assert sorted(path.name for path in folder.iterdir()) == ["game.json", "game.z8", "graph.json"]


def test_killed_build_leaves_nothing_in_the_way(tmp_path):
    process = build_elsewhere(tmp_path, 9)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "games").glob(".*/game")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list((tmp_path / "games").glob(".*"))
    out, _ = build_elsewhere(tmp_path, 9).communicate(timeout=120)
    assert int(out) > 1
    assert not list((tmp_path / "games").glob(".*"))


# wrong usage


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"rooms": 0}, "rooms"),
        ({"rooms": 99}, "rooms"),
        ({"objects": 1}, "objects"),
        ({"things": 0}, "things"),
        ({"things": 2.0}, "things"),
        ({"quest_length": True}, "quest_length"),
        ({"things": 2, "errands": 3}, "errands must be an integer from 1 to 2"),
        ({"rooms": 2, "quest_length": 7}, "quest_length must be an integer from 2 to 6"),
    ],
)
def test_settings_are_checked(wrong, named):
    with pytest.raises(ValueError, match=named):
        GameSettings(**wrong)


def test_impossible_length_says_which_there_are():
    with pytest.raises(ValueError, match=r"errands there take \[5, 6, 7, 8, 9\] commands"):
        draw_house(GameSettings(rooms=5, objects=3, quest_length=12), seed=0, attempts=1)


def test_more_games_than_houses(monkeypatch):
    house = draw_house(TINY, 0)
    monkeypatch.setattr("hierlab.envs.textworld.draw_house", lambda settings, seed: house)
    with pytest.raises(ValueError, match="only 1 different houses"):
        train_and_held_out(TINY, 1, 1)
    with pytest.raises(ValueError, match="negative"):
        disjoint_games(TINY, -1)


def test_steps_outside_an_episode():
    environment = corridor(turns=1)
    with pytest.raises(RuntimeError, match="reset"):
        environment.step("go east")
    environment.reset()
    environment.step("go east")
    with pytest.raises(RuntimeError, match="reset"):
        environment.step("go east")


@pytest.mark.parametrize("turns", [0, -1, 2.5, True])
def test_turn_limit_is_checked(turns):
    with pytest.raises(ValueError, match="turns"):
        Rules(turns=turns)


def test_bad_graphs():
    with pytest.raises(ValueError, match="one text and one table"):
        StateGraph((), (), frozenset())
    with pytest.raises(ValueError, match="from 0 to 0"):
        StateGraph(("a",), ({"go": 1},), frozenset())
    with pytest.raises(ValueError, match="not a state graph"):
        StateGraph.from_json({"texts": ["a"]})
    with pytest.raises(ValueError, match="cannot be won"):
        CORRIDOR.solution(3)


def test_games_with_too_many_states_are_refused(tasks):
    with pytest.raises(ValueError, match="more than 5 states; choose fewer"):
        explore(tasks[0].path, tasks[0].house.goal, limit=5)


def test_missing_game_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no game file"):
        Interpreter(tmp_path / "game.z8", lambda state, opening: Observation(""))


# ALFWorld, with a TextWorld game in its place


@pytest.fixture
def household(tasks, tmp_path):
    """A folder laid out like ALFWorld's data; the solvable task's game is a TextWorld one."""
    split = tmp_path / "json_2.1.1" / "train"
    for name, solvable in {"look-Lamp-1": True, "pick-Cup-2": True, "pick-Cup-movable-3": True, "heat-Egg-4": False}.items():
        folder = split / name / "trial_T1"
        folder.mkdir(parents=True)
        (folder / "game.tw-pddl").write_text(json.dumps({"solvable": solvable}))
    return tmp_path


def test_alfworld_games_are_found_in_order(household):
    found = alfworld.find_games(household / "json_2.1.1" / "train")
    assert [path.parent.parent.name for path in found] == ["look-Lamp-1", "pick-Cup-2"]
    assert len(alfworld.find_games(household, limit=1)) == 1


def test_alfworld_task_plays_any_textworld_game(tasks):
    task = alfworld.ALFWorldTask(tasks[0].path, Rules(turns=50))
    assert isinstance(task, EpisodicTask)
    environment = task.environment()
    first = environment.reset()
    assert first.text
    assert "$" not in first.text  # of the banner
    assert not environment.step("help").valid
    steps = [environment.step(command) for command in tasks[0].walkthrough]
    assert (steps[-1].success, steps[-1].reward) == (True, 10.0)
    assert environment.reset() == first


def test_alfworld_states_its_task_in_every_observation():
    welcome = "-= Welcome to TextWorld, ALFRED! =-\n\nYou see a desk 1.\n\nYour task is to: put a mug on desk.\n"
    opening = {"feedback": welcome, "admissible_commands": ["help"]}
    later = {"feedback": "You arrive at desk 1.", "admissible_commands": ["help", "go to desk 1"]}
    assert alfworld._observe(opening, opening) == Observation("You see a desk 1. Your task is to: put a mug on desk.")
    assert alfworld._observe(later, opening) == Observation("You arrive at desk 1. Your task is to: put a mug on desk.", ("go to desk 1",))


def test_alfworld_says_how_to_get_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    monkeypatch.setattr(alfworld, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'hierlab\[alfworld\]'"):
        alfworld.alfworld_games()
    monkeypatch.setattr(alfworld, "find_spec", lambda name: object())
    with pytest.raises(FileNotFoundError, match=f"ALFWORLD_DATA={tmp_path} alfworld-download"):
        alfworld.alfworld_games("valid_seen")
    with pytest.raises(ValueError, match="valid_unseen"):
        alfworld.alfworld_games("test")
    with pytest.raises(ValueError, match="limit"):
        alfworld.alfworld_games(limit=0)
