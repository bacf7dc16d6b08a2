"""Stage report: everything in the run directory -> report/, one page and its tables and figures.

    report/index.html      one self-contained page: headline, tables, figures, trace viewer
    report/tables.md       the tables as Markdown; tables.tex: as LaTeX
    report/figures/*.png   the figures

Shows whatever is there: over a half-finished run the missing parts are left out. Always written anew; there is nothing
to resume.
"""

from collections.abc import Sequence
from pathlib import Path

from drp.artifacts import explain_os_errors, write_atomically
from drp.progress import report
from drp.reporting.embedding import Embedding
from drp.reporting.figures import figures_of
from drp.reporting.page import Page, render_page
from drp.reporting.results import main_table
from drp.reporting.run import Run, read_run
from drp.reporting.sections import (
    build_sections,
    describe_run,
    describe_unfinished,
    make_cards,
    tables_of,
    write_headline,
)
from drp.reporting.tables import write_latex, write_markdown, write_plainly, write_text
from drp.rundir import RunDir
from drp.settings import Config
from drp.stage import RunOptions


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
    embedding = Embedding()
    this = _read(root, config, embedding, options.limit)
    rest = [_read(path, config) for path in others]
    write_tables(target, this, rest)
    write_page(target, config, this, rest, embedding)
    _print_results(this, target / "index.html")
    return target / "index.html"


def _read(root: Path, config: Config, embedding: Embedding | None = None, limit: int | None = None) -> Run:
    order = [benchmark.name for benchmark in config.eval.benchmarks]
    return read_run(root, order, config.eval.cutoff_tokens, config.seed, embedding, limit)


def write_tables(target: Path, this: Run, rest: Sequence[Run]) -> None:
    """tables.md and tables.tex."""
    tables = tables_of(this, rest)
    markdown = "\n".join(write_markdown(table) for table in tables)
    latex = "\n".join(write_latex(table) for table in tables)
    write_text_file(target / "tables.md", f"# {write_headline(this)}\n\n{markdown}")
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
        sections=build_sections(this, rest, figures, embedding, describe_configuration(config)),
        embedding=embedding,
    )
    write_text_file(target / "index.html", render_page(page))


def describe_configuration(config: Config) -> str:
    """The configuration as YAML, defaults included. It names the variables that hold keys, never a key."""
    import yaml

    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


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
