"""Stage train: pruned.jsonl -> train/, a LoRA adapter of the student and the student with it merged in; or, with
`train.method` full, the student with all of its weights trained.

    train/sft.jsonl      every example as trained on: text, token ids, which part carries loss
    train/log.jsonl      loss, learning rate, gradient norm, tokens/s of every optimizer step; validation losses
    train/adapter/       the adapter, with the tokenizer trained with; none with `train.method` full
    train/merged/        the trained model, base and adapter in one, in the base's own type, with the same tokenizer
    train/summary.json   counts, losses, speed, memory, versions: `TrainSummary`

A kill loses what came after the last checkpoint (`train.checkpoint_steps`); the next run goes on from there.
"""

import shutil
import signal
import sys
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drp.config.sections import Config
from drp.errors import InputError
from drp.records import Failure
from drp.runs.jsonl import Appender, explain_os_errors, lock, read_records, scan, write_atomically
from drp.runs.manifest import InputDigest, Manifest, check_input, check_unchanged, load_manifest, now, package_versions
from drp.runs.progress import report, say
from drp.runs.rundir import RunDir
from drp.runs.stage import RunOptions, check_failures, failures_path, waits_for
from drp.student.response import Tokenizer, load_tokenizer

if TYPE_CHECKING:
    from drp.training.examples import ExampleSelection
    from drp.training.preflight import Preflight
    from drp.training.summary import TrainDir, TrainResult, TrainSummary


def run(config: Config, options: RunOptions = RunOptions()) -> "TrainSummary | None":
    """Do what is missing of the training. Returns its summary; None for a dry run, and in a process that does not lead.

    Raises InputError for a missing or changed input, TooManyFailures after everything was written.
    """
    from drp.training.launch import is_main_process
    from drp.training.summary import TrainDir

    source, folder = _locate(config, options)
    if not is_main_process():
        _follow(config, options, folder)
        return None
    if waits_for(source, "train", options):
        return None
    check_input(source, "train")
    _check_machine(config)
    if options.dry_run:
        selection, _ = _select(config, options)
        report(f"train would use {selection.counts().describe()} -> {folder.root}")
        return None
    with lock(folder.root):
        manifest = _open_manifest(config, options, source, folder)
        summary = load_summary(folder.summary) if manifest.state == "complete" else None
        if summary is None:
            summary = _finish(config, options, manifest, TrainDir(folder.root))
    report(f"train: {summary.counts.describe()} -> {folder.root}")
    report(f"train: {summary.describe()}")
    reasons = Counter(Failure.model_validate(item).kind for item in scan(failures_path(folder.root)))
    check_failures("train", summary.counts, folder.root, config.max_failures, reasons)
    return summary


def _follow(config: Config, options: RunOptions, folder: "TrainDir") -> None:
    """The share of a process that a user's launcher started beside the leader; that one tells what happens."""
    # Where the leader refuses, this waits for it in torch, where no handler of Python's runs: a launcher has to be able
    # to end it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    from drp.training.session import train_student

    manifest = load_manifest(folder.root)
    done = manifest is not None and manifest.state == "complete" and folder.summary.exists()
    if options.dry_run or (done and not options.overwrite):
        return
    try:
        train_student(config, *_select(config, options), folder)
    except KeyboardInterrupt:
        sys.exit(130)


def _check_machine(config: Config) -> None:
    from drp.training.launch import check_processes
    from drp.training.student import check_extras

    check_processes(config.train)
    check_extras(config.train)


def preview(config: Config, options: RunOptions = RunOptions()) -> "Preflight":
    """What would be trained on, checked; nothing is written."""
    check_input(_locate(config, options)[0], "train")
    _check_machine(config)
    return _inspect(config, *_select(config, options))


def _inspect(config: Config, selection: "ExampleSelection", tokenizer: Tokenizer) -> "Preflight":
    from drp.training.memory import estimate_memory
    from drp.training.preflight import inspect_examples

    shown = inspect_examples(selection, tokenizer, config.train)
    return shown.model_copy(update={"memory": estimate_memory(config, selection)})


def load_summary(path: Path) -> "TrainSummary | None":
    from drp.training.summary import TrainSummary

    if not path.exists():
        return None
    with explain_os_errors(path):
        return TrainSummary.model_validate_json(path.read_text())


