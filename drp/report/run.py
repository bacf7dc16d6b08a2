"""Everything a run directory holds that a report can show. What is not there yet is None, or empty."""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from drp.config.sections import hide_credentials
from drp.errors import InputError
from drp.evaluation.outcomes import benchmark_files
from drp.evaluation.preference import Preference
from drp.records import Decomposition, Failure, Pruning, Sample, Trace
from drp.report.cost import StageCost, read_costs
from drp.report.embedding import Embedding
from drp.report.evaluation import BASE, Evaluation, name_model, read_evaluation, read_preferences
from drp.report.pruning import PruningSurvey
from drp.report.training import Training, read_training
from drp.runs.jsonl import read_records
from drp.runs.manifest import Manifest
from drp.runs.rundir import RunDir

PAIRS = 100
"""Pairs of responses shown of each benchmark, right before and wrong after; and the other way round."""

HASHES = ("prompts", "sha256", "input")
"""Parts of a fingerprint that name contents by their hash; a user cannot read them."""

MODELS, BENCHMARKS = "eval.models", "eval.benchmarks"
"""Keys in whose place `settings_of` has one for each model, and for each benchmark."""


@dataclass(frozen=True)
class Run:
    """name: what tables call it."""

    name: str
    root: Path
    evaluation: Evaluation | None
    survey: PruningSurvey | None
    training: Training | None
    costs: Sequence[StageCost]
    preferences: Sequence[Preference] = ()
    """Of judges, between this run's steps and others'."""


def read_run(
    root: Path,
    benchmarks: Sequence[str] = (),
    cutoff_tokens: int = 12000,
    seed: int = 0,
    embedding: Embedding | None = None,
) -> Run:
    """Read what is there. embedding: takes the traces for the viewer.

    Raises InputError where `root` is not a folder.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such run directory; `drp run CONFIG` makes one")
    rundir = RunDir(root)
    evaluation = read_evaluation(rundir.eval, benchmarks, cutoff_tokens, seed)
    if embedding is not None:
        _embed_failures(rundir, embedding)
        if evaluation is not None:
            _embed_pairs(rundir, evaluation, embedding, seed)
    return Run(
        name=root.resolve().name,
        root=root,
        evaluation=evaluation,
        survey=_read_traces(rundir, embedding),
        training=read_training(rundir.train),
        costs=read_costs(root),
        preferences=read_preferences(rundir.judge),
    )


def tell_apart(runs: Sequence[Run]) -> list[Run]:
    """Runs whose folders have the same name are called by more of their paths."""
    paths = [run.root.resolve().parts[1:] for run in runs]
    depth = 1
    while len({path[-depth:] for path in paths}) < len(set(paths)):
        depth += 1
    return [replace(run, name="/".join(path[-depth:])) for run, path in zip(runs, paths, strict=True)]


def _read_traces(rundir: RunDir, embedding: Embedding | None) -> PruningSurvey | None:
    """One pass over the furthest artifact that there is: pruned, else steps, else bare traces."""
    survey = PruningSurvey()
    for trace in furthest_traces(rundir):
        if isinstance(trace, Decomposition):
            survey.add(trace)
        if embedding is not None:
            embedding.add_trace(trace)
    if embedding is not None:
        embedding.close_chunk()
    return survey if survey.traces else None


def furthest_traces(rundir: RunDir) -> Iterator[Trace]:
    """The records of the last stage before training that has any; unreadable lines are that stage's to report."""
    kinds: list[tuple[Path, type[Trace]]] = [
        (rundir.pruned, Pruning),
        (rundir.steps, Decomposition),
        (rundir.traces, Trace),
    ]
    for path, kind in kinds:
        if path.exists() and path.stat().st_size:
            yield from (record for record in read_records(path, kind) if not isinstance(record, Failure))
            return


