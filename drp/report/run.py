"""What a run directory holds, for the report and `drp view`. A part that does not exist yet is None or empty."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from drp.credentials import hide_credentials
from drp.errors import InputError
from drp.evaluation.preference import Preference
from drp.records import Decomposition, Failure, Pruning, Trace, Usage
from drp.report.pruning import PruningSurvey, read_preferences
from drp.report.results import Evaluation, read_evaluation
from drp.report.training import TrainingCurves, read_training
from drp.report.viewer import ViewerData
from drp.runs.jsonl import read_records
from drp.runs.manifest import Manifest, load_manifest
from drp.runs.rundir import RunDir, failures_path

MANIFEST_SUFFIX = ".manifest.json"


@dataclass(frozen=True)
class ArtifactManifest:
    """A manifest, and the artifact it belongs to."""

    artifact: str
    """Path within the run directory."""
    manifest: Manifest

    @property
    def usage(self) -> Usage | None:
        """What was paid for, failed records included; if that is unknown, what the written records used. None for a
        stage without a teacher."""
        return self.manifest.paid or self.manifest.usage


@dataclass(frozen=True)
class Run:
    """One run directory as the report shows it."""

    name: str
    """What tables call it."""
    root: Path
    evaluation: Evaluation | None
    survey: PruningSurvey | None
    training: TrainingCurves | None
    manifests: Sequence[ArtifactManifest]
    """In the order in which the stages were started."""
    preferences: Sequence[Preference] = ()
    """Of judges, comparing this run's steps with others'."""


def read_run(
    root: Path,
    benchmarks: Sequence[str] = (),
    cutoff_tokens: int = 12000,
    seed: int = 0,
    viewer: ViewerData | None = None,
) -> Run:
    """Read a run directory.

    benchmarks: their order in tables. seed: of the bootstraps, and of the responses drawn for the viewer.
    viewer: gets the traces, failures and responses to show.
    Raises InputError if `root` is not a folder.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such run directory; `drp run CONFIG` makes one")
    rundir = RunDir(root)
    evaluation = read_evaluation(rundir.eval, benchmarks, cutoff_tokens, seed)
    if viewer is not None:
        viewer.add_failures(rundir.traces, read_failures(rundir))
        if evaluation is not None:
            viewer.add_changed_responses(rundir.eval, evaluation, seed)
    return Run(
        name=root.resolve().name,
        root=root,
        evaluation=evaluation,
        survey=_survey_traces(rundir, viewer),
        training=read_training(rundir.train),
        manifests=read_manifests(root),
        preferences=read_preferences(rundir.judge),
    )


def read_failures(rundir: RunDir) -> Iterator[tuple[str, Failure]]:
    """(stage, failure) for each trace that could not be made, decomposed or pruned; unreadable lines are skipped."""
    for stage, target in (("generate", rundir.traces), ("decompose", rundir.steps), ("prune", rundir.pruned)):
        failures = read_records(failures_path(target), Failure, "skip")
        yield from ((stage, failure) for failure in failures)


def _survey_traces(rundir: RunDir, viewer: ViewerData | None) -> PruningSurvey | None:
    survey = PruningSurvey()
    for trace in read_latest_traces(rundir):
        if isinstance(trace, Decomposition):
            survey.add(trace)
        if viewer is not None:
            viewer.add_trace(trace)
    return survey if survey.traces else None


def read_latest_traces(rundir: RunDir) -> Iterator[Trace]:
    """The records of pruned.jsonl, else of steps.jsonl, else of traces.jsonl; unreadable lines are skipped."""
    for path, kind in trace_files(rundir):
        if path.exists() and path.stat().st_size:
            yield from read_records(path, kind, "skip")
            return


def trace_files(rundir: RunDir) -> list[tuple[Path, type[Trace]]]:
    """(file, its records' type) for each artifact that holds traces, the latest stage first."""
    return [(rundir.pruned, Pruning), (rundir.steps, Decomposition), (rundir.traces, Trace)]


def read_manifests(root: Path) -> list[ArtifactManifest]:
    """Every manifest of a run directory, in the order in which the stages were started."""
    found = []
    for path in sorted(root.rglob(f"*{MANIFEST_SUFFIX}")):
        target = path.with_name(path.name.removesuffix(MANIFEST_SUFFIX))
        manifest = load_manifest(target)
        if manifest is not None:
            found.append(ArtifactManifest(target.relative_to(root).as_posix(), manifest))
    return sorted(found, key=lambda one: (one.manifest.started, one.artifact))


def find_student(manifests: Sequence[ArtifactManifest]) -> str | None:
    """The student named in the manifests; None if it is in none of them."""
    found = (one.manifest.fingerprint.get("student") for one in manifests)
    return next((str(student["model"]) for student in found if isinstance(student, dict) and "model" in student), None)


def find_versions(manifests: Sequence[ArtifactManifest]) -> dict[str, str]:
    """Package -> its version; several versions if stages ran with different ones."""
    found: dict[str, dict[str, None]] = {}
    for one in manifests:
        for package, version in one.manifest.versions.items():
            found.setdefault(package, {})[version] = None
    return {package: ", ".join(versions) for package, versions in sorted(found.items())}


def make_names_unique(runs: Sequence[Run]) -> list[Run]:
    """Name runs by their folder; if two folders have the same name, by the last two or more parts of the path."""
    paths = [run.root.resolve().parts[1:] for run in runs]
    depth = 1
    while len({path[-depth:] for path in paths}) < len(set(paths)):
        depth += 1
    return [replace(run, name="/".join(path[-depth:])) for run, path in zip(runs, paths, strict=True)]


HASHES = ("prompts", "sha256", "input")
"""Keys of a fingerprint whose values are hashes, which mean nothing to a reader."""

MODELS, BENCHMARKS = "eval.models", "eval.benchmarks"
"""Prefixes of the keys under which `settings_of` has each evaluated model, and each benchmark's source."""


def settings_of(run: Run, ignored: Sequence[str] = HASHES) -> dict[str, str]:
    """The settings that the run was made with: dotted key -> value, from the fingerprints of all manifests."""
    found: dict[str, str] = {}
    for one in run.manifests:
        found |= dict(_flatten(_stage_settings(one), ignored))
    return found


def _stage_settings(one: ArtifactManifest) -> Mapping[str, Any]:
    """A fingerprint, with the part that is one benchmark's or one model's alone under that name."""
    stage, path, fingerprint = one.manifest.stage, PurePosixPath(one.artifact), dict(one.manifest.fingerprint)
    if stage == "judge":
        return {}
    if stage == "problems" and path.parent.name:
        return {f"{BENCHMARKS}.{path.stem}": fingerprint.get("problems")}
    if stage.startswith("eval"):
        fingerprint.pop("model", None)
        fingerprint[f"{MODELS}.{path.parent.name}"] = _describe_model(one.manifest)
    return fingerprint


def _describe_model(manifest: Manifest) -> str:
    """An evaluated model; the one that a run trained itself has the same description in every run."""
    model = manifest.fingerprint.get("model")
    trained_here = any(key.endswith(":summary.json") for key in manifest.inputs)
    if trained_here or not isinstance(model, Mapping):
        return "trained here"
    details = [f"{key} {value}" for key, value in model.items() if key != "model" and value is not None]
    return ", ".join([str(model.get("model")), *details])


def _flatten(tree: Any, ignored: Sequence[str], place: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            if key not in ignored:
                yield from _flatten(value, ignored, f"{place}.{key}" if place else str(key))
    else:
        yield place, hide_credentials(tree if isinstance(tree, str) else json.dumps(tree))
