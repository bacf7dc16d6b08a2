"""The paper's ablations, Tables 2 to 4, of whatever runs stand side by side and whatever models a run evaluated.

Table 2   decompose.method differs, or a model is called default...   Dataset | Method | Accuracy | Tokens
Table 3   the teacher differs, or a model is called ...-teacher       Method | Accuracy, Tokens of each benchmark
Table 4   a model, or a run, is called distill...                     as Table 2
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

from drp.evaluation.outcomes import POLICIES
from drp.evaluation.score import Score
from drp.report.evaluation import BASE, HEADLINE, TRAINED, Evaluation, describe_interval, name_model
from drp.report.run import Run, benchmarks_of, settings_of
from drp.report.tables import Cell, Group, Row, Table, Tone, number, percent, signed

FEW = 60
"""A benchmark of so many problems or fewer is written as right answers of all, as the paper does with AIME's 30."""

EMPTY = Cell("–")


def main_table(evaluation: Evaluation, title: str = "Pass@1 and tokens") -> Table:
    """Table 1: a row a model; pass@1 and tokens of each benchmark, with the tokens' change against the base."""
    return Table(
        key="main",
        title=title,
        columns=["Model", *chain.from_iterable(["Pass@1", "#Tokens"] for _ in evaluation.benchmarks)],
        groups=[Group("", 1), *(Group(benchmark, 2) for benchmark in evaluation.benchmarks)],
        rows=[main_row(evaluation, model, name_model(model)) for model in evaluation.models],
        caption=_describe_counting(evaluation),
        notes=_warn_of_small(evaluation),
    )


def main_row(evaluation: Evaluation, model: str, label: str, benchmarks: Sequence[str] | None = None) -> Row:
    """benchmarks: the columns; None: the evaluation's own."""
    columns = evaluation.benchmarks if benchmarks is None else benchmarks
    cells = [_score_cells(evaluation, model, benchmark) for benchmark in columns]
    return Row([Cell(label), *chain.from_iterable(cells)], emphasis=model == evaluation.subject)


def _score_cells(evaluation: Evaluation, model: str, benchmark: str) -> list[Cell]:
    score = evaluation.score(model, benchmark)
    if score is None:
        return [EMPTY, EMPTY]
    base = None if model == BASE else evaluation.score(BASE, benchmark)
    return [accuracy_cell(score), tokens_cell(score, base)]


def accuracy_cell(score: Score) -> Cell:
    note = describe_interval(score.accuracy_ci, 100, 1)
    if score.accuracy_sd is not None:
        note = f"±{100 * score.accuracy_sd:.1f}, {note}"
    if score.accuracy is not None and score.n == score.problems <= FEW:
        return Cell(f"{round(score.accuracy * score.n)}/{score.n}", note=note)
    return Cell(percent(score.accuracy), note=note)


def tokens_cell(score: Score, base: Score | None) -> Cell:
    note = describe_interval(score.tokens_ci)
    if base is None or not base.mean_tokens or score.mean_tokens is None:
        return Cell(number(score.mean_tokens), note=note)
    change = score.mean_tokens / base.mean_tokens - 1
    tone: Tone = "good" if change < 0 else "bad" if change > 0 else ""
    return Cell(number(score.mean_tokens), signed(100 * change, unit="%"), tone, note)


def _describe_counting(evaluation: Evaluation) -> str:
    cutoff, spread = f"{evaluation.cutoff_tokens:,}", describe_spread([evaluation])
    if not evaluation.over_cutoff:
        counting = f"No response is longer than the cutoff of {cutoff} tokens."
    else:
        counting = f"Responses longer than {cutoff} tokens count as {cutoff} tokens and as wrong (policy {HEADLINE})."
    return f"The paper's Table 1. {counting} With 95% intervals{spread}."


def describe_spread(evaluations: Sequence[Evaluation]) -> str:
    """What `accuracy_cell` writes after ±; nothing where it nowhere does."""
    scores = (policies[HEADLINE] for evaluation in evaluations for policies in evaluation.scores.values())
    return "; ±: standard deviation between passes" if any(score.accuracy_sd is not None for score in scores) else ""


def _warn_of_small(evaluation: Evaluation) -> list[str]:
    """One warning a benchmark, whatever the number of models."""
    found = {
        benchmark: comparison.warning
        for (_, benchmark), comparison in evaluation.comparisons.items()
        if comparison.warning is not None
    }
    return [f"{benchmark}, {found[benchmark]}." for benchmark in evaluation.benchmarks if benchmark in found]


