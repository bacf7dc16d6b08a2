"""One training from start, or from its last checkpoint, to adapter and merged model."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from drp.artifacts import Appender
from drp.errors import InputError
from drp.progress import say
from drp.settings import Config
from drp.traces import Tokenizer
from drp.training import attention
from drp.training.callbacks import GracefulStop, StepBar
from drp.training.checkpoints import find_checkpoint
from drp.training.examples import Selection
from drp.training.export import check_export, explain_write_errors, save_adapter, save_merged
from drp.training.journal import read_log, rewind_log
from drp.training.student import add_adapter, choose_precision, load_student
from drp.training.summary import Setup, TrainDir
from drp.training.trainer import ResponseTrainer, build_arguments


@dataclass(frozen=True)
class Student:
    """The model ready to be trained. dtype: the type that its base weights are stored in."""

    model: Any
    dtype: torch.dtype
    setup: Setup


def train_student(config: Config, selection: Selection, tokenizer: Tokenizer, folder: TrainDir) -> Setup:
    """Train, and write `log.jsonl`, `adapter/` and `merged/`.

    Raises KeyboardInterrupt when asked to stop, with a checkpoint written; DrpError where the loss is not a number.
    """
    disable_progress_bar()  # type: ignore[no-untyped-call]
    student = prepare_student(config)
    _check_vocabulary(selection, student.model)
    _optimize(config, selection, student, folder)
    save_adapter(student.model, tokenizer, folder.adapter)
    save_merged(student.model, tokenizer, student.dtype, folder.merged)
    check_export(folder.merged, selection.train[0])
    return student.setup


def prepare_student(config: Config) -> Student:
    settings = config.train
    precision = choose_precision(settings.precision)
    base, dtype = load_student(config.student, precision)
    if torch.cuda.is_available():
        base.to("cuda")  # type: ignore[arg-type]  # the attention is tried where it will run
    joined = settings.padding_free and attention.install(base)
    if settings.padding_free and not joined:
        say("train: this model's attention cannot take examples side by side; padding batches of similar lengths")
    model = add_adapter(base, settings.lora, config.seed)
    setup = Setup(
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        precision=precision,
        padding_free=joined,
        trained_weights=sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
        total_weights=sum(weight.numel() for weight in model.parameters()),
    )
    return Student(model, dtype, setup)


def _check_vocabulary(selection: Selection, model: Any) -> None:
    """transformers 5 may add tokens of a model family that this student's embeddings have no row for."""
    rows = model.get_input_embeddings().num_embeddings
    for example in selection.train + selection.validation:
        if max(example.input_ids) >= rows:
            raise InputError(
                f"student.model: {example.id} has token {max(example.input_ids)}, the model knows {rows} tokens; "
                "tokenizer and model do not belong together"
            )


def _optimize(config: Config, selection: Selection, student: Student, folder: TrainDir) -> None:
    found = find_checkpoint(folder.checkpoints)
    seconds = rewind_log(folder.log, found[1] if found else -1)
    if found:
        say(f"train: going on from optimizer step {found[1]}")
    arguments = build_arguments(
        config.train,
        folder.checkpoints,
        config.seed,
        precision=student.setup.precision,
        validate=bool(selection.validation),
        resumed=found is not None,
    )
    bar, stop = StepBar(), GracefulStop()
    with Appender(folder.log) as log, explain_write_errors(folder.root), stop:
        trainer = ResponseTrainer(
            student.model,
            arguments,
            selection.train,
            selection.validation,
            log,
            joined=student.setup.padding_free,
            seconds=seconds,
            callbacks=[bar, stop],
        )
        try:
            trainer.train(resume_from_checkpoint=str(found[0]) if found else None)
        finally:
            bar.close()
        if stop.asked:
            raise KeyboardInterrupt
        _validate_at_the_end(trainer, folder)


def _validate_at_the_end(trainer: ResponseTrainer, folder: TrainDir) -> None:
    """Unless the last step was just followed by a validation."""
    if trainer.eval_dataset is None:
        return
    last = read_log(folder.log)[-1]
    if last.validation_loss is None or last.step != trainer.state.global_step:
        trainer.evaluate()
