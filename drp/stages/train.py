"""Stage train: pruned.jsonl -> train/, a LoRA adapter of the student and the student with it merged in; or, with
`train.method` full, the student with all of its weights trained.

    train/sft.jsonl      every example as trained on: text, token ids, which part carries loss
    train/log.jsonl      loss, learning rate, gradient norm, tokens/s of every optimizer step; validation losses
    train/adapter/       the adapter, with the tokenizer trained with; not with `train.method` full
    train/merged/        the trained model, adapter merged into the base, in the base's dtype, with the same tokenizer
    train/summary.json   counts, losses, speed, memory, versions: `TrainSummary`

A killed training resumes from its last checkpoint (`train.checkpoint_steps`).
"""

import signal
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drp.config.sections import Config
from drp.errors import InputError
from drp.records import Failure
from drp.runs.jsonl import Appender, explain_os_errors, lock, read_records, write_atomically
from drp.runs.manifest import InputDigest, Manifest, check_input, load_manifest, prepare_manifest, remove_artifact
from drp.runs.progress import report, say
from drp.runs.rundir import RunDir, failures_path
from drp.runs.stage import RunOptions, check_failures, waits_for
from drp.student.response import ChatFormat, load_format
from drp.training.checkpoints import remove_checkpoints
from drp.training.examples import ExampleSelection, TrainingRecord, select_examples, write_examples
from drp.training.launch import check_machine, is_launched, is_main_process, launch_processes
from drp.training.summary import TrainDir, TrainResult, TrainSummary, read_log, summarize

if TYPE_CHECKING:
    from drp.training.preflight import Preflight


def run(config: Config, options: RunOptions = RunOptions()) -> TrainSummary | None:
    """Train, or finish a training that was interrupted. Returns its summary; None for a dry run, and in the processes
    of a launcher that are not the main one.

    Raises InputError for a missing or changed input, and TooManyFailures after everything was written.
    """
    source, folder = _locate(config, options)
    if not is_main_process():
        _join_training(config, options, folder)
        return None
    if waits_for(source, "train", options):
        return None
    check_input(source, "train")
    check_machine(config.train)
    if options.dry_run:
        selection, _ = _select(config, options)
        report(f"train would use {selection.counts().describe()} -> {folder.root}")
        return None
    with lock(folder.root):
        manifest = _open_manifest(config, options, source, folder)
        summary = load_summary(folder.summary) if manifest.state == "complete" else None
        if summary is None:
            with manifest.track(folder.root):
                summary = _train(config, options, manifest.fingerprint, folder)
                manifest.counts = summary.counts
    report(f"train: {summary.counts.describe()} -> {folder.root}")
    report(f"train: {summary.describe()}")
    reasons = Counter(failure.kind for failure in read_records(failures_path(folder.root), Failure, "raise"))
    check_failures("train", summary.counts, folder.root, config.max_failures, reasons)
    return summary


def preview(config: Config, options: RunOptions = RunOptions()) -> "Preflight":
    """What would be trained on, checked. Writes nothing."""
    check_input(_locate(config, options)[0], "train")
    check_machine(config.train)
    return _inspect(config, *_select(config, options))


def load_summary(path: Path) -> TrainSummary | None:
    """A training's summary.json; None if there is none yet."""
    if not path.exists():
        return None
    with explain_os_errors(path):
        return TrainSummary.model_validate_json(path.read_text())


def _locate(config: Config, options: RunOptions) -> tuple[Path, TrainDir]:
    rundir = RunDir(config.run_dir)
    return options.input or rundir.pruned, TrainDir(options.output or rundir.train)


def _join_training(config: Config, options: RunOptions, folder: TrainDir) -> None:
    """The part of a process that the user's launcher started beside the main one, which alone reports."""
    # If the main process refuses to train, this one waits for it inside torch, where Python's signal handlers do not
    # run: the launcher has to be able to end it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    from drp.training.session import train_student

    manifest = load_manifest(folder.root)
    done = manifest is not None and manifest.state == "complete" and folder.summary.exists()
    if options.dry_run or (done and not options.overwrite):
        return
    try:
        selection, format = _select(config, options)
        train_student(config, selection, format.tokenizer, folder)
    except KeyboardInterrupt:
        sys.exit(130)


def _select(config: Config, options: RunOptions) -> tuple[ExampleSelection, ChatFormat]:
    """The examples to train on, and the student's text format. Raises InputError if there is no example."""
    source, _ = _locate(config, options)
    format = load_format(config.student)
    records = islice(read_records(source, TrainingRecord), options.limit)
    selection = select_examples(records, format, config.train, config.seed)
    if not selection.train:
        hint = "; see train.cutoff_tokens and train.only_correct" if selection.filtered else ""
        raise InputError(f"train: nothing to train on in {source}: {selection.counts().describe()}{hint}")
    return selection, format


def _inspect(config: Config, selection: ExampleSelection, format: ChatFormat) -> "Preflight":
    from drp.training.memory import estimate_memory
    from drp.training.preflight import inspect_examples

    shown = inspect_examples(selection, format, config.train)
    return shown.model_copy(update={"memory": estimate_memory(config, selection)})


def _open_manifest(config: Config, options: RunOptions, source: Path, folder: TrainDir) -> Manifest:
    """The manifest of this training. A record stage may go on with an input that has grown; training depends on the
    whole input, so the input's digest is part of the fingerprint."""
    digest = InputDigest.of(source)
    fingerprint: dict[str, Any] = {
        "train": config.train.identity(),
        "student": config.student.identity(),
        "seed": config.seed,
        "limit": options.limit,
        "input": digest.sha256,
    }
    parts = [folder.sft, folder.log, folder.summary, folder.checkpoints, folder.adapter, folder.merged]
    if options.overwrite:
        remove_artifact(folder.root, parts)
    manifest = prepare_manifest("train", folder.root, fingerprint, [], parts=parts)
    manifest.inputs = {source.name: digest}
    return manifest


def _train(config: Config, options: RunOptions, fingerprint: dict[str, Any], folder: TrainDir) -> TrainSummary:
    selection, format = _select(config, options)
    say(_inspect(config, selection, format).render())
    write_examples(folder.sft, selection)
    with Appender(failures_path(folder.root), truncate=True) as failures:
        for failure in selection.failures:
            failures.append(failure)
    result = _train_student(config, selection, format, folder)
    lines = read_log(folder.log)
    summary = summarize(lines, config=config, selection=selection, result=result, fingerprint=fingerprint)
    write_atomically(folder.summary, lambda draft: draft.write_text(summary.model_dump_json(indent=2) + "\n"))
    remove_checkpoints(folder.checkpoints)
    return summary


def _train_student(config: Config, selection: ExampleSelection, format: ChatFormat, folder: TrainDir) -> TrainResult:
    """Train in this process, or in `train.num_processes` new ones."""
    from drp.training.session import train_student

    n = config.train.num_processes
    if is_launched() or n == 1:
        return train_student(config, selection, format.tokenizer, folder)
    return launch_processes(n, train_student, config, selection, format.tokenizer, folder)
