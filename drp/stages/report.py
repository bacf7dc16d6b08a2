"""Stage report: everything in the run directory -> report/, one page and its tables and figures.

    report/index.html      one self-contained page: headline, tables, figures, trace viewer
    report/tables.md       the tables as Markdown; tables.tex: as LaTeX
    report/figures/*.png   the figures

Shows whatever is there: over a half-finished run the missing parts are left out. Further run directories stand side by
side with it. Always written anew; there is nothing to resume.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from drp.config.loading import build_config, dump_config, load_config, load_stored_config
from drp.config.sections import Config
from drp.errors import InputError
from drp.report.cost import find_student, read_costs
from drp.report.embedding import Embedding
from drp.report.escaping import escape_markdown, write_plainly
from drp.report.figures import figures_of
from drp.report.page import Page, render_page
from drp.report.results import main_table
from drp.report.run import Run, read_run, tell_apart
from drp.report.sections import build_sections, describe_run, describe_unfinished, make_cards, tables_of, write_headline
from drp.report.tables import write_latex, write_markdown, write_text
from drp.runs.jsonl import explain_os_errors, write_atomically
from drp.runs.progress import report, say
from drp.runs.rundir import RunDir
from drp.runs.stage import RunOptions


def run(config: Config, options: RunOptions = RunOptions(), others: Sequence[Path] = ()) -> Path:
    """Write the report and print the main table. Returns the page's path.

    others: further run directories to show side by side. options.limit: traces in the viewer at most.
    Raises InputError where a run directory is missing or a record in it cannot be read.
    """
    root = options.input or config.run_dir
    target = options.output or RunDir(root).report
    if options.dry_run:
        report(f"report would write {target / 'index.html'}, tables and figures")
        return target / "index.html"
    embedding = Embedding(max_traces=options.limit or config.report.max_traces)
    this, *rest = tell_apart([_read(root, config, embedding), *(_read(path, config) for path in others)])
    write_tables(target, config, this, rest)
    write_page(target, config, this, rest, embedding)
    _print_results(this, target / "index.html")
    return target / "index.html"


def find_config(place: Path, overrides: Iterable[str] = ()) -> Config:
    """A YAML file's configuration, or the one that a run directory keeps; for a run directory that keeps none, the
    defaults and what its manifests say of the student.

    Raises ConfigError, and InputError for a run directory in which nothing names the student.
    """
    if not place.is_dir():
        return load_config(place, overrides)
    if RunDir(place).config.exists():
        return load_stored_config(place, overrides)
    student = find_student(read_costs(place))
    if student is None:
        raise InputError(f"{place}: no configuration is kept there; name the one that made it: drp report CONFIG")
    say(f"report: {place} keeps no configuration; its cutoff, prices and title are taken to be the defaults")
    return build_config({"run_dir": str(place), "student": {"model": student}}, overrides, place)


def _read(root: Path, config: Config, embedding: Embedding | None = None) -> Run:
    order = [benchmark.name for benchmark in config.eval.benchmarks]
    return read_run(root, order, config.eval.cutoff_tokens, config.seed, embedding)


def write_tables(target: Path, config: Config, this: Run, rest: Sequence[Run]) -> None:
    """tables.md and tables.tex."""
    tables = tables_of(this, rest, config.report)
    markdown = "\n".join(write_markdown(table) for table in tables)
    latex = "\n".join(write_latex(table) for table in tables)
    write_text_file(target / "tables.md", f"# {escape_markdown(write_headline(this))}\n\n{markdown}")
    write_text_file(target / "tables.tex", f"% Needs \\usepackage{{booktabs}}.\n\n{latex}")


def write_page(target: Path, config: Config, this: Run, rest: Sequence[Run], embedding: Embedding) -> None:
    """index.html and the figures, which it holds a copy of."""
    figures = figures_of(this.evaluation, this.survey, this.training)
    for figure in figures.values():
        figure.save_png(target / "figures")
    page = Page(
        title=config.report.title or this.name,
        subtitle=describe_run(this, config.student.model),
        headline=write_headline(this),
        warning=describe_unfinished(this),
        cards=make_cards(this.evaluation),
        sections=build_sections(this, rest, config.report, figures, embedding, dump_config(config)),
        embedding=embedding,
    )
    write_text_file(target / "index.html", render_page(page))


def write_text_file(path: Path, text: str) -> None:
    """As UTF-8; half of a broken character is written as an escape."""
    data = text.encode("utf-8", "backslashreplace")
    write_atomically(path, lambda draft: draft.write_bytes(data))


def _print_results(this: Run, page: Path) -> None:
    if this.evaluation is not None:
        report("\n" + write_text(main_table(this.evaluation)))
    with explain_os_errors(page):
        size = page.stat().st_size
    report(f"report: {write_plainly(write_headline(this))} -> {page} ({size / 1e6:.1f} MB)")