def _locate(config: Config, options: RunOptions) -> "tuple[Path, TrainDir]":
    from drp.training.summary import TrainDir

    rundir = RunDir(config.run_dir)
    return options.input or rundir.pruned, TrainDir(options.output or rundir.train)


def _select(config: Config, options: RunOptions) -> "tuple[ExampleSelection, Tokenizer]":
    """Raises InputError where nothing is left to train on."""
    from drp.training.examples import TrainingRecord, select_examples

    source, _ = _locate(config, options)
    student = config.student
    tokenizer = load_tokenizer(student.model, student.revision, student.trust_remote_code)
    records = islice(read_records(source, TrainingRecord), options.limit)
    selection = select_examples(records, tokenizer, config.train, config.seed)
    if not selection.train:
        hint = "; see train.cutoff_tokens and train.only_correct" if selection.filtered else ""
        raise InputError(f"train: nothing to train on in {source}: {selection.counts().describe()}{hint}")
    return selection, tokenizer


def _open_manifest(config: Config, options: RunOptions, source: Path, folder: "TrainDir") -> Manifest:
    """The manifest to go on with. Unlike a record stage, training depends on the whole input, so its digest is part of
    the fingerprint."""
    digest = InputDigest.of(source)
    fingerprint: dict[str, Any] = {
        "train": config.train.identity(),
        "student": config.student.identity(),
        "seed": config.seed,
        "limit": options.limit,
        "input": digest.sha256,
    }
    new = Manifest(
        stage="train",
        fingerprint=fingerprint,
        inputs={source.name: digest},
        versions=package_versions(),
        started=now(),
    )
    if options.overwrite:
        _remove(folder)
        return new
    old = load_manifest(folder.root)
    if old is None:
        if folder.adapter.exists() or folder.checkpoints.exists():
            raise InputError(f"{folder.root}: exists, but nothing says what made it; move it, or use --overwrite")
        return new
    check_unchanged(old, new, [], folder.root)
    return old if old.state == "complete" else new.model_copy(update={"started": old.started, "seconds": old.seconds})


def _remove(folder: "TrainDir") -> None:
    with explain_os_errors(folder.root):
        for path in (folder.sft, folder.log, folder.summary):
            path.unlink(missing_ok=True)
        for path in (folder.checkpoints, folder.adapter, folder.merged):
            if path.exists():
                shutil.rmtree(path)


def _finish(config: Config, options: RunOptions, manifest: Manifest, folder: "TrainDir") -> "TrainSummary":
    """Train to the end; leave the manifest as it then is, whatever happens."""
    manifest.save(folder.root)
    clock, state, counts = time.monotonic(), "failed", manifest.counts
    try:
        summary = _train(config, options, manifest, folder)
        state, counts = "complete", summary.counts
    except KeyboardInterrupt:
        state = "interrupted"
        raise
    finally:
        seconds = manifest.seconds + time.monotonic() - clock
        update = {"state": state, "counts": counts, "seconds": seconds, "finished": now()}
        manifest.model_copy(update=update).save(folder.root)
    return summary


def _train(config: Config, options: RunOptions, manifest: Manifest, folder: "TrainDir") -> "TrainSummary":
    from drp.training.checkpoints import remove_checkpoints
    from drp.training.examples import write_examples
    from drp.training.summary import read_log, summarize

    selection, tokenizer = _select(config, options)
    say(_inspect(config, selection, tokenizer).render())
    write_examples(folder.sft, selection)
    with Appender(failures_path(folder.root), truncate=True) as failures:
        for failure in selection.failures:
            failures.append(failure)
    result = _train_student(config, selection, tokenizer, folder)
    summary = summarize(
        read_log(folder.log),
        config=config,
        selection=selection,
        result=result,
        fingerprint=manifest.fingerprint,
    )
    write_atomically(folder.summary, lambda draft: draft.write_text(summary.model_dump_json(indent=2) + "\n"))
    remove_checkpoints(folder.checkpoints)
    return summary


def _train_student(
    config: Config, selection: "ExampleSelection", tokenizer: Tokenizer, folder: "TrainDir"
) -> "TrainResult":
    """Here, or in processes of their own."""
    from drp.training.launch import is_launched, launch_processes
    from drp.training.session import train_student

    n = config.train.num_processes
    if is_launched() or n == 1:
        return train_student(config, selection, tokenizer, folder)
    return launch_processes(n, train_student, config, selection, tokenizer, folder)
