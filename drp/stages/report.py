"""Stage report: everything in a run directory -> report/, a page with its tables and figures.

    report/index.html      one self-contained page: headline, tables, figures, trace viewer
    report/tables.md       the tables as Markdown; tables.tex: as LaTeX
    report/figures/*.png   the figures

Parts that the run does not have yet are left out. Further run directories are shown side by side with it. The report is
written anew each time; there is nothing to resume.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from drp.config.loading import build_config, load_config, load_stored_config
from drp.config.sections import Config
from drp.errors import InputError
from drp.report.escaping import escape_markdown, escape_terminal
from drp.report.figures import figures_of
from drp.report.page import Page, render_page
from drp.report.results import main_table
from drp.report.run import Run, find_student, make_names_unique, read_manifests, read_run
from drp.report.sections import build_page
from drp.report.tables import write_latex, write_markdown, write_text
from drp.report.viewer import ViewerData
from drp.runs.jsonl import explain_os_errors, write_atomically
from drp.runs.progress import report, say
from drp.runs.rundir import RunDir
from drp.runs.stage import RunOptions


def run(config: Config, options: RunOptions = RunOptions(), others: Sequence[Path] = ()) -> Path:
    """Write the report and print the main table. Returns the page's path.

    others: further run directories to show side by side. options.limit: traces in the viewer at most.
    Raises InputError if a run directory is missing, or a record of an evaluation cannot be read.
    """
    root = options.input or config.run_dir
    target = options.output or RunDir(root).report
    if options.dry_run:
        report(f"report would write {target / 'index.html'}, tables and figures")
        return target / "index.html"
    viewer = ViewerData(max_traces=options.limit or config.report.max_traces)
    this, *rest = make_names_unique([_read(root, config, viewer), *(_read(path, config) for path in others)])
    figures = figures_of(this.evaluation, this.survey, this.training)
    page = build_page(this, rest, config, figures, viewer)
    _write_tables(target, page)
    for figure in figures.values():
        figure.save_png(target / "figures")
    _write_text(target / "index.html", render_page(page))
    _print_results(this, page, target / "index.html")
    return target / "index.html"


def find_config(place: Path, overrides: Iterable[str] = ()) -> Config:
    """The configuration of a YAML file, or the one stored in a run directory. If a run directory has none, the defaults
    with the student named in its manifests.

    Raises ConfigError, and InputError if no manifest of such a run directory names the student.
    """
    if not place.is_dir():
        return load_config(place, overrides)
    if RunDir(place).config.exists():
        return load_stored_config(place, overrides)
    student = find_student(read_manifests(place))
    if student is None:
        raise InputError(f"{place} holds no configuration; give the one that it was made with: drp report CONFIG")
    say(f"report: {place} holds no configuration; using the defaults for cutoff, prices and title")
    return build_config({"run_dir": str(place), "student": {"model": student}}, overrides, place)


def _read(root: Path, config: Config, viewer: ViewerData | None = None) -> Run:
    order = [benchmark.name for benchmark in config.eval.benchmarks]
    return read_run(root, order, config.eval.cutoff_tokens, config.seed, viewer)


def _write_tables(target: Path, page: Page) -> None:
    """tables.md and tables.tex."""
    markdown = "\n".join(write_markdown(table) for table in page.tables)
    latex = "\n".join(write_latex(table) for table in page.tables)
    _write_text(target / "tables.md", f"# {escape_markdown(page.headline)}\n\n{markdown}")
    _write_text(target / "tables.tex", f"% Needs \\usepackage{{booktabs}}.\n\n{latex}")


def _write_text(path: Path, text: str) -> None:
    """As UTF-8; a lone surrogate, which has no UTF-8 encoding, is written as an escape."""
    data = text.encode("utf-8", "backslashreplace")
    write_atomically(path, lambda draft: draft.write_bytes(data))


def _print_results(this: Run, page: Page, path: Path) -> None:
    if this.evaluation is not None:
        report("\n" + write_text(main_table(this.evaluation)))
    with explain_os_errors(path):
        size = path.stat().st_size
    report(f"report: {escape_terminal(page.headline)} -> {path} ({size / 1e6:.1f} MB)")
