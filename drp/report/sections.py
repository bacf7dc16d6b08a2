"""From a run to the report's page: the headline, a card for each benchmark, a section for each part of the run."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean

from drp.config.loading import dump_config
from drp.config.sections import Config, ReportSettings
from drp.records import Action
from drp.report.comparison import comparison_tables
from drp.report.cost import ModelCost, break_even_table, costs_table, describe_seconds
from drp.report.figures import Figure
from drp.report.page import BenchmarkCard, Fact, Page, PageSection, ShareBar
from drp.report.pruning import PruningSurvey, actions_table, judging_table, skills_table
from drp.report.results import (
    BASE,
    Evaluation,
    accuracy_cell,
    behaviour_table,
    main_table,
    name_model,
    paired_table,
    policies_table,
    samples_table,
)
from drp.report.run import Run, find_versions
from drp.report.tables import Cell, Table, TableRow, number, percent, signed
from drp.report.training import training_table
from drp.report.viewer import ViewerData
from drp.runs.progress import write_dollars


def build_page(
    run: Run, others: Sequence[Run], config: Config, figures: Mapping[str, Figure], viewer: ViewerData
) -> Page:
    """The page of a run.

    others: further runs to show side by side. figures: of `run`, by key. viewer: the traces of `run`.
    """
    sections = [
        *_evaluation_sections(run, figures),
        _comparison_section([run, *others], config.report),
        _pruning_section(run, figures),
        PageSection(
            "traces",
            "Traces",
            "Each trace next to its pruned version, the records that failed, and the responses to problems that only "
            "one of the two models solved. Deleted or replaced text is struck through.",
            viewer=bool(viewer.entries),
        ),
        _training_section(run, figures),
        _cost_section(run, config.report),
        _configuration_section(run, config),
    ]
    return Page(
        title=config.report.title or run.name,
        subtitle=_describe_run(run, config.student.model),
        headline=_write_headline(run),
        warning=_describe_unfinished(run),
        cards=[] if run.evaluation is None else list(_make_cards(run.evaluation)),
        sections=[section for section in sections if not section.is_empty],
        viewer=viewer,
    )


def _write_headline(run: Run) -> str:
    """The main result in one phrase: of the evaluation, else of the pruning, else what there is."""
    if run.evaluation is not None:
        for card in _make_cards(run.evaluation):
            return f"{card.change} tokens at {card.accuracy} on {card.benchmark}"
    if run.survey is not None and run.survey.reduction is not None:
        change = signed(100 * run.survey.reduction, unit="%")
        return f"{change} tokens in {number(run.survey.pruned)} pruned traces"
    if run.survey is not None:
        return f"{number(run.survey.traces)} traces decomposed into {number(run.survey.steps)} steps"
    return "No results yet" if run.evaluation is None else "Only the base model is evaluated so far"


def _make_cards(evaluation: Evaluation) -> Iterator[BenchmarkCard]:
    """A card for each benchmark on which both models were evaluated."""
    subject = evaluation.subject or ""
    for benchmark in evaluation.benchmarks:
        base, after = evaluation.score(BASE, benchmark), evaluation.score(subject, benchmark)
        if base is None or after is None or not base.mean_tokens or after.mean_tokens is None:
            continue
        longest = max(base.mean_tokens, after.mean_tokens)
        yield BenchmarkCard(
            benchmark=benchmark,
            change=signed(100 * (after.mean_tokens / base.mean_tokens - 1), unit="%"),
            accuracy=f"{accuracy_cell(base).text}\u00a0→\u00a0{accuracy_cell(after).text} accuracy",
            detail=_describe_intervals(evaluation, subject, benchmark),
            bars=[
                (name_model(name), number(tokens), tokens / longest)
                for name, tokens in ((BASE, base.mean_tokens), (subject, after.mean_tokens))
            ],
        )


def _describe_intervals(evaluation: Evaluation, subject: str, benchmark: str) -> str:
    comparison = evaluation.comparisons.get((subject, benchmark))
    if comparison is None:
        return ""
    parts = []
    if comparison.accuracy_ci is not None:
        low, high = (signed(100 * end, 1) for end in comparison.accuracy_ci)
        parts.append(f"accuracy {low} to {high} points")
    if comparison.tokens_ci is not None:
        low, high = (signed(100 * end) for end in comparison.tokens_ci)
        parts.append(f"tokens {low} to {high}%")
    problems = f"{number(comparison.n)} problems"
    return f"{problems}; 95% intervals: {', '.join(parts)}" if parts else problems


def _describe_run(run: Run, student: str) -> str:
    """The line below the headline."""
    parts = [_shorten_model(student)]
    if run.survey is not None:
        parts.append(f"teacher {', '.join(run.survey.teachers)}")
        if run.survey.reduction is not None:
            parts.append(f"{number(run.survey.pruned)} pruned traces, {percent(-run.survey.reduction, 0)} shorter")
    return " · ".join(parts)


def _shorten_model(model: str) -> str:
    """The name in a hub's `owner/name`; of a folder the last two parts, because the last is often just `model`."""
    parts = model.rstrip("/").split("/")
    return parts[-1] if len(parts) < 3 else "/".join(parts[-2:])


