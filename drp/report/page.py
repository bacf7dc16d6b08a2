"""What the report's page consists of, and its rendering: one HTML file that needs no other file and no network.

Jinja escapes everything that came from a model, a file name or a configuration. The traces are data in script elements
(see `drp.report.viewer`). A content security policy allows the page's own script, by its hash, and nothing else.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from drp.report.escaping import strip_controls
from drp.report.figures import Figure
from drp.report.tables import Table
from drp.report.viewer import ViewerData

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("traces.js", "viewer.js")


@dataclass(frozen=True)
class Fact:
    """One number at the top of a section."""

    label: str
    value: str
    note: str = ""
    """Shown small, below the value."""


@dataclass(frozen=True)
class ShareBar:
    """One part of a stacked bar."""

    label: str
    share: float
    """From 0 to 1."""


@dataclass(frozen=True)
class BenchmarkCard:
    """The main result on one benchmark, at the top of the page."""

    benchmark: str
    change: str
    """Of the tokens, such as −64%."""
    accuracy: str
    """Before and after."""
    detail: str
    bars: Sequence[tuple[str, str, float]]
    """(model, mean tokens, length of the bar from 0 to 1)"""


@dataclass(frozen=True)
class PageSection:
    """A section of the page, in the order of its fields; left out if it is empty."""

    key: str
    """The HTML id."""
    title: str
    intro: str = ""
    facts: Sequence[Fact] = ()
    bars: Sequence[ShareBar] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    viewer: bool = False
    """Contains the trace viewer."""
    texts: Sequence[tuple[str, str]] = ()
    """(heading, preformatted text), collapsed."""
    figures_last: bool = False
    """Figures below the tables."""
    hidden_tables: Sequence[Table] = ()
    """For tables.md and tables.tex; the page shows `bars` instead."""

    @property
    def is_empty(self) -> bool:
        return not (self.facts or self.bars or self.figures or self.tables or self.texts or self.viewer)


@dataclass(frozen=True)
class Page:
    """Everything on the page."""

    title: str
    subtitle: str
    headline: str
    """The main result in one phrase."""
    warning: str
    """What is not finished; may be empty."""
    cards: Sequence[BenchmarkCard]
    sections: Sequence[PageSection]
    viewer: ViewerData

    @property
    def tables(self) -> list[Table]:
        """Every table, in the page's order."""
        return [table for section in self.sections for table in (*section.tables, *section.hidden_tables)]


def render_page(page: Page) -> str:
    """The whole page as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=lambda value: strip_controls(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in SCRIPTS)
    index, chunks = page.viewer.encode()
    # Markup is not escaped: it is only for what this package wrote, drew or encoded for its place in the page.
    return environment.get_template("report.html").render(
        page=page,
        svg_of=lambda figure: Markup(figure.render_svg()),
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        index=Markup(index),
        chunks=[Markup(chunk) for chunk in chunks],
    )
