"""The methods beside plain LoRA: full training, and an adapter on a student in 4 bits (QLoRA)."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from drp.errors import ConfigError, MissingExtra
from drp.stages.evaluate import list_models
from tests.training.runs import prepare, run


def test_full_training_writes_a_model_in_its_stored_type_and_no_adapter(student: Path, tmp_path: Path) -> None:
    config = prepare(tmp_path, student, method="full", learning_rate=2e-3, gradient_checkpointing=True)
    summary = run(config)
    assert summary.validation_loss is not None
    assert summary.validation_loss_before is not None
    assert summary.validation_loss < summary.validation_loss_before - 0.1
    assert summary.setup.trained_weights == summary.setup.total_weights
    assert not (tmp_path / "train/adapter").exists()
    model = AutoModelForCausalLM.from_pretrained(list_models(config)["drp"].model)
    base = AutoModelForCausalLM.from_pretrained(student)
    assert model.dtype == base.dtype == torch.bfloat16
    changed = [name for name, weight in model.state_dict().items() if not weight.equal(base.state_dict()[name])]
    assert len(changed) == len(model.state_dict()), "every weight was trained"
    assert AutoTokenizer.from_pretrained(tmp_path / "train/merged").chat_template


def test_full_training_keeps_float32_weights_when_it_computes_in_half_precision(student: Path, tmp_path: Path) -> None:
    losses = []
    for precision in ("fp32", "bf16"):
        config = prepare(
            tmp_path / precision, student, epochs=1, method="full", learning_rate=3e-5, precision=precision
        )
        losses.append(run(config).last_loss)
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)


def test_a_missing_extra_is_named_with_its_pip_command(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drp.training.launch.find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"pip install 'drp-reasoning\[qlora\]'"):
        run(prepare(tmp_path, student, method="qlora"))
    with pytest.raises(MissingExtra, match=r"pip install 'drp-reasoning\[liger\]'"):
        run(prepare(tmp_path, student, liger=True))
    assert not (tmp_path / "train").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="only without a GPU")
def test_ligers_kernels_are_refused_without_a_gpu(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drp.training.launch.find_spec", lambda _: True)
    with pytest.raises(ConfigError, match=r"train\.liger.*GPU"):
        run(prepare(tmp_path, student, liger=True))


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs the extra qlora")
def test_an_adapter_trained_on_four_bits_is_merged_into_the_stored_weights(tmp_path: Path) -> None:
    from peft import PeftModel

    student = Path(__file__).parents[2] / "data/tiny/model"
    config = prepare(tmp_path, student, method="qlora", learning_rate=1e-2)
    summary = run(config)
    assert summary.last_loss < summary.first_loss - 0.3
    base = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "train/merged")
    assert merged.dtype == AutoModelForCausalLM.from_pretrained(student).dtype
    with torch.no_grad():
        ids = torch.arange(10, 50)[None]
        plain = base(input_ids=ids).logits
        adapted = PeftModel.from_pretrained(base, str(tmp_path / "train/adapter"))(input_ids=ids).logits
        logits = merged.float()(input_ids=ids).logits
    # The merged weights are rounded to bfloat16, 8 significant bits.
    assert (logits - adapted).abs().mean() < 0.1 * (adapted - plain).abs().mean()
