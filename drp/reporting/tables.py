"""A table as data, and how it is written as Markdown, LaTeX and plain text; the page has its own template for it.

Table("main", "Pass@1 and tokens", ["Model", "Pass@1", "#Tokens"], [Row([Cell("+DRP"), Cell("94.1%"), ...])],
      groups=[Group("", 1), Group("GSM8K", 2)])
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

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
        return f"{self.plain} [{self.note}]" if self.note else self.plain


@dataclass(frozen=True)
class Row:
    cells: Sequence[Cell]
    emphasis: bool = False


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
    heads = [_escape_markdown(head) for head in flat_columns(table)]
    lines = [
        f"## {_escape_markdown(table.title)}\n",
        f"| {' | '.join(heads)} |",
        f"|{' --- |' * table.texts}{' ---: |' * (len(heads) - table.texts)}",
        *(f"| {' | '.join(_escape_markdown(cell.full) for cell in row.cells)} |" for row in table.rows),
    ]
    remarks = [_escape_markdown(remark) for remark in (table.caption, *table.notes) if remark]
    return "\n".join([*lines, *(f"\n{remark}" for remark in remarks)]) + "\n"


def flat_columns(table: Table) -> list[str]:
    """Column headings with their group's, for writers that have one line of them."""
    if not table.groups:
        return list(table.columns)
    titles = [group.title for group in table.groups for _ in range(group.span)]
    return [f"{title} {column}".strip() for title, column in zip(titles, table.columns, strict=True)]


def _escape_markdown(text: str) -> str:
    for plain, safe in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;"), ("*", "\\*"), ("_", "\\_"), ("`", "\\`")):
        text = text.replace(plain, safe)
    return " ".join(text.split())


def write_latex(table: Table) -> str:
    """A booktabs table; needs \\usepackage{booktabs}."""
    lines = [
        "\\begin{table}",
        "\\centering",
        f"\\begin{{tabular}}{{{'l' * table.texts}{'r' * (len(table.columns) - table.texts)}}}",
        "\\toprule",
        *_latex_groups(table),
        _latex_line(table.columns),
        "\\midrule",
        *(_latex_line([cell.plain for cell in row.cells]) for row in table.rows),
        "\\bottomrule",
        "\\end{tabular}",
        f"\\caption{{{_escape_latex(' '.join([table.title + '.', table.caption, *table.notes]).strip())}}}",
        f"\\label{{tab:{table.key}}}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_groups(table: Table) -> list[str]:
    if not table.groups:
        return []
    cells = [f"\\multicolumn{{{group.span}}}{{c}}{{{_escape_latex(group.title)}}}" for group in table.groups]
    return [" & ".join(cells) + " \\\\"]


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(_escape_latex(cell) for cell in cells) + " \\\\"


_LATEX = {
    "\\": "\\textbackslash{}", "&": "\\&", "%": "\\%", "$": "\\$", "#": "\\#", "_": "\\_", "{": "\\{", "}": "\\}",
    "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "\\textless{}", ">": "\\textgreater{}",
    MINUS: "$-$", "–": "--", "±": "$\\pm$", "→": "$\\rightarrow$", "×": "$\\times$", "Δ": "$\\Delta$",
}  # fmt: skip


def _escape_latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def write_text(table: Table) -> str:
    """For a terminal: columns padded, the first to the left, numbers to the right."""
    lines = [[write_plainly(cell.plain) for cell in row.cells] for row in table.rows]
    everything = [list(table.columns), *lines]
    widths = [max(len(line[column]) for line in everything) for column in range(len(table.columns))]
    rule = "  ".join("-" * width for width in widths)
    body = [_pad(list(table.columns), widths, table.texts), rule, *(_pad(line, widths, table.texts) for line in lines)]
    return "\n".join([table.title, *_text_groups(table, widths), *body]) + "\n"


def write_plainly(text: str) -> str:
    """For terminals and pipes that know ASCII only."""
    for sign, plain in ((MINUS, "-"), ("–", "-"), ("→", "->"), ("±", "+-"), ("\u00a0", " ")):
        text = text.replace(sign, plain)
    return text


def _text_groups(table: Table, widths: Sequence[int]) -> list[str]:
    if not table.groups:
        return []
    cells, start = [], 0
    for group in table.groups:
        width = sum(widths[start : start + group.span]) + 2 * (group.span - 1)
        cells.append(group.title[:width].center(width))
        start += group.span
    return ["  ".join(cells).rstrip()]


def _pad(line: Sequence[str], widths: Sequence[int], texts: int) -> str:
    padded = (
        text.ljust(width) if column < texts else text.rjust(width)
        for column, (text, width) in enumerate(zip(line, widths, strict=True))
    )
    return "  ".join(padded).rstrip()
