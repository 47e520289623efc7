"""Reading labs without running them, and the digests of the code that made a result."""

import ast
import textwrap

import pytest

from hierlab.lab import digests
from hierlab.lab.digests import differences, experiment_code, imported_modules, lab_code
from hierlab.lab.errors import Refused
from hierlab.lab.notebook import read_notebook

HEAD = """
import marimo

app = marimo.App()

with app.setup:
    import marimo as mo


@app.cell
def parameters():
    scale = "reduced"
    seeds = 0
    overrides = {}
    return overrides, scale, seeds
"""


def written(tmp_path, *cells, head=HEAD):
    path = tmp_path / "gigpo.py"
    path.write_text(
        head + "".join(f"\n\n@app.cell\ndef _():\n{textwrap.indent(textwrap.dedent(c).strip(), '    ')}\n    return\n" for c in cells)
    )
    return read_notebook(path)


SETTINGS = """
@dataclass(frozen=True)
class Settings:
    tasks: int = setting(8, "tasks", least=1)
chosen = settings(Settings, scale, overrides, smoke={"tasks": 2})
"""


def test_cells_and_names(tmp_path):
    notebook = written(tmp_path, "mo.md(r'''\n## Step through\n''')", "a = 1\nb: int = [c for c in range(a)]\ndef f(d): return d + e")
    assert [c.name for c in notebook.cells] == ["setup", "parameters", "_", "_"]
    assert notebook.cells[2].markdown.strip() == "## Step through"
    assert notebook.cells[3].defines == {"a", "b", "f"}
    assert {"e", "mo"} & notebook.cells[3].uses == {"e"}


def test_what_is_no_lab_is_refused(tmp_path):
    for text, words in (("x = 1", "no @app.cell"), ("def (", "cannot be read")):
        (tmp_path / "x.py").write_text(text)
        with pytest.raises(Refused, match=words):
            read_notebook(tmp_path / "x.py")
    with pytest.raises(Refused, match="cannot be read"):
        read_notebook(tmp_path / "absent.py")


def test_settings_are_read_without_running_the_lab(tmp_path):
    notebook = written(tmp_path, "raise SystemExit", SETTINGS)
    assert notebook.settings("smoke", {}).values.tasks == 2
    assert notebook.settings("reduced", {"tasks": "5"}).values.tasks == 5
    with pytest.raises(Refused, match="no setting 'task'"):
        notebook.settings("reduced", {"task": 5})


def test_settings_that_need_the_lab_to_run_are_refused(tmp_path):
    with pytest.raises(Refused, match=r"literals only \(NameError: name 'DEFAULT'"):
        written(tmp_path, SETTINGS.replace("8", "DEFAULT")).settings("reduced", {})
    with pytest.raises(Refused, match="one cell with class Settings"):
        written(tmp_path, "x = 1").settings("reduced", {})


def test_ancestors_are_followed_through_names(tmp_path):
    notebook = written(tmp_path, "a = 1", "unrelated = 2", "b = a + 1", "c = b * 2", "d = c")
    cell = notebook.cells[5]
    assert [sorted(c.defines) for c in notebook.ancestors(cell)] == [["a"], ["b"], ["c"]]


def test_an_experiment_is_found_by_its_name(tmp_path):
    notebook = written(
        tmp_path, 'runs = bench.compare("one", arms)', 'more = bench.compare("two", arms)', 'other = bench.compare("two", arms)'
    )
    assert "runs" in notebook.experiment_cell("one").defines
    for name, words in (("two", "more than one cell"), ("three", "no cell calls")):
        with pytest.raises(Refused, match=words):
            notebook.experiment_cell(name)


def test_digests_ignore_what_cannot_change_a_number(tmp_path):
    plain = lab_code(written(tmp_path, "x = [1, 2]\ndef f(a):\n    return a + 1"))
    for same in (
        "x = [1,  # a comment\n     2,]\n\ndef f(a):\n    return (a + 1)",
        'x = [1, 2]\ndef f(a):\n    """Add one."""\n    return a + 1',
    ):
        assert lab_code(written(tmp_path, same)) == plain
    assert lab_code(written(tmp_path, "mo.md('## Title')", "x = [1, 2]\ndef f(a):\n    return a + 1")) == plain
    for other in (
        "x = [1, 3]\ndef f(a):\n    return a + 1",
        "x = [1, 2]\ndef f(a):\n    return a - 1",
        "x = [1, 2]\ndef f(a):\n    return a + None",
    ):
        assert lab_code(written(tmp_path, other)) != plain


def test_an_experiments_digest_follows_its_own_cells_only(tmp_path):
    cells = ["rate = 1", "from hierlab.credit.gigpo import gigpo", 'runs = bench.compare("one", {"a": gigpo}, rates=rate)', "title = 'x'"]
    before = experiment_code(written(tmp_path, *cells), "one")
    assert experiment_code(written(tmp_path, *cells[:3], "title = 'y'"), "one") == before
    assert experiment_code(written(tmp_path, "rate = 2", *cells[1:]), "one") != before


def test_modules_are_traced_through_packages_to_their_homes():
    for source, modules in (
        ("from hierlab.credit import gigpo", {"hierlab.credit.gigpo"}),
        ("from hierlab.credit.gigpo import gigpo as g", {"hierlab.credit.gigpo"}),
        ("from hierlab.rollout import estimate", {"hierlab.rollout.rollouts"}),
        ("import hierlab.credit", {"hierlab.credit"}),
        ("def f():\n    from hierlab import ops", {"hierlab.ops"}),
        ("import torch, json", set()),
        ("if TYPE_CHECKING:\n    from hierlab.ops import Scale", set()),
    ):
        assert imported_modules(ast.parse(source)) == modules, source
    assert imported_modules(ast.parse("from .rollouts import estimate"), "hierlab.rollout") == {"hierlab.rollout.rollouts"}


def test_a_method_brings_what_it_stands_on_but_not_its_neighbours_nor_the_bench(tmp_path):
    code = lab_code(written(tmp_path, "from hierlab.credit import gigpo\nfrom hierlab.lab import Bench"))
    assert {"lab", "hierlab.credit.gigpo", "hierlab.ops"} <= set(code)
    assert not {"hierlab.credit.gae", "hierlab.trace", "hierlab.lab.bench", "hierlab.files"} & set(code)


def test_modules_that_present_exist_and_those_that_measure_are_followed():
    assert all(digests._file(name) for name in digests.NOT_FOLLOWED)
    measured = imported_modules(ast.parse("from hierlab.lab.microscope import microscope")) - digests.NOT_FOLLOWED
    assert measured == {"hierlab.lab.microscope"}


def test_a_changed_module_is_named(tmp_path, monkeypatch):
    notebook = written(tmp_path, "from hierlab.credit import gigpo")
    before = lab_code(notebook)
    true_digest = digests._module_digest
    monkeypatch.setattr(digests, "_module_digest", lambda name: "other" if name == "hierlab.ops" else true_digest(name))
    assert differences(before, lab_code(notebook)) == ["hierlab.ops changed"]
    assert differences(before, {**before, "hierlab.new": "x"}) == ["hierlab.new newly used"]
    assert differences({**before, "hierlab.old": "x"}, before) == ["hierlab.old no longer used"]
