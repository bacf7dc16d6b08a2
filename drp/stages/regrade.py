"""`drp eval --regrade`: grade stored responses again with the current grader. Nothing is sampled, no model is loaded.

Reads and rewrites the eval/MODEL/BENCHMARK.jsonl of the configuration's models, and each summary.json:

    eval base gsm8k: 1319 graded again, 1 verdict changed (wrong to right 1), 2 answers read otherwise -> FILE
      gsm8k-7#0: wrong -> right, "18 dollars" against "18"

Only `predicted` and `correct` change. Lines of records in which neither changes are copied byte for byte. Traces cannot
be graded again: their verdicts decided what later stages processed and paid for.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from drp.config.sections import Config
from drp.errors import InputError, UserError
from drp.evaluation.outcomes import benchmark_files
from drp.evaluation.score import write_summary
from drp.grading import Grade, Grader
from drp.records import Sample
from drp.report.escaping import strip_controls
from drp.runs.jsonl import FileLine, lock, read_lines, write_atomically
from drp.runs.manifest import find_package_versions, load_manifest
from drp.runs.progress import Progress, report
from drp.runs.rundir import RunDir
from drp.runs.stage import RunOptions
from drp.stages.evaluate import list_models
from drp.student.response import split_response

SHOWN = 10
"""How many changed verdicts are listed."""
GRADERS = ("drp", "math-verify")
"""Packages whose versions decide a verdict."""
VERDICTS = {True: "right", False: "wrong", None: "not graded"}


@dataclass
class Changes:
    """What the current grader changes in a file."""

    n: int = 0
    """Responses graded."""
    grades: dict[int, Grade] = field(default_factory=dict)
    """Line number -> new grade, for the records that change."""
    verdicts: Counter[str] = field(default_factory=Counter)
    """How often each verdict changed, such as `wrong to right`."""
    shown: list[str] = field(default_factory=list)
    """Descriptions of the first SHOWN changed verdicts."""

    def add(self, number: int, sample: Sample, grade: Grade) -> None:
        """Compare the grade of the record in line `number` with the stored one."""
        self.n += 1
        if grade == Grade(sample.predicted, sample.correct):
            return
        self.grades[number] = grade
        if grade.correct is not sample.correct:
            before, after = VERDICTS[sample.correct], VERDICTS[grade.correct]
            self.verdicts[f"{before} to {after}"] += 1
            if len(self.shown) < SHOWN:
                said = "no answer" if grade.predicted is None else f'"{grade.predicted}"'
                line = f'{sample.id}: {before} -> {after}, {said} against "{sample.answer}"'
                self.shown.append(strip_controls(line).replace("\n", " "))

    def describe(self) -> str:
        """The counts in one line."""
        n_verdicts = self.verdicts.total()
        n_readings = len(self.grades) - n_verdicts
        kinds = ", ".join(f"{kind} {n}" for kind, n in self.verdicts.most_common())
        return (
            f"{self.n} graded again, {n_verdicts} verdict{'' if n_verdicts == 1 else 's'} changed"
            f"{f' ({kinds})' if kinds else ''}, {n_readings} answer{'' if n_readings == 1 else 's'} read otherwise"
        )


def run(config: Config, options: RunOptions = RunOptions()) -> None:
    """Grade the stored responses of the configuration's models again. Raises InputError if there are none."""
    if options.overwrite or options.input:
        raise UserError("eval: --regrade keeps the stored responses: leave out --overwrite and --input")
    eval_dir = options.output or RunDir(config.run_dir).eval
    folders = {name: folder for name in list_models(config) if benchmark_files(folder := eval_dir / name)}
    if not folders:
        raise InputError(f"eval: {eval_dir} holds no responses to grade again; run `drp eval` first")
    with Grader(config.grading) as grader:
        for name, folder in folders.items():
            for benchmark, path in benchmark_files(folder):
                _regrade(f"eval {name} {benchmark}", path, grader, options)
            if not options.dry_run:
                write_summary(folder, config.eval.cutoff_tokens, config.seed)


def _regrade(name: str, path: Path, grader: Grader, options: RunOptions) -> None:
    if options.dry_run:
        changes = find_changes(name, path, grader, options.limit)
        report(f"{name}: nothing written; {changes.describe()} -> {path}")
    else:
        with lock(path):
            changes = find_changes(name, path, grader, options.limit)
            rewrite(path, changes.grades)
            if options.limit is None:
                _record_versions(path)
        report(f"{name}: {changes.describe()} -> {path}")
    for line in changes.shown:
        report(f"  {line}")
    if (n_more := changes.verdicts.total() - len(changes.shown)) > 0:
        report(f"  and {n_more} more")


def find_changes(name: str, path: Path, grader: Grader, limit: int | None) -> Changes:
    """Grade the first `limit` responses; None: all. Raises InputError on an unreadable line."""
    changes = Changes()
    in_flight: dict[int, Sample] = {}

    def questions() -> Iterator[tuple[int, str, str]]:
        for line, sample in islice(_read_samples(path), limit):
            in_flight[line.number] = sample
            yield line.number, split_response(sample.response).summary, sample.answer

    with Progress(name, limit) as progress:
        for number, grade in grader.grade_stream(questions()):
            changes.add(number, in_flight.pop(number), grade)
            progress.advance(failed=0, paid=None)
    return changes


def _read_samples(path: Path) -> Iterator[tuple[FileLine, Sample]]:
    return read_lines(path, Sample, "raise", fix="correct the line, or run `drp eval` again with --overwrite")


def rewrite(path: Path, grades: dict[int, Grade]) -> None:
    """Put new grades into a file. Readers see the old file or all of the new one."""

    def write(draft: Path) -> None:
        with draft.open("wb") as output:
            for line, sample in _read_samples(path):
                if grade := grades.get(line.number):
                    output.write(sample.model_copy(update=grade._asdict()).model_dump_json().encode() + b"\n")
                else:
                    output.write(line.data)

    if grades:
        write_atomically(path, write)


def _record_versions(path: Path) -> None:
    """Write the versions of the current grader to the manifest."""
    manifest = load_manifest(path)
    if manifest is not None:
        versions = {name: version for name, version in find_package_versions().items() if name in GRADERS}
        manifest.model_copy(update={"versions": manifest.versions | versions}).save(path)
