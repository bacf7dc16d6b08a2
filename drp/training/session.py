"""One training from start, or from its last checkpoint, to adapter and merged model. With several processes each runs
this; the leader alone reads and writes what is on disk, but for the checkpoints' parts."""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from drp.config.sections import Config
from drp.errors import InputError
from drp.runs.jsonl import Appender
from drp.runs.progress import say
from drp.student.response import Tokenizer
from drp.training import batches as attention
from drp.training.checkpoints import find_checkpoint, is_sharded
from drp.training.examples import Selection
from drp.training.export import check_export, explain_write_errors, merge_adapter, put_back, save_adapter, save_merged
from drp.training.launch import count_processes, join, leads, share
from drp.training.student import add_adapter, choose_precision, prepare_weights
from drp.training.summary import Setup, TrainDir, Trained, measure_peaks, rewind_log
from drp.training.trainer import CheckpointBest, GracefulStop, ResponseTrainer, StepBar, build_arguments

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Student:
    """The model ready to be trained."""

    model: Any
    setup: Setup


def train_student(config: Config, selection: Selection, tokenizer: Tokenizer, folder: TrainDir) -> Trained:
    """Train, and write `log.jsonl`, `adapter/` (but with `train.method` full) and `merged/`.

    Raises KeyboardInterrupt when asked to stop, with a checkpoint written; DrpError where the loss is not a number.
    """
    disable_progress_bar()  # type: ignore[no-untyped-call]
    student = prepare_student(config, join())
    _check_vocabulary(selection, student.model)
    weights = _optimize(config, selection, student, folder)
    if leads():
        _export(config, student, weights, tokenizer, folder)
        check_export(folder.merged, selection.train[0])
    return Trained(student.setup, *measure_peaks())


def _export(config: Config, student: Student, weights: Weights, tokenizer: Tokenizer, folder: TrainDir) -> None:
    if config.train.method == "full":
        merged = put_back(config.student, weights)
    else:
        save_adapter(student.model, weights, tokenizer, folder.adapter)
        merged = merge_adapter(config.student, folder.adapter)
    save_merged(merged, tokenizer, folder.merged)


def prepare_student(config: Config, device: torch.device) -> Student:
    settings = config.train
    precision = choose_precision(settings.precision)
    # The attention is tried where it will run; a model that is to be cut up may be too large for that.
    base = prepare_weights(config, precision, torch.device("cpu") if settings.strategy == "fsdp" else device)
    joined = settings.padding_free and attention.install(base)
    if settings.padding_free and not joined and leads():
        say("train: this model's attention cannot take examples side by side; padding batches of similar lengths")
    model: Any = base if settings.method == "full" else add_adapter(base, settings.lora, config.seed)
    trained, total = _count_weights(model)
    setup = Setup(
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        processes=count_processes(settings),
        precision=precision,
        padding_free=joined,
        trained_weights=trained,
        total_weights=total,
    )
    return Student(model, setup)


def _count_weights(model: Any) -> tuple[int, int]:
    """Those that are trained, and all; four bits count as one weight."""
    if hasattr(model, "get_nb_trainable_parameters"):
        trained, total = model.get_nb_trainable_parameters()
        return trained, total
    return model.num_parameters(only_trainable=True), model.num_parameters()


def _check_vocabulary(selection: Selection, model: Any) -> None:
    """transformers 5 may add tokens of a model family that this student's embeddings have no row for."""
    rows = model.get_input_embeddings().num_embeddings
    for example in selection.train + selection.validation:
        if max(example.input_ids) >= rows:
            raise InputError(
                f"student.model: {example.id} has token {max(example.input_ids)}, the model knows {rows} tokens; "
                "tokenizer and model do not belong together"
            )


def _optimize(config: Config, selection: Selection, student: Student, folder: TrainDir) -> Weights:
    """Returns the trained weights, on the leader."""
    found, seconds = share(_go_back(config, folder) if leads() else (None, 0.0))
    arguments = build_arguments(
        config.train,
        folder.checkpoints,
        config.seed,
        precision=student.setup.precision,
        validate=bool(selection.validation),
        resumed=found is not None,
    )
    bar, stop = StepBar(), GracefulStop()
    callbacks = [bar, stop, *([CheckpointBest()] if arguments.metric_for_best_model else [])]
    opened = Appender(folder.log) if leads() else nullcontext()
    with opened as log, explain_write_errors(folder.root), stop:
        trainer = ResponseTrainer(
            student.model,
            arguments,
            selection.train,
            selection.validation,
            log,
            joined=student.setup.padding_free,
            seconds=seconds,
            callbacks=callbacks,
        )
        try:
            trainer.train(resume_from_checkpoint=found)
        finally:
            bar.close()
        if stop.asked:
            raise KeyboardInterrupt
        trainer.load_best()
        return trainer.gather_weights()


def _go_back(config: Config, folder: TrainDir) -> tuple[str | None, float]:
    """To the last checkpoint, which is returned with the working time up to there; the log as well."""
    found = find_checkpoint(folder.checkpoints)
    seconds = rewind_log(folder.log, found[1] if found else -1)
    if found is None:
        return None, seconds
    _check_strategy(config, found[0])
    say(f"train: going on from optimizer step {found[1]}")
    return str(found[0]), seconds


def _check_strategy(config: Config, checkpoint: Path) -> None:
    written = "fsdp" if is_sharded(checkpoint) else "ddp"
    if written != config.train.strategy:
        raise InputError(
            f"{checkpoint}: was written with train.strategy={written}, now it is {config.train.strategy}; set it back, "
            "or start again with --overwrite"
        )
