"""What a training takes is estimated close to what torch then keeps."""

from pathlib import Path
from typing import Any

import pytest
import torch

from drp.config.sections import Config
from drp.stages import train
from drp.training import batches as attention
from drp.training.batches import join_examples, sum_loss
from drp.training.examples import Example, Selection
from drp.training.preflight import estimate, forecast, measure_shape
from drp.training.student import add_adapter, prepare_weights
from tests.training.runs import prepare

TINY = Path(__file__).parents[2] / "data/tiny/model"
EXAMPLES = [Example(str(number), "", "", [1] * 40, [5] * 160) for number in range(4)]


def configure(folder: Path, model: Path = TINY, **settings: Any) -> Config:
    train = {"batch_size": 4, "precision": "fp32"} | settings
    return Config.model_validate({"run_dir": folder, "student": {"model": str(model)}, "train": train})


def measure_kept(config: Config, model: Any, vocabulary: int) -> int:
    """Bytes that autograd keeps for the backward pass, beside the weights and the logits; each storage once."""
    own = {part.untyped_storage().data_ptr() for part in [*model.parameters(), *model.buffers()]}
    kept: dict[int, torch.Tensor] = {}

    def keep(part: torch.Tensor) -> torch.Tensor:
        if part.untyped_storage().data_ptr() not in own and (not part.dim() or part.shape[-1] != vocabulary):
            kept[part.untyped_storage().data_ptr()] = part
        return part

    half = torch.autocast("cpu", torch.bfloat16, enabled=config.train.precision == "bf16")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda part: part), half:
        sum_loss(model, join_examples(EXAMPLES))
    return sum(part.untyped_storage().nbytes() for part in kept.values())


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_activations_are_estimated_to_a_tenth(method: str, precision: str, tmp_path: Path) -> None:
    config = configure(tmp_path, method=method, precision=precision)
    shape = measure_shape(config)
    model = prepare_weights(config, precision, torch.device("cpu"))
    assert attention.install(model)
    student = model if method == "full" else add_adapter(model, config.train.lora, 0)
    assert shape.trained == sum(part.numel() for part in student.parameters() if part.requires_grad)
    expected = measure_kept(config, student, shape.vocabulary)
    memory = estimate(shape, config.train, Selection(train=EXAMPLES))
    copies = memory.weights if method == "full" else 0  # in half precision, which autograd keeps as well
    assert memory.activations + copies == pytest.approx(expected, rel=0.1)
    assert memory.logits == 4 * 160 * shape.vocabulary * 12
    assert memory.n_tokens == 800


def test_what_does_not_fit_is_said_with_what_would_take_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drp.training.preflight.find_free", lambda _: (2**20, "the CPU"))
    shown = forecast(configure(tmp_path, gradient_accumulation=2), Selection(train=EXAMPLES))
    assert not shown.fits
    assert shown.others["both"] < min(shown.others["train.gradient_checkpointing=true"], shown.memory.total)
    assert shown.others["train.batch_size=1 and train.gradient_accumulation=8"] < shown.memory.total
    assert "WARNING" in shown.render()


def test_sharded_and_quantized_weights_take_their_share(tmp_path: Path) -> None:
    selection = Selection(train=EXAMPLES)

    def weigh(**settings: Any) -> int:
        config = configure(tmp_path, **settings)
        return estimate(measure_shape(config), config.train, selection).weights

    whole = weigh()
    assert weigh(num_processes=8, strategy="fsdp", gradient_accumulation=8) < whole
    assert weigh(method="qlora") < whole / 3


def test_the_preview_tells_the_memory(student: Path, tmp_path: Path) -> None:
    assert "memory a process: " in train.preview(prepare(tmp_path, student)).render()