def policies_table(evaluation: Evaluation) -> Table:
    """Table 5: what the cutoff does to the figures."""
    labels = {
        "none": "no cutoff",
        "cap": f"capped at {evaluation.cutoff_tokens:,}",
        "exclude": f"over {evaluation.cutoff_tokens:,} left out",
    }
    rows = []
    for model in evaluation.models:
        for policy in POLICIES:
            cells = [Cell(f"{name_model(model)}, {labels[policy]}")]
            for benchmark in evaluation.benchmarks:
                score = evaluation.score(model, benchmark, policy)
                left_out = f"{score.n} of {evaluation.scores[model, benchmark]['none'].n}" if score else ""
                cells += (
                    [EMPTY, EMPTY]
                    if score is None
                    else [
                        Cell(accuracy_cell(score).text, note=left_out if policy == "exclude" else ""),
                        Cell(number(score.mean_tokens)),
                    ]
                )
            rows.append(Row(cells))
    return Table(
        key="policies",
        title="What the cutoff does",
        columns=["Model and policy", *chain.from_iterable(["Accuracy", "Tokens"] for _ in evaluation.benchmarks)],
        groups=[Group("", 1), *(Group(benchmark, 2) for benchmark in evaluation.benchmarks)],
        rows=rows,
        caption="The paper's Table 5. Its wording of the 12k cutoff fits both: capped, and left out.",
    )


def behaviour_table(evaluation: Evaluation) -> Table:
    """Thinking against summary, and how often responses end badly; as generated, no cutoff."""
    rows = []
    for benchmark in evaluation.benchmarks:
        for model in evaluation.models:
            score = evaluation.score(model, benchmark, "none")
            if score is not None:
                rows.append(Row([Cell(benchmark), Cell(name_model(model)), *_behaviour_cells(score)]))
    return Table(
        key="behaviour",
        texts=2,
        title="How responses go",
        columns=[
            "Benchmark",
            "Model",
            "Samples",
            "Thinking tokens",
            "Summary tokens",
            "Cut off",
            "Looping",
            "Ungraded",
        ],
        rows=rows,
        caption=(
            "Tokens as generated, without a cutoff. Cut off: stopped by the engine's limit. Looping: ends in at least "
            "three copies of one text, 200 characters or more. Ungraded counts as not right."
        ),
    )


def _behaviour_cells(score: Score) -> list[Cell]:
    thinking, total = score.mean_thinking_tokens, score.mean_tokens
    summary = None if thinking is None or total is None else total - thinking
    shares: Sequence[int] = (score.truncated, score.looping, score.ungraded)
    return [
        Cell(number(score.n)),
        Cell(number(thinking)),
        Cell(number(summary)),
        *(Cell(percent(count / score.n) if count else "0", note=number(count) if count else "") for count in shares),
    ]


def samples_table(evaluation: Evaluation) -> Table | None:
    """pass@k and majority@k; None where every problem was sampled once."""
    found = [
        (benchmark, model, score)
        for benchmark in evaluation.benchmarks
        for model in evaluation.models
        if (score := evaluation.score(model, benchmark)) is not None and score.pass_at
    ]
    if not found:
        return None
    ks = sorted({k for _, _, score in found for k in score.pass_at})
    rows = [
        Row(
            [
                Cell(benchmark),
                Cell(name_model(model)),
                Cell(percent(score.accuracy_sd)),
                *(Cell(percent(score.pass_at.get(k))) for k in ks),
                Cell(percent(next(iter(score.majority_at.values()), None))),
            ]
        )
        for benchmark, model, score in found
    ]
    return Table(
        key="samples",
        texts=2,
        title="Several samples a problem",
        columns=["Benchmark", "Model", "Deviation between passes", *(f"Pass@{k}" for k in ks), f"Maj@{max(ks)}"],
        rows=rows,
        caption="Unbiased pass@k over problems with all their samples; ties of the majority count by share.",
    )


CAPTION = "Changes are against the base of the same run. Where runs are compared, they can differ in more than this."

METHODS = {"skill": "DRP", "default": "Default", "sentence": "Sentences"}
"""The paper's names of decompose.method."""


class Arm(NamedTuple):
    """One row of an ablation: a model of a run."""

    label: str
    run: Run
    model: str