def _embed_failures(rundir: RunDir, embedding: Embedding) -> None:
    """What could not be decomposed or pruned, with the trace that it was."""
    failures: list[tuple[str, Failure]] = []
    for stage, target in (("generate", rundir.traces), ("decompose", rundir.steps), ("prune", rundir.pruned)):
        path = target.with_name(f"{target.stem}.failed.jsonl")
        if path.exists():
            failures += [(stage, failure) for failure in read_records(path, Failure)]
    wanted = {failure.id for _, failure in failures}
    known = rundir.traces.exists() and bool(wanted)
    traces = {trace.id: trace for trace in read_records(rundir.traces, Trace) if trace.id in wanted} if known else {}
    for stage, failure in failures:
        found = traces.get(failure.id)
        embedding.add_failure(failure, stage, found if isinstance(found, Trace) else None)


def _embed_pairs(rundir: RunDir, evaluation: Evaluation, embedding: Embedding, seed: int) -> None:
    """Problems that the headline's model lost, or gained, against the base; drawn by seed where there are many."""
    model = evaluation.subject
    if model is None:
        return
    files = {name: dict(benchmark_files(rundir.eval / name)) for name in (BASE, model)}
    for benchmark in evaluation.benchmarks:
        ids = _changed(evaluation, model, benchmark, random.Random(seed))
        if not ids:
            continue
        before, after = (_pick_samples(files[name][benchmark], ids) for name in (BASE, model))
        for id_ in ids:
            if id_ in before and id_ in after:
                embedding.add_pair(benchmark, (name_model(BASE), before[id_]), (name_model(model), after[id_]))


def _changed(evaluation: Evaluation, model: str, benchmark: str, random_: random.Random) -> list[str]:
    before = {outcome.id: outcome.correct is True for outcome in evaluation.outcomes.get((BASE, benchmark), ())}
    after = {outcome.id: outcome.correct is True for outcome in evaluation.outcomes.get((model, benchmark), ())}
    shared = [id_ for id_ in before if id_ in after]
    lost = [id_ for id_ in shared if before[id_] and not after[id_]]
    gained = [id_ for id_ in shared if after[id_] and not before[id_]]
    return [id_ for ids in (lost, gained) for id_ in sorted(random_.sample(ids, min(PAIRS, len(ids))))]


def _pick_samples(path: Path, ids: Sequence[str]) -> dict[str, Sample]:
    wanted = set(ids)
    return {
        record.id: record for record in read_records(path, Sample) if isinstance(record, Sample) and record.id in wanted
    }


def settings_of(run: Run, ignored: Sequence[str] = HASHES) -> dict[str, str]:
    """Dotted key -> value of everything that the run's manifests were made with."""
    found: dict[str, str] = {}
    for cost in run.costs:
        found |= dict(_flatten(_settings_of_stage(cost), ignored))
    return found


def _settings_of_stage(cost: StageCost) -> Mapping[str, Any]:
    """Its fingerprint. What each benchmark, and each evaluated model, has of its own stands under its name."""
    stage, path, fingerprint = cost.manifest.stage, PurePosixPath(cost.artifact), dict(cost.manifest.fingerprint)
    if stage == "judge":
        return {}
    if stage == "problems" and path.parent.name:
        return {f"{BENCHMARKS}.{path.stem}": fingerprint.get("problems")}
    if stage.startswith("eval"):
        fingerprint.pop("model", None)
        fingerprint[f"{MODELS}.{path.parent.name}"] = _describe_model(cost.manifest)
    return fingerprint


def _describe_model(manifest: Manifest) -> str:
    """An evaluated model; the one that a run trained is called the same in every run."""
    model = manifest.fingerprint.get("model")
    made_here = any(key.endswith(":summary.json") for key in manifest.inputs)
    if made_here or not isinstance(model, Mapping):
        return "trained here"
    named = [f"{key} {value}" for key, value in model.items() if key != "model" and value is not None]
    return ", ".join([str(model.get("model")), *named])


def _flatten(tree: Any, ignored: Sequence[str], place: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            if key not in ignored:
                yield from _flatten(value, ignored, f"{place}.{key}" if place else str(key))
    else:
        yield place, hide_credentials(tree if isinstance(tree, str) else json.dumps(tree))


def benchmarks_of(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(name for run in runs if run.evaluation for name in run.evaluation.benchmarks))
