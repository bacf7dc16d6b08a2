"""The page: one HTML file that needs nothing else, works offline, in light and dark, on a desk and on a phone.

Everything in it that came from a model, a file name or a configuration is escaped by Jinja; the traces are JSON in
script elements (see `drp.report.embedding`). A content security policy allows the page's own script, by its hash,
and nothing from anywhere else.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from drp.report.embedding import Embedding
from drp.report.escaping import clean
from drp.report.figures import Figure
from drp.report.tables import Table

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("traces.js", "viewer.js")


@dataclass(frozen=True)
class Fact:
    """A number with its name, and what to know about it."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Bar:
    """One part of a whole. share: 0 to 1."""

    label: str
    share: float


@dataclass(frozen=True)
class Card:
    """One benchmark at a glance. before, after: mean tokens; width: 0 to 1 of the longer of the two."""

    benchmark: str
    change: str
    accuracy: str
    detail: str
    bars: Sequence[tuple[str, str, float]]
    """(model, tokens, width)"""


@dataclass(frozen=True)
class Section:
    key: str
    title: str
    intro: str = ""
    facts: Sequence[Fact] = ()
    bars: Sequence[Bar] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    texts: Sequence[tuple[str, str]] = ()
    """(heading, preformatted text), folded."""
    viewer: bool = False
    figures_first: bool = True
    """Figures above the tables."""

    @property
    def is_empty(self) -> bool:
        return not (self.facts or self.bars or self.figures or self.tables or self.texts or self.viewer)


@dataclass(frozen=True)
class Page:
    title: str
    subtitle: str
    headline: str
    """One sentence: what came out."""
    warning: str = ""
    cards: Sequence[Card] = ()
    sections: Sequence[Section] = ()
    embedding: Embedding = field(default_factory=Embedding)


def render_page(page: Page) -> str:
    """The whole page as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=lambda value: clean(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in SCRIPTS)
    # Markup only on what this package itself wrote, drew or encoded for where it stands.
    return environment.get_template("report.html").render(
        page=page,
        sections=[section for section in page.sections if not section.is_empty],
        svg_of=lambda figure: Markup(figure.render_svg()),
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        index=Markup(page.embedding.index()),
        chunks=[Markup(chunk) for chunk in page.embedding.chunks],
    )
