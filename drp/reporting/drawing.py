"""A figure, drawn twice: as PNG for papers and slides, and as SVG for the page.

The SVG's colours are variables of the page's style sheet, so that one drawing serves light and dark. They get there by
way of stand-in colours that are replaced in the finished SVG.

    Figure("loss", "Training loss", "Mean loss of a step.", draw).save_png(folder)
"""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drp.artifacts import write_atomically
from drp.reporting.escaping import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


@dataclass(frozen=True)
class Palette:
    text: str
    grid: str
    series: Sequence[str]


# The base is grey, the trained model the accent; the others by Okabe and Ito, told apart by colour-blind readers.
PRINT = Palette("#1c1e21", "#d9dce1", ["#8a9099", "#2457c5", "#d55e00", "#009e73", "#cc79a7", "#b8860b"])
STAND_IN = Palette("#0a0b01", "#0a0b02", [f"#0a0b1{index}" for index in range(len(PRINT.series))])
VARIABLES = {
    STAND_IN.text: "var(--muted)",
    STAND_IN.grid: "var(--line)",
    **{color: f"var(--series-{index})" for index, color in enumerate(STAND_IN.series)},
}

Draw = Callable[[Palette], "Canvas"]


@dataclass(frozen=True)
class Figure:
    """key: the file's name; caption: what there is to see; draw: makes the drawing in the given colours."""

    key: str
    title: str
    caption: str
    draw: Draw
    narrow: bool = False
    """A single panel, which would be too tall across the whole page."""

    def save_png(self, folder: Path) -> Path:
        path = folder / f"{self.key}.png"
        with _style(PRINT):
            canvas = self.draw(PRINT)
            write_atomically(path, lambda draft: canvas.savefig(draft, format="png", dpi=160, facecolor="white"))
        return path

    def render_svg(self) -> str:
        """An <svg> element to stand in the page."""
        with _style(STAND_IN, self.key):
            buffer = io.StringIO()
            nothing: dict[str, Any] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            self.draw(STAND_IN).savefig(buffer, format="svg", transparent=True, metadata=nothing)
        return _inline(buffer.getvalue(), self.title)


def _style(palette: Palette, salt: str = "drp") -> Any:
    import matplotlib

    settings: dict[Any, Any] = {
        "font.size": 9,
        "axes.titlesize": 9.5,
        "text.color": palette.text,
        "axes.labelcolor": palette.text,
        "axes.titlecolor": palette.text,
        "axes.edgecolor": palette.grid,
        "xtick.color": palette.text,
        "ytick.color": palette.text,
        "axes.grid": True,
        "grid.color": palette.grid,
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "legend.frameon": False,
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        # A benchmark called `a_$b$` is a name, not a formula.
        "text.parse_math": False,
    }
    return matplotlib.rc_context(settings)


def _inline(svg: str, title: str) -> str:
    from markupsafe import escape

    svg = clean(svg[svg.index("<svg") :])
    for color, variable in VARIABLES.items():
        svg = svg.replace(color, variable)
    svg = re.sub(r"font: [^;\"]*?([\d.]+px)[^;\"]*", r"font: \1 var(--sans)", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # The drawing takes the width of its column; height and width as drawn would keep it from doing so.
    return re.sub(
        r'<svg ([^>]*?)(?:height|width)="[^"]*"([^>]*?)(?:height|width)="[^"]*"', _open_svg(escape(title)), svg, count=1
    )


def _open_svg(title: str) -> Callable[[re.Match[str]], str]:
    return lambda match: f'<svg role="img" aria-label="{title}" {match[1]}{match[2]}'


def make_panels(count: int, height: float = 2.7, width: float = 9.4) -> tuple["Canvas", list["Axes"]]:
    """Side by side, three in a row at most, four as two and two. height: inches a row; width: inches in all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    columns = 2 if count == 4 else min(count, 3)
    rows = -(-count // columns)
    canvas = Canvas(figsize=(width if columns > 1 else 0.68 * width, height * rows), layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.subplots(rows, columns, squeeze=False)
    panels = list(axes.flat)
    for spare in panels[count:]:
        spare.set_visible(False)
    return canvas, panels[:count]


def share_legend(canvas: "Canvas", panels: Sequence["Axes"]) -> None:
    found = {
        label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    canvas.legend(found.values(), found.keys(), loc="outside upper left", ncols=min(6, len(found)))
