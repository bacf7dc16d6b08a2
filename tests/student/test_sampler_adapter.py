"""A model with an unmerged adapter gives the responses of the merged model, in either backend."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from drp.config.sections import EngineSettings, SamplingSettings
from drp.errors import ConfigError, InputError
from drp.student.sampler import open_sampler

GREEDY = SamplingSettings(temperature=0, max_new_tokens=30)


@pytest.fixture(scope="module")
def adapter(student, tokenizer, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32)
    # Not a rank that vLLM is compiled for.
    model = get_peft_model(base, LoraConfig(r=5, target_modules="all-linear", init_lora_weights=False))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    model.merge_and_unload().save_pretrained(folder / "merged")
    tokenizer.save_pretrained(folder / "merged")
    return folder


def draw(model: Path, backend: str, requests, adapter: Path | None = None):
    engine = EngineSettings(backend=backend, dtype="float32")
    sampler = open_sampler(str(model), engine, GREEDY, 0, adapter=str(adapter) if adapter else None)
    drawn = {one.id: one for one in sampler.sample(iter(requests))}
    sampler.close()
    return drawn


@pytest.mark.parametrize("backend", ["transformers", pytest.param("vllm", marks=pytest.mark.vllm)])
def test_model_and_adapter_respond_as_the_merged_model_does(backend, student, adapter, requests):
    adapted = draw(student, backend, requests, adapter)
    assert adapted == draw(adapter / "merged", "transformers", requests)
    assert adapted != draw(student, "transformers", requests)


def test_folder_without_an_adapter_is_one_message(student, tmp_path):
    with pytest.raises(InputError, match=r"no adapter_config\.json"):
        open_sampler(str(student), EngineSettings(backend="transformers"), GREEDY, 0, adapter=str(tmp_path))


def test_an_adapter_of_another_kind_is_one_message(student, tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "PREFIX_TUNING"}')
    with pytest.raises(InputError, match="not a LoRA adapter"):
        open_sampler(str(student), EngineSettings(backend="transformers"), GREEDY, 0, adapter=str(tmp_path))


def test_a_server_cannot_load_an_adapter(student, adapter):
    engine = EngineSettings(backend="server", base_url="http://127.0.0.1:1/v1")
    with pytest.raises(ConfigError, match=r"eval\.models.*`server` cannot load adapters"):
        open_sampler(str(student), engine, GREEDY, 0, adapter=str(adapter))
