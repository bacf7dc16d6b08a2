"""A table as data, and the writers for Markdown, LaTeX and plain text. The page's template writes HTML.

Table("main", "Pass@1 and tokens", ["Model", "Pass@1", "#Tokens"],
      [TableRow([Cell("+DRP"), Cell("94.1%"), Cell("328", "−64%", "good")])],
      groups=[ColumnGroup("", 1), ColumnGroup("GSM8K", 2)])
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, NamedTuple

from drp.report.escaping import escape_latex, escape_markdown, escape_terminal

MINUS = "\u2212"

Tone = Literal["good", "bad", ""]


@dataclass(frozen=True)
class Cell:
    """One value of a table."""

    text: str
    change: str = ""
    """Shown next to the value, such as −64%."""
    tone: Tone = ""
    """Whether the change is an improvement."""
    note: str = ""
    """Shown small, below the value."""

    @property
    def with_change(self) -> str:
        return f"{self.text} ({self.change})" if self.change else self.text

    @property
    def with_change_and_note(self) -> str:
        remarks = "; ".join(part for part in (self.change, self.note) if part)
        return f"{self.text} ({remarks})" if remarks else self.text


EMPTY = Cell("–")


@dataclass(frozen=True)
class TableRow:
    """One row of a table."""

    cells: Sequence[Cell]
    emphasis: bool = False
    """Set in bold."""
    heading: bool = False
    """A title of the rows below: its only cell spans the table."""


class ColumnGroup(NamedTuple):
    """A heading over `span` columns; an empty title leaves the space above them empty."""

    title: str
    span: int


@dataclass(frozen=True)
class Table:
    """A table with its title and remarks."""

    key: str
    """Unique in a report: the HTML id and the LaTeX label are made of it."""
    title: str
    columns: Sequence[str]
    rows: Sequence[TableRow]
    groups: Sequence[ColumnGroup] = ()
    """Together they span all columns; none: one line of column heads."""
    caption: str = ""
    notes: Sequence[str] = ()
    """Warnings, below the caption."""
    texts: int = 1
    """The first `texts` columns hold text and are aligned left; the others hold numbers and are aligned right."""


def percent(share: float | None, digits: int = 1) -> str:
    """`94.1%` for 0.941; a dash for None."""
    return "–" if share is None else f"{100 * share:.{digits}f}%"


def number(value: float | None, digits: int = 0) -> str:
    """`1,319`; a dash for None."""
    return "–" if value is None else f"{value:,.{digits}f}".replace("-", MINUS)


def signed(value: float, digits: int = 0, unit: str = "") -> str:
    """`+2.4` or `−64%`; a value that rounds to zero has no sign."""
    text = f"{value:+.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", MINUS) + unit


def write_markdown(table: Table) -> str:
    """A heading, the table, and below it the caption and the notes."""
    heads = [escape_markdown(head) for head in _flatten_columns(table)]
    lines = [
        f"## {escape_markdown(table.title)}\n",
        f"| {' | '.join(heads)} |",
        f"|{' --- |' * table.texts}{' ---: |' * (len(heads) - table.texts)}",
        *(_markdown_row(row, len(heads)) for row in table.rows),
    ]
    remarks = [escape_markdown(remark) for remark in (table.caption, *table.notes) if remark]
    return "\n".join([*lines, *(f"\n{remark}" for remark in remarks)]) + "\n"


def _flatten_columns(table: Table) -> list[str]:
    """Each column's head, with its group's title in front: Markdown has one line of heads."""
    if not table.groups:
        return list(table.columns)
    titles = [group.title for group in table.groups for _ in range(group.span)]
    return [f"{title} {column}".strip() for title, column in zip(titles, table.columns, strict=True)]


def _markdown_row(row: TableRow, columns: int) -> str:
    cells = [escape_markdown(cell.with_change_and_note) for cell in row.cells]
    if row.heading:
        cells = [f"**{cells[0]}**", *[""] * (columns - 1)]
    return f"| {' | '.join(cells)} |"


def write_latex(table: Table) -> str:
    """A booktabs table, with notes in small print below their values. Needs \\usepackage{booktabs}."""
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


def _latex_groups(groups: Sequence[ColumnGroup]) -> list[str]:
    """The line of group titles, and a rule below each title."""
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


def _latex_row(row: TableRow, columns: int) -> str:
    if row.heading:
        return f"\\multicolumn{{{columns}}}{{c}}{{{escape_latex(row.cells[0].text)}}} \\\\"
    values = _latex_line([cell.with_change for cell in row.cells])
    notes = [f"{{\\scriptsize {escape_latex(cell.note)}}}" if cell.note else "" for cell in row.cells]
    return f"{values}\n{' & '.join(notes)} \\\\" if any(notes) else values


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(escape_latex(cell) for cell in cells) + " \\\\"


def write_text(table: Table) -> str:
    """Columns padded to equal width for a terminal; without headings within the table, caption and notes."""
    lines = [[escape_terminal(cell.with_change) for cell in row.cells] for row in table.rows if not row.heading]
    heads = [escape_terminal(column) for column in table.columns]
    widths = [max(len(line[column]) for line in [heads, *lines]) for column in range(len(heads))]
    rule = "  ".join("-" * width for width in widths)
    body = [_pad(heads, widths, table.texts), rule, *(_pad(line, widths, table.texts) for line in lines)]
    return "\n".join([escape_terminal(table.title), *_text_groups(table.groups, widths), *body]) + "\n"


def _text_groups(groups: Sequence[ColumnGroup], widths: Sequence[int]) -> list[str]:
    if not groups:
        return []
    cells, start = [], 0
    for group in groups:
        width = sum(widths[start : start + group.span]) + 2 * (group.span - 1)
        cells.append(escape_terminal(group.title)[:width].center(width))
        start += group.span
    return ["  ".join(cells).rstrip()]


def _pad(line: Sequence[str], widths: Sequence[int], texts: int) -> str:
    padded = (
        text.ljust(width) if column < texts else text.rjust(width)
        for column, (text, width) in enumerate(zip(line, widths, strict=True))
    )
    return "  ".join(padded).rstrip()
