"""One training, from the start or its last checkpoint to adapter and merged model.

With several processes, each calls `train_student`. Only the main process reads and writes files, except for the shards
of FSDP's checkpoints.
"""

import resource
import sys
from contextlib import nullcontext
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from drp.config.sections import Config
from drp.errors import InputError
from drp.runs.jsonl import Appender
from drp.runs.progress import say
from drp.student.response import Tokenizer
from drp.training.batches import install_padding_free_attention
from drp.training.checkpoints import find_last_checkpoint, is_sharded
from drp.training.examples import ExampleSelection
from drp.training.export import (
    check_export,
    explain_write_errors,
    merge_adapter,
    replace_weights,
    save_adapter,
    save_merged,
)
from drp.training.launch import broadcast, connect_processes, count_processes, is_launched, is_main_process
from drp.training.memory import explain_memory_errors
from drp.training.student import add_adapter, choose_precision, load_base, skip_input_casts
from drp.training.summary import TrainDir, TrainResult, TrainSetup, rewind_log
from drp.training.trainer import CheckpointBest, GracefulStop, ResponseTrainer, StepBar, build_arguments

Weights = dict[str, torch.Tensor]


def train_student(config: Config, selection: ExampleSelection, tokenizer: Tokenizer, folder: TrainDir) -> TrainResult:
    """Train, and write `log.jsonl`, `adapter/` (except with `train.method` full) and `merged/`.

    Raises KeyboardInterrupt after a request to stop, with a checkpoint written; DrpError if the loss is not finite or
    memory runs out.
    """
    disable_progress_bar()  # type: ignore[no-untyped-call]
    with explain_memory_errors(config.train):
        model, setup = _prepare_model(config, connect_processes())
        _check_vocabulary(selection, model)
        weights = _optimize(config, selection, model, setup, folder)
    if is_main_process():
        _export(config, model, weights, tokenizer, folder)
        check_export(folder.merged, selection.train[0], config.student)
    return TrainResult(setup, *_measure_peak_memory())


def _prepare_model(config: Config, device: torch.device) -> tuple[Any, TrainSetup]:
    settings = config.train
    visible = torch.cuda.device_count()
    if not is_launched() and count_processes(settings) == 1 < visible:
        say(f"train: one of {visible} GPUs is used; train.num_processes={visible} would use all")
    precision = choose_precision(settings.precision)
    # A model to be sharded may be too large for one device.
    base = load_base(config, precision, torch.device("cpu") if settings.strategy == "fsdp" else device)
    padding_free = settings.padding_free and _install_attention(base, precision, device)
    model: Any = base if settings.method == "full" else add_adapter(base, settings.lora, config.seed)
    if precision != "fp32":
        skip_input_casts(model)
    if settings.method == "full":
        trained, total = model.num_parameters(only_trainable=True), model.num_parameters()
    else:
        trained, total = model.get_nb_trainable_parameters()  # counts a 4-bit weight as one
    setup = TrainSetup(
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        processes=count_processes(settings),
        precision=precision,
        padding_free=padding_free,
        trained_weights=trained,
        total_weights=total,
    )
    return model, setup


def _install_attention(base: PreTrainedModel, precision: str, device: torch.device) -> bool:
    """Whether the model can be trained on padding-free batches; if not, or only slowly, says why."""
    choice = install_padding_free_attention(base, precision, device)
    if is_main_process() and choice.name is None:
        say(f"train: padding batches of similar lengths, because {choice.reason}")
    elif is_main_process() and choice.reason:
        say(f"train: attention is computed example by example, because {choice.reason}")
    return choice.name is not None


def _check_vocabulary(selection: ExampleSelection, model: Any) -> None:
    """Raises InputError for a token id without an embedding: transformers 5 may add tokens of the model's family."""
    rows = model.get_input_embeddings().num_embeddings
    for example in selection.train + selection.validation:
        if max(example.input_ids) >= rows:
            raise InputError(
                f"student.model: {example.id} has token id {max(example.input_ids)}, but the model has {rows} "
                "embeddings; use the tokenizer that belongs to the model"
            )


def _optimize(config: Config, selection: ExampleSelection, model: Any, setup: TrainSetup, folder: TrainDir) -> Weights:
    """Train from the last checkpoint to the end. Returns the trained weights; with FSDP, in the main process only."""
    checkpoint, seconds = broadcast(_rewind(config, folder) if is_main_process() else (None, 0.0))
    arguments = build_arguments(
        config.train,
        folder.checkpoints,
        config.seed,
        precision=setup.precision,
        validate=bool(selection.validation),
        resumed=checkpoint is not None,
    )
    bar, stop = StepBar(), GracefulStop()
    callbacks = [bar, stop, *([CheckpointBest()] if arguments.metric_for_best_model else [])]
    log_file = Appender(folder.log) if is_main_process() else nullcontext()
    with log_file as log, explain_write_errors(folder.root), stop:
        trainer = ResponseTrainer(
            model=model,
            arguments=arguments,
            train=selection.train,
            validation=selection.validation,
            log=log,
            padding_free=setup.padding_free,
            seconds=seconds,
            callbacks=callbacks,
        )
        try:
            trainer.train(resume_from_checkpoint=checkpoint)
        finally:
            bar.close()
        if stop.requested:
            raise KeyboardInterrupt
        trainer.load_best()
        return trainer.gather_weights()


def _rewind(config: Config, folder: TrainDir) -> tuple[str | None, float]:
    """Rewind the log to the last checkpoint. Returns the checkpoint's path, None if there is none, and the working time
    up to there in seconds."""
    found = find_last_checkpoint(folder.checkpoints)
    seconds = rewind_log(folder.log, found[1] if found else -1)
    if found is None:
        return None, seconds
    checkpoint, step = found
    written = "fsdp" if is_sharded(checkpoint) else "ddp"
    if written != config.train.strategy:
        raise InputError(
            f"{checkpoint}: was written with train.strategy={written}, now it is {config.train.strategy}; set it back, "
            "or start again with --overwrite"
        )
    say(f"train: resuming from optimizer step {step}")
    return str(checkpoint), seconds


def _export(config: Config, model: Any, weights: Weights, tokenizer: Tokenizer, folder: TrainDir) -> None:
    if config.train.method == "full":
        merged = replace_weights(config.student, weights)
    else:
        save_adapter(model, weights, tokenizer, folder.adapter)
        merged = merge_adapter(config.student, folder.adapter)
    save_merged(merged, tokenizer, folder.merged)


def _measure_peak_memory() -> tuple[int, int | None]:
    """Peak memory of this process so far, and on its GPU, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rss = peak >> 20 if sys.platform == "darwin" else peak >> 10  # bytes on macOS, KiB on Linux
    return rss, torch.cuda.max_memory_allocated() >> 20 if torch.cuda.is_available() else None