def _describe_unfinished(run: Run) -> str:
    """The artifacts that are not complete; empty if all are."""
    states = [(one.artifact, one.manifest.state) for one in run.manifests]
    unfinished = [f"{artifact} ({state})" for artifact, state in states if state != "complete"]
    return f"Not finished: {', '.join(unfinished)}." if unfinished else ""


def _pick(figures: Mapping[str, Figure], *keys: str) -> list[Figure]:
    return [figures[key] for key in keys if key in figures]


def _existing(tables: Iterable[Table | None]) -> list[Table]:
    return [table for table in tables if table is not None]


def _evaluation_sections(run: Run, figures: Mapping[str, Figure]) -> list[PageSection]:
    evaluation = run.evaluation
    if evaluation is None:
        return []
    return [
        PageSection(
            "results",
            "Results",
            tables=_existing([main_table(evaluation), paired_table(evaluation), samples_table(evaluation)]),
            figures=_pick(figures, "tradeoff"),
            figures_last=True,
        ),
        PageSection(
            "tokens",
            "Tokens",
            "Response lengths, the share of correct answers within a token budget, and the effect of the cutoff.",
            figures=_pick(figures, "lengths", "captured"),
            tables=[policies_table(evaluation), behaviour_table(evaluation)],
        ),
    ]


def _comparison_section(runs: Sequence[Run], prices: ReportSettings) -> PageSection:
    tables = comparison_tables(runs, prices)
    if len(runs) < 2:
        return PageSection("ablations", "Ablations", "The effect of single parts of the method.", tables=tables)
    intro = "This run and the other runs that the report was made for, each relative to its own base model."
    return PageSection("runs", "Runs side by side", intro, tables=tables)


def _pruning_section(run: Run, figures: Mapping[str, Figure]) -> PageSection:
    survey = run.survey
    skills = skills_table(survey) if survey is not None and survey.skills else None
    return PageSection(
        "pruning",
        "Skills and actions",
        "What the teacher did with the steps of the traces.",
        facts=[] if survey is None else list(_describe_survey(survey)),
        bars=[] if survey is None else _share_actions(survey),
        figures=_pick(figures, "skills"),
        tables=_existing([skills, judging_table(run.preferences)]),
        hidden_tables=[actions_table(survey)] if survey is not None and survey.pruned else [],
    )


def _describe_survey(survey: PruningSurvey) -> Iterator[Fact]:
    yield Fact("Traces", number(survey.traces))
    yield Fact("Steps per trace", number(survey.steps_per_trace, 1))
    if survey.reduction is not None:
        before, after = number(fmean(survey.before)), number(fmean(survey.after))
        yield Fact("Tokens per response", f"{before} → {after}", signed(100 * survey.reduction, unit="%"))
    yield Fact("Teacher", ", ".join(survey.teachers))


def _share_actions(survey: PruningSurvey) -> list[ShareBar]:
    shares = [(action.value, survey.share(action)) for action in Action]
    return [ShareBar(name, share) for name, share in shares if share is not None]


def _training_section(run: Run, figures: Mapping[str, Figure]) -> PageSection:
    table = None if run.training is None else training_table(run.training)
    return PageSection("training", "Training", figures=_pick(figures, "loss"), tables=_existing([table]))


def _cost_section(run: Run, prices: ReportSettings) -> PageSection:
    if not run.manifests:
        return PageSection("cost", "Cost")
    cost = ModelCost.of(run.manifests, prices)
    gpus = f"{write_dollars(cost.gpu_hours * prices.gpu_usd_per_hour)} at ${prices.gpu_usd_per_hour:g} per hour"
    return PageSection(
        "cost",
        "Cost",
        "The one-off cost of making the model, and after how many questions the tokens saved have paid for it.",
        facts=[
            Fact("Teacher", write_dollars(cost.usage.cost_usd), f"{number(cost.usage.calls)} calls"),
            Fact("GPU hours", number(cost.gpu_hours, 2), gpus),
            Fact("Total", write_dollars(cost.dollars)),
            Fact("Time", describe_seconds(cost.seconds), ", ".join(cost.stages)),
        ],
        tables=_existing([break_even_table(run.manifests, run.evaluation, prices), costs_table(run.manifests)]),
    )


def _configuration_section(run: Run, config: Config) -> PageSection:
    rows = [TableRow([Cell(package), Cell(version)]) for package, version in find_versions(run.manifests).items()]
    return PageSection(
        "configuration",
        "Configuration",
        tables=[Table("versions", "Package versions", ["Package", "Version"], rows, texts=2)] if rows else [],
        texts=[("Configuration of this report", dump_config(config))],
    )
