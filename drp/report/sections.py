"""What stands on the page and in which order: headline, cards, and a section for each thing that the run has."""

from collections.abc import Iterator, Sequence
from statistics import fmean

from drp.config.sections import ReportSettings
from drp.records import Action
from drp.report.comparison import comparison_tables, paired_table
from drp.report.cost import Cost, break_even_table, costs_table, describe_dollars, duration, versions_of
from drp.report.embedding import Embedding
from drp.report.evaluation import BASE, Evaluation, judging_table, name_model
from drp.report.figures import Figure
from drp.report.page import Bar, Card, Fact, Section
from drp.report.pruning import PruningSurvey, actions_table, skills_table
from drp.report.results import accuracy_cell, behaviour_table, main_table, policies_table, samples_table
from drp.report.run import Run
from drp.report.tables import Cell, Row, Table, number, percent, signed
from drp.report.training import training_table

Figures = dict[str, Figure]


def tables_of(run: Run, others: Sequence[Run], prices: ReportSettings) -> list[Table]:
    """Every table for which the run has data, in the page's order."""
    sections = build_sections(run, others, prices, {}, Embedding(), "")
    extra = [actions_table(run.survey)] if run.survey is not None and run.survey.pruned else []
    return [*(table for section in sections for table in section.tables), *extra]


def build_sections(
    run: Run,
    others: Sequence[Run],
    prices: ReportSettings,
    figures: Figures,
    embedding: Embedding,
    configuration: str,
) -> list[Section]:
    return [
        *_evaluation_sections(run, figures),
        _runs_section([run, *others], prices),
        _pruning_section(run, figures),
        Section(
            "traces",
            "Traces",
            "Every trace beside what the teacher made of it, what failed, and the problems on which the two models "
            "disagree. What was deleted or replaced is struck through.",
            viewer=bool(embedding.entries),
        ),
        _training_section(run, figures),
        _cost_section(run, prices),
        _configuration_section(run, configuration),
    ]


def _runs_section(runs: Sequence[Run], prices: ReportSettings) -> Section:
    tables = comparison_tables(runs, prices)
    if len(runs) < 2:
        return Section("ablations", "Ablations", "What each part of the method is worth.", tables=tables)
    intro = "This run and the others that were named, each against its own base."
    return Section("runs", "Runs side by side", intro, tables=tables)


def write_headline(run: Run) -> str:
    """One sentence with the main numbers, of whatever there is so far."""
    evaluation = run.evaluation
    if evaluation is not None and evaluation.subject is not None:
        for benchmark in evaluation.benchmarks:
            card = make_card(evaluation, benchmark)
            if card is not None:
                return f"{card.change} tokens at {card.accuracy} on {benchmark}"
    if run.survey is not None and run.survey.reduction is not None:
        change = signed(100 * run.survey.reduction, unit="%")
        return f"{change} tokens in {number(run.survey.pruned)} pruned traces"
    if run.survey is not None:
        return f"{number(run.survey.traces)} traces in {number(run.survey.steps)} steps"
    return "Nothing to compare yet" if evaluation is None else "The base model, before any training"


def make_cards(evaluation: Evaluation | None) -> list[Card]:
    if evaluation is None:
        return []
    cards = [make_card(evaluation, benchmark) for benchmark in evaluation.benchmarks]
    return [card for card in cards if card is not None]


def make_card(evaluation: Evaluation, benchmark: str) -> Card | None:
    """A benchmark at a glance; None where not both models were evaluated on it."""
    subject = evaluation.subject or ""
    base, after = evaluation.score(BASE, benchmark), evaluation.score(subject, benchmark)
    if base is None or after is None or not base.mean_tokens or after.mean_tokens is None:
        return None
    longest = max(base.mean_tokens, after.mean_tokens)
    pairs = ((BASE, base), (subject, after))
    return Card(
        benchmark=benchmark,
        change=signed(100 * (after.mean_tokens / base.mean_tokens - 1), unit="%"),
        accuracy=f"{accuracy_cell(base).text}\u00a0→\u00a0{accuracy_cell(after).text} accuracy",
        detail=_describe_pair(evaluation, subject, benchmark),
        bars=[(name_model(name), number(one.mean_tokens), (one.mean_tokens or 0) / longest) for name, one in pairs],
    )


def _describe_pair(evaluation: Evaluation, subject: str, benchmark: str) -> str:
    comparison = evaluation.comparisons.get((subject, benchmark))
    if comparison is None:
        return ""
    text = f"{number(comparison.n)} problems"
    if comparison.accuracy_ci is not None:
        low, high = (signed(100 * end, 1) for end in comparison.accuracy_ci)
        text += f"; accuracy {low} to {high} points"
    if comparison.tokens_ci is not None:
        low, high = (signed(100 * end) for end in comparison.tokens_ci)
        text += f", tokens {low} to {high}%"
    return f"{text} (95%)" if comparison.accuracy_ci else text


