"""What full scale needs is missed in the first second, by name, with the command that provides it."""

from types import SimpleNamespace

import pytest

from hierlab.lab import preflight
from hierlab.lab.errors import Refused

FULL = SimpleNamespace(engine="vllm", agent="alfworld")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine on which everything is there; returned is what can be taken away."""
    data = tmp_path / "alfworld"
    (data / "json_2.1.1").mkdir(parents=True)
    packages, gpu = {"vllm", "alfworld"}, tmp_path / "gpu"
    gpu.touch()
    monkeypatch.setenv("ALFWORLD_DATA", str(data))
    monkeypatch.setattr(preflight, "find_spec", lambda name: name if name in packages else None)
    monkeypatch.setattr(preflight, "GPUS", (gpu,))
    return SimpleNamespace(packages=packages, gpu=gpu, data=data)


def test_other_settings_need_nothing(machine):
    machine.packages.clear()
    preflight.check_needs(SimpleNamespace())
    preflight.check_needs(SimpleNamespace(engine="transformers", agent="textworld"))


def test_a_complete_machine_passes(machine):
    preflight.check_needs(FULL)


@pytest.mark.parametrize(("package", "command"), [("vllm", r"hierlab\[vllm\]"), ("alfworld", r"hierlab\[alfworld\]")])
def test_missing_package(machine, package, command):
    machine.packages.remove(package)
    with pytest.raises(Refused, match=rf"not installed; run: pip install '{command}'"):
        preflight.check_needs(FULL)


def test_missing_gpu(machine):
    machine.gpu.unlink()
    with pytest.raises(Refused, match="needs a GPU, and this machine has none"):
        preflight.check_needs(FULL)


def test_missing_data(machine):
    (machine.data / "json_2.1.1").rmdir()
    with pytest.raises(Refused, match=r"ALFWorld's games, which are not in .*run: alfworld-download"):
        preflight.check_needs(FULL)
