"""The estimate of a training's memory is close to what torch then allocates."""

from pathlib import Path
from typing import Any

import pytest
import torch

from drp.config.sections import Config
from drp.errors import DrpError
from drp.stages import train
from drp.training.batches import install_padding_free_attention, join_examples, sum_loss
from drp.training.examples import Example, ExampleSelection
from drp.training.memory import compute_need, estimate_memory, explain_memory_errors, measure_shape
from drp.training.student import add_adapter, load_base, skip_input_casts
from drp.training.trainer import ResponseTrainer
from tests.training.runs import prepare, read_log, run

TINY = Path(__file__).parents[2] / "data/tiny/model"
EXAMPLES = [
    Example(id=str(number), question="", response="", prompt_ids=[1] * 40, response_ids=[5] * 160)
    for number in range(4)
]


def configure(folder: Path, model: Path = TINY, **settings: Any) -> Config:
    train = {"batch_size": 4, "precision": "fp32"} | settings
    return Config.model_validate({"run_dir": folder, "student": {"model": str(model)}, "train": train})


def measure_kept(config: Config, model: Any, vocabulary: int) -> int:
    """Bytes that autograd keeps for the backward pass, without weights and logits; each storage is counted once."""
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
def test_activations_are_estimated_within_ten_percent(method: str, precision: str, tmp_path: Path) -> None:
    config = configure(tmp_path, method=method, precision=precision)
    shape = measure_shape(config)
    model = load_base(config, precision, torch.device("cpu"))
    assert install_padding_free_attention(model).name
    student = model if method == "full" else add_adapter(model, config.train.lora, 0)
    if precision == "bf16":
        skip_input_casts(student)
    assert shape.trained == sum(part.numel() for part in student.parameters() if part.requires_grad)
    expected = measure_kept(config, student, shape.vocabulary)
    need = compute_need(shape, config.train, ExampleSelection(train=EXAMPLES))
    copies = (
        need.weights if method == "full" else 0
    )  # autocast's copies in half precision, which autograd keeps as well
    assert need.activations + copies == pytest.approx(expected, rel=0.1)
    assert need.logits == (4 * 160 * (4 if precision == "fp32" else 6) + 512 * 4) * shape.vocabulary
    assert need.n_tokens == 800


def test_a_training_that_does_not_fit_is_reported_with_settings_that_need_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drp.training.memory.measure_free", lambda _: (2**20, "the CPU"))
    estimate = estimate_memory(configure(tmp_path, gradient_accumulation=2), ExampleSelection(train=EXAMPLES))
    assert not estimate.fits
    assert estimate.alternatives["both"] < min(
        estimate.alternatives["train.gradient_checkpointing=true"], estimate.need.total
    )
    assert estimate.alternatives["train.batch_size=1 and train.gradient_accumulation=8"] < estimate.need.total
    assert "WARNING" in estimate.render()


def test_sharded_and_quantized_weights_need_less(tmp_path: Path) -> None:
    selection = ExampleSelection(train=EXAMPLES)

    def weigh(**settings: Any) -> int:
        config = configure(tmp_path, **settings)
        return compute_need(measure_shape(config), config.train, selection).weights

    whole = weigh()
    assert weigh(num_processes=8, strategy="fsdp", gradient_accumulation=8) < whole
    assert weigh(method="qlora") < whole / 3


def test_a_training_that_runs_out_of_memory_names_settings_and_resumes_with_them(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute_step = ResponseTrainer.training_step
    done = 0

    def run_out(self: ResponseTrainer, *arguments: Any, **given: Any) -> torch.Tensor:
        nonlocal done
        done += 1
        if done > 11:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return compute_step(self, *arguments, **given)

    with monkeypatch.context() as full:
        full.setattr(ResponseTrainer, "training_step", run_out)
        with pytest.raises(
            DrpError, match=r"Tried to allocate 2\.00 GiB.*train\.gradient_checkpointing=true"
        ) as caught:
            train.run(prepare(tmp_path, student))
    assert "train.batch_size=1 with train.gradient_accumulation=8" in str(caught.value)
    assert read_log(tmp_path)
    summary = run(prepare(tmp_path, student, gradient_checkpointing=True))
    assert done == 12
    assert summary.steps == read_log(tmp_path)[-1].step


def test_errors_that_are_not_about_memory_are_passed_on(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shapes"), explain_memory_errors(configure(tmp_path).train):
        raise RuntimeError("shapes differ")
    cheapest = configure(tmp_path, batch_size=1, gradient_checkpointing=True).train
    with pytest.raises(DrpError, match="qlora"), explain_memory_errors(cheapest):
        raise MemoryError


def test_the_preview_shows_the_memory(student: Path, tmp_path: Path) -> None:
    assert "memory per process: " in train.preview(prepare(tmp_path, student)).render()