def _pick(figures: Figures, *keys: str) -> list[Figure]:
    return [figures[key] for key in keys if key in figures]


def _evaluation_sections(run: Run, figures: Figures) -> list[Section]:
    evaluation = run.evaluation
    if evaluation is None:
        return []
    results = [main_table(evaluation), paired_table(evaluation), samples_table(evaluation)]
    return [
        Section(
            "results",
            "Results",
            tables=[table for table in results if table is not None],
            figures=_pick(figures, "tradeoff"),
            figures_first=False,
        ),
        Section(
            "tokens",
            "Tokens",
            "How long responses are, how many right answers a budget captures, and what the choice of a cutoff does.",
            figures=_pick(figures, "lengths", "captured"),
            tables=[policies_table(evaluation), behaviour_table(evaluation)],
        ),
    ]


def _pruning_section(run: Run, figures: Figures) -> Section:
    survey = run.survey
    tables = [None if survey is None or not survey.skills else skills_table(survey), judging_table(run.preferences)]
    return Section(
        "pruning",
        "Skills and actions",
        "What the teacher did with each step of the traces.",
        facts=[] if survey is None else list(_describe_survey(survey)),
        bars=[] if survey is None else _share_out(survey),
        figures=_pick(figures, "skills"),
        tables=[table for table in tables if table is not None],
    )


def _describe_survey(survey: PruningSurvey) -> Iterator[Fact]:
    yield Fact("Traces", number(survey.traces))
    yield Fact("Steps a trace", number(survey.steps_per_trace, 1))
    if survey.reduction is not None:
        before, after = number(fmean(survey.before)), number(fmean(survey.after))
        yield Fact("Tokens a response", f"{before} → {after}", signed(100 * survey.reduction, unit="%"))
    yield Fact("Teacher", ", ".join(survey.teachers))


def _share_out(survey: PruningSurvey) -> list[Bar]:
    """The share of each action."""
    shares = [(action.value, survey.share(action)) for action in Action]
    return [Bar(name, share) for name, share in shares if share is not None]


def _training_section(run: Run, figures: Figures) -> Section:
    table = None if run.training is None else training_table(run.training)
    return Section("training", "Training", figures=_pick(figures, "loss"), tables=[] if table is None else [table])


def _cost_section(run: Run, prices: ReportSettings) -> Section:
    if not run.costs:
        return Section("cost", "Cost")
    cost = Cost.of(run.costs, prices)
    machine = describe_dollars(cost.gpu_hours * prices.gpu_usd_per_hour)
    tables = [break_even_table(run.costs, run.evaluation, prices), costs_table(run.costs)]
    return Section(
        "cost",
        "Cost",
        "What it took to make the model, once, and after how many questions that has paid.",
        facts=[
            Fact("Teacher", describe_dollars(cost.usage.cost_usd), f"{number(cost.usage.calls)} calls"),
            Fact("GPU hours", number(cost.gpu_hours, 2), f"{machine} at ${prices.gpu_usd_per_hour:g} an hour"),
            Fact("Together", describe_dollars(cost.dollars)),
            Fact("Time", duration(cost.seconds), ", ".join(cost.stages)),
        ],
        tables=[table for table in tables if table is not None],
    )


def _configuration_section(run: Run, configuration: str) -> Section:
    rows = [Row([Cell(package), Cell(version)]) for package, version in versions_of(run.costs).items()]
    return Section(
        "configuration",
        "Configuration",
        tables=[Table("versions", "Versions", ["Package", "Version"], rows, texts=2)] if rows else [],
        texts=[("The whole configuration", configuration)] if configuration else [],
    )


def describe_run(run: Run, student: str) -> str:
    """The line under the headline."""
    parts = [_shorten(student)]
    if run.survey is not None:
        parts.append(f"teacher {', '.join(run.survey.teachers)}")
        if run.survey.reduction is not None:
            parts.append(f"{number(run.survey.pruned)} pruned traces, {percent(-run.survey.reduction, 0)} shorter")
    return " · ".join(parts)


def _shorten(student: str) -> str:
    """A hub's `owner/name` by its name; of a folder the last two parts, since the last is often just `model`."""
    parts = student.rstrip("/").split("/")
    return parts[-1] if len(parts) < 3 else "/".join(parts[-2:])


def describe_unfinished(run: Run) -> str:
    """What the run's figures do not rest on in full; nothing where every stage is complete."""
    states = [(cost.artifact, cost.manifest.state) for cost in run.costs]
    open_ = [f"{artifact} ({state})" for artifact, state in states if state != "complete"]
    return f"Not finished: {', '.join(open_)}." if open_ else ""
