"""A table as data, and how it is written as Markdown, LaTeX and plain text; the page has its own template for it.

Table("main", "Pass@1 and tokens", ["Model", "Pass@1", "#Tokens"], [Row([Cell("+DRP"), Cell("94.1%"), ...])],
      groups=[Group("", 1), Group("GSM8K", 2)])
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, NamedTuple

from drp.report.escaping import escape_latex, escape_markdown, write_plainly

MINUS = "\u2212"

Tone = Literal["good", "bad", ""]


@dataclass(frozen=True)
class Cell:
    """text: the value; change: beside it, such as −64%; tone: whether that is welcome; note: below it, small."""

    text: str
    change: str = ""
    tone: Tone = ""
    note: str = ""

    @property
    def plain(self) -> str:
        return f"{self.text} ({self.change})" if self.change else self.text

    @property
    def full(self) -> str:
        remarks = "; ".join(part for part in (self.change, self.note) if part)
        return f"{self.text} ({remarks})" if remarks else self.text


@dataclass(frozen=True)
class Row:
    cells: Sequence[Cell]
    emphasis: bool = False
    heading: bool = False
    """A name over the rows that follow: one cell across the table."""


class Group(NamedTuple):
    """A heading over `span` columns."""

    title: str
    span: int


@dataclass(frozen=True)
class Table:
    key: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Row]
    groups: Sequence[Group] = ()
    caption: str = ""
    notes: Sequence[str] = ()
    """Warnings and remarks below it."""
    texts: int = 1
    """So many columns, the first ones, hold words and stand to the left; the others hold numbers."""


def percent(share: float | None, digits: int = 1) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f}%"


def number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}".replace("-", MINUS)


def signed(value: float, digits: int = 0, unit: str = "") -> str:
    """With its sign; what rounds to zero has none."""
    text = f"{value:+.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", MINUS) + unit


def write_markdown(table: Table) -> str:
    heads = [escape_markdown(head) for head in flat_columns(table)]
    lines = [
        f"## {escape_markdown(table.title)}\n",
        f"| {' | '.join(heads)} |",
        f"|{' --- |' * table.texts}{' ---: |' * (len(heads) - table.texts)}",
        *(_markdown_row(row, len(heads)) for row in table.rows),
    ]
    remarks = [escape_markdown(remark) for remark in (table.caption, *table.notes) if remark]
    return "\n".join([*lines, *(f"\n{remark}" for remark in remarks)]) + "\n"


def _markdown_row(row: Row, columns: int) -> str:
    cells = [escape_markdown(cell.full) for cell in row.cells]
    if row.heading:
        cells = [f"**{cells[0]}**", *[""] * (columns - 1)]
    return f"| {' | '.join(cells)} |"


def flat_columns(table: Table) -> list[str]:
    """Column headings with their group's, for writers that have one line of them."""
    if not table.groups:
        return list(table.columns)
    titles = [group.title for group in table.groups for _ in range(group.span)]
    return [f"{title} {column}".strip() for title, column in zip(titles, table.columns, strict=True)]


def write_latex(table: Table) -> str:
    """A booktabs table, notes small below their values; needs \\usepackage{booktabs}."""
    lines = [
        "\\begin{table}",
        "\\centering",
        f"\\begin{{tabular}}{{{'l' * table.texts}{'r' * (len(table.columns) - table.texts)}}}",
        "\\toprule",
        *_latex_groups(table.groups),
        _latex_line(table.columns),
        "\\midrule",
        *(_latex_row(row, len(table.columns)) for row in table.rows),
        "\\bottomrule",
        "\\end{tabular}",
        f"\\caption{{{escape_latex(' '.join([table.title + '.', table.caption, *table.notes]).strip())}}}",
        f"\\label{{tab:{table.key}}}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_groups(groups: Sequence[Group]) -> list[str]:
    """The groups' line, and a rule under each that has a name."""
    if not groups:
        return []
    cells = [f"\\multicolumn{{{group.span}}}{{c}}{{{escape_latex(group.title)}}}" for group in groups]
    ends = accumulate(group.span for group in groups)
    rules = [
        f"\\cmidrule(lr){{{end - group.span + 1}-{end}}}"
        for group, end in zip(groups, ends, strict=True)
        if group.title
    ]
    return [" & ".join(cells) + " \\\\", *rules]


def _latex_row(row: Row, columns: int) -> str:
    if row.heading:
        return f"\\multicolumn{{{columns}}}{{c}}{{{escape_latex(row.cells[0].plain)}}} \\\\"
    values = _latex_line([cell.plain for cell in row.cells])
    notes = [f"{{\\scriptsize {escape_latex(cell.note)}}}" if cell.note else "" for cell in row.cells]
    return f"{values}\n{' & '.join(notes)} \\\\" if any(notes) else values


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(escape_latex(cell) for cell in cells) + " \\\\"


def write_text(table: Table) -> str:
    """For a terminal: columns padded, the first to the left, numbers to the right."""
    lines = [[write_plainly(cell.plain) for cell in row.cells] for row in table.rows if not row.heading]
    heads = [write_plainly(column) for column in table.columns]
    everything = [heads, *lines]
    widths = [max(len(line[column]) for line in everything) for column in range(len(table.columns))]
    rule = "  ".join("-" * width for width in widths)
    body = [_pad(heads, widths, table.texts), rule, *(_pad(line, widths, table.texts) for line in lines)]
    return "\n".join([write_plainly(table.title), *_text_groups(table, widths), *body]) + "\n"


def _text_groups(table: Table, widths: Sequence[int]) -> list[str]:
    if not table.groups:
        return []
    cells, start = [], 0
    for group in table.groups:
        width = sum(widths[start : start + group.span]) + 2 * (group.span - 1)
        cells.append(write_plainly(group.title)[:width].center(width))
        start += group.span
    return ["  ".join(cells).rstrip()]


def _pad(line: Sequence[str], widths: Sequence[int], texts: int) -> str:
    padded = (
        text.ljust(width) if column < texts else text.rjust(width)
        for column, (text, width) in enumerate(zip(line, widths, strict=True))
    )
    return "  ".join(padded).rstrip()