class Ablation(NamedTuple):
    key: str
    title: str
    label_run: Callable[[Run], str]
    """What a run's trained model is called; empty: it does not belong here."""
    label_model: Callable[[str], str]
    """What another model of a run is called; empty likewise."""
    by_dataset: bool
    """A row a benchmark and method, as in Tables 2 and 4; else a row a method, as in Table 3."""


def _label_method(run: Run) -> str:
    method = settings_of(run).get("decompose.method", "")
    return METHODS.get(method, method)


def _label_teacher(run: Run) -> str:
    settings = settings_of(run)
    named = (settings.get(f"teacher.{key}", "null") for key in ("model", "provider"))
    return next((f"with {name} as teacher" for name in named if name != "null"), "")


def _label_target(run: Run) -> str:
    """By its name: training on a teacher's own responses looks like any other training. R1-Distill is a student."""
    return "Distill" if "distill" in run.name.lower().replace("r1-distill", "") else "DRP"


ABLATIONS = (
    Ablation(
        "skills",
        "Skill-based steps against default ones (the paper's Table 2)",
        _label_method,
        lambda model: "Default" if model.startswith("default") else "",
        by_dataset=True,
    ),
    Ablation(
        "teachers",
        "The teacher's influence (the paper's Table 3)",
        _label_teacher,
        lambda model: f"with {model.removesuffix('-teacher')} as teacher" if model.endswith("-teacher") else "",
        by_dataset=False,
    ),
    Ablation(
        "targets",
        "Pruned traces against the teacher's own (the paper's Table 4)",
        _label_target,
        lambda model: "Distill" if model.startswith("distill") else "",
        by_dataset=True,
    ),
)


def ablation_tables(runs: Sequence[Run]) -> list[Table]:
    """Those of which there are at least two arms that differ. runs: evaluated ones."""
    tables = []
    for ablation in ABLATIONS:
        arms = list(_find_arms(ablation, runs))
        if len({arm.label for arm in arms}) > 1:
            arms = [Arm("Base", runs[0], BASE), *_tell_apart(arms)]
            tables.append(_by_dataset(ablation, arms) if ablation.by_dataset else _by_method(ablation, arms))
    return tables


def _find_arms(ablation: Ablation, runs: Sequence[Run]) -> Iterator[Arm]:
    """The variants first, then what they are compared with, as in the paper."""
    arms = []
    for run in runs:
        models = run.evaluation.models if run.evaluation else ()
        label = ablation.label_run(run)
        if TRAINED in models and label:
            arms.append(Arm(label, run, TRAINED))
        arms += [Arm(label, run, model) for model in models if (label := ablation.label_model(model))]
    yield from sorted(arms, key=lambda arm: ablation.by_dataset and arm.label == "DRP")


def _tell_apart(arms: Sequence[Arm]) -> list[Arm]:
    """Labels that stand twice are followed by their run's name."""
    times = Counter(arm.label for arm in arms)
    return [arm._replace(label=f"{arm.label} ({arm.run.name})") if times[arm.label] > 1 else arm for arm in arms]


def _by_method(ablation: Ablation, arms: Sequence[Arm]) -> Table:
    benchmarks = benchmarks_of([arm.run for arm in arms])
    return Table(
        key=ablation.key,
        title=ablation.title,
        columns=["Method", *chain.from_iterable(["Accuracy", "Tokens"] for _ in benchmarks)],
        groups=[Group("", 1), *(Group(benchmark, 2) for benchmark in benchmarks)],
        rows=[_row_of(arm, benchmarks) for arm in arms],
        caption=CAPTION,
    )


def _by_dataset(ablation: Ablation, arms: Sequence[Arm]) -> Table:
    rows = []
    for benchmark in benchmarks_of([arm.run for arm in arms]):
        for place, arm in enumerate(arms):
            row = _row_of(arm, [benchmark])
            rows.append(replace(row, cells=[Cell("" if place else benchmark), *row.cells]))
    return Table(ablation.key, ablation.title, ["Dataset", "Method", "Accuracy", "Tokens"], rows, (), CAPTION, texts=2)


def _row_of(arm: Arm, benchmarks: Sequence[str]) -> Row:
    assert arm.run.evaluation is not None
    row = main_row(arm.run.evaluation, arm.model, arm.label, benchmarks)
    return replace(row, emphasis=arm.label.startswith("DRP"))


# FOLDED DOC of reporting.results:
# Tables about evaluated models: the form of the paper's Tables 1 and 5, and what its referee asked for.
