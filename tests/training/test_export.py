"""The merged model equals base plus adapter; both folders load in transformers with the tokenizer of the training."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from drp.config.sections import Config
from drp.training.summary import TrainDir, TrainSummary
from tests.tiny import R1_NEWER, build_model, build_tokenizer
from tests.training.runs import ADAPTER, prepare, run

Finished = tuple[Config, TrainSummary]
PROMPT = torch.arange(40)[None]


@pytest.fixture(scope="module")
def finished_in_float32(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Trains a student in float32 whose tokenizer has one added token more than its family."""
    student = tmp_path_factory.mktemp("float32")
    tokenizer = build_tokenizer(R1_NEWER)
    tokenizer.add_tokens(["<skill>"])
    build_model(tokenizer).save_pretrained(student)
    tokenizer.save_pretrained(student)
    config = prepare(tmp_path_factory.mktemp("run"), student)
    return config, run(config)


def compute_adapted(config: Config) -> torch.Tensor:
    base = AutoModelForCausalLM.from_pretrained(config.student.model, dtype=torch.float32)
    with torch.no_grad():
        plain = base(input_ids=PROMPT).logits
        adapted = PeftModel.from_pretrained(base, str(TrainDir(config.run_dir / "train").adapter))(PROMPT).logits
    assert (adapted - plain).abs().max() > 0.1
    return adapted


def compute_merged(config: Config) -> torch.Tensor:
    merged = AutoModelForCausalLM.from_pretrained(TrainDir(config.run_dir / "train").merged)
    assert merged.config.use_cache
    with torch.no_grad():
        return merged.float()(input_ids=PROMPT).logits


def test_a_model_merged_in_float32_computes_what_base_and_adapter_compute(finished_in_float32: Finished) -> None:
    config, _ = finished_in_float32
    torch.testing.assert_close(compute_merged(config), compute_adapted(config), rtol=0, atol=1e-5)


def test_weights_are_added_in_float32_and_rounded_once_to_the_type_of_the_base(finished: Finished) -> None:
    config, _ = finished
    folder = TrainDir(config.run_dir / "train")
    before, merged = (load_file(Path(path) / "model.safetensors") for path in (config.student.model, folder.merged))
    adapter = load_file(folder.root / ADAPTER)
    changed = 0
    for name, weight in merged.items():
        expected = before[name]
        a = adapter.get(f"base_model.model.{name.removesuffix('weight')}lora_A.weight")
        if a is not None:
            b = adapter[f"base_model.model.{name.removesuffix('weight')}lora_B.weight"]
            expected = (expected.float() + config.train.lora.alpha / config.train.lora.rank * b @ a).bfloat16()
            changed += 1
        assert weight.dtype == torch.bfloat16
        assert torch.equal(weight, expected), name
    assert changed == 2 * 7, "all linear layers of both blocks"
    # The tolerance is that of weights rounded to 8 significant bits.
    torch.testing.assert_close(compute_merged(config), compute_adapted(config), rtol=0.02, atol=0.02)


def test_the_tokenizer_is_saved_with_its_added_tokens(finished_in_float32: Finished) -> None:
    config, _ = finished_in_float32
    trained = AutoTokenizer.from_pretrained(config.student.model)
    for name in ("adapter", "merged"):
        saved = AutoTokenizer.from_pretrained(config.run_dir / "train" / name)
        assert saved.get_vocab() == trained.get_vocab()
        assert saved("<skill>", add_special_tokens=False)["input_ids"] == [262]
        assert saved.chat_template == trained.chat_template
        assert saved.eos_token_id == trained.eos_token_id
