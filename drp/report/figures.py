"""The figures: the paper's Figures 3 and 4, accuracy against tokens, tokens by skill, and the training loss.

Each is drawn twice: as PNG for papers and slides, and as SVG for the page. The SVG's colours are CSS variables of the
page, so that one drawing does for light and dark. matplotlib does not know CSS variables: the SVG is drawn in
placeholder colours, which are then replaced in its text.

    Figure("loss", "Training loss", "Mean loss of a step.", draw).save_png(folder)
"""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drp.evaluation.outcomes import Outcome, apply_policy
from drp.report.escaping import strip_controls
from drp.report.pruning import PruningSurvey
from drp.report.results import BASE, Evaluation, name_model
from drp.report.training import TrainingCurves
from drp.runs.jsonl import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


@dataclass(frozen=True)
class Palette:
    """The colours of a drawing."""

    text: str
    grid: str
    series: Sequence[str]
    """The base's first; the others repeat if there are more models."""


# Grey for the base, the accent for the trained model, then the colours of Okabe and Ito, which colour-blind readers can
# tell apart.
PRINT = Palette("#1c1e21", "#d9dce1", ["#8a9099", "#2457c5", "#d55e00", "#009e73", "#cc79a7", "#b8860b"])
PLACEHOLDERS = Palette("#0a0b01", "#0a0b02", [f"#0a0b1{index}" for index in range(len(PRINT.series))])
CSS_VARIABLES = {
    PLACEHOLDERS.text: "var(--muted)",
    PLACEHOLDERS.grid: "var(--line)",
    **{color: f"var(--series-{index})" for index, color in enumerate(PLACEHOLDERS.series)},
}


@dataclass(frozen=True)
class Figure:
    """A drawing with its title and caption."""

    key: str
    """The PNG's name; unique in a report."""
    title: str
    caption: str
    draw: Callable[[Palette], "Canvas"]
    narrow: bool = False
    """A single panel, which would be too tall across the whole page."""

    def save_png(self, folder: Path) -> Path:
        """Write folder/KEY.png."""
        path = folder / f"{self.key}.png"
        with _style(PRINT):
            canvas = self.draw(PRINT)
            write_atomically(path, lambda draft: canvas.savefig(draft, format="png", dpi=160, facecolor="white"))
        return path

    def render_svg(self) -> str:
        """An <svg> element for the page."""
        with _style(PLACEHOLDERS, self.key):
            buffer = io.StringIO()
            no_metadata: dict[str, Any] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            self.draw(PLACEHOLDERS).savefig(buffer, format="svg", transparent=True, metadata=no_metadata)
        return _adapt_svg(buffer.getvalue(), self.title)


def figures_of(
    evaluation: Evaluation | None, survey: PruningSurvey | None, training: TrainingCurves | None
) -> dict[str, Figure]:
    """Every figure for which there is data, by key."""
    figures: list[Figure] = []
    if evaluation is not None:
        figures += [lengths_figure(evaluation), captured_figure(evaluation), tradeoff_figure(evaluation)]
    if survey is not None and any(use.tokens for use in survey.skills.values()):
        figures.append(skills_figure(survey))
    if training is not None and training.loss:
        figures.append(loss_figure(training))
    return {figure.key: figure for figure in figures}


def lengths_figure(evaluation: Evaluation) -> Figure:
    """The paper's Figure 3: the distribution of response lengths, before and after."""

    def draw(palette: Palette) -> "Canvas":
        edges = {benchmark: _bins(evaluation, benchmark) for benchmark in evaluation.benchmarks}

        def plot(axes: "Axes", outcomes: Sequence[Outcome], label: str, color: str, benchmark: str) -> None:
            lengths = [outcome.n_tokens for outcome in apply_policy(outcomes, "cap", evaluation.cutoff_tokens)]
            weights = [100 / len(lengths)] * len(lengths)
            axes.hist(lengths, edges[benchmark], weights=weights, color=color, alpha=0.25)
            axes.hist(lengths, edges[benchmark], weights=weights, color=color, histtype="step", lw=1.4, label=label)
            axes.xaxis.set_major_formatter("{x:,.0f}")
            axes.set_xlabel("tokens")
            axes.set_ylabel("% of responses")

        return _draw_models(evaluation, palette, plot)

    cutoff = f"{evaluation.cutoff_tokens:,}"
    caption = (
        f"Responses by length (the paper's Figure 3). Responses longer than {cutoff} tokens are counted at {cutoff}."
    )
    return Figure("lengths", "Response lengths before and after", caption, draw)


def _bins(evaluation: Evaluation, benchmark: str, count: int = 36) -> list[float]:
    longest = max(
        min(outcome.n_tokens, evaluation.cutoff_tokens)
        for model in evaluation.models
        for outcome in evaluation.outcomes.get((model, benchmark), ())
    )
    return [max(longest, 1) * edge / count for edge in range(count + 1)]


def captured_figure(evaluation: Evaluation) -> Figure:
    """The paper's Figure 4: the share of correct answers within a token budget."""
    curves = {key: captured_shares(outcomes) for key, outcomes in evaluation.outcomes.items()}

    def draw(palette: Palette) -> "Canvas":
        def plot(axes: "Axes", outcomes: Sequence[Outcome], label: str, color: str, benchmark: str) -> None:
            curve = captured_shares(outcomes)
            longest = max(
                (found[-1][0] for (_, name), found in curves.items() if name == benchmark and found), default=0
            )
            budgets = [0, *(budget for budget, _ in curve), longest]
            shares = [0, *(100 * share for _, share in curve), 100]
            if curve:
                axes.step(budgets, shares, where="post", color=color, label=label)
            axes.xaxis.set_major_formatter("{x:,.0f}")
            axes.set_xlabel("token budget")
            axes.set_ylabel("% of correct answers")
            axes.set_ylim(0, 103)

        return _draw_models(evaluation, palette, plot)

    caption = "Share of each model's correct answers that are complete within a token budget (the paper's Figure 4)."
    return Figure("captured", "Correct answers within a token budget", caption, draw)


def captured_shares(outcomes: Sequence[Outcome]) -> list[tuple[int, float]]:
    """(budget in tokens, share of the correct answers that are no longer), by rising budget."""
    lengths = sorted(outcome.n_tokens for outcome in outcomes if outcome.correct)
    return [(length, (rank + 1) / len(lengths)) for rank, length in enumerate(lengths)]


def tradeoff_figure(evaluation: Evaluation) -> Figure:
    """Accuracy against tokens, with intervals."""

    def draw(palette: Palette) -> "Canvas":
        canvas, panels = _make_panels(len(evaluation.benchmarks))
        for panel, benchmark in zip(panels, evaluation.benchmarks, strict=True):
            panel.set_title(strip_controls(benchmark), loc="left")
            for index, model in enumerate(evaluation.models):
                _plot_point(panel, evaluation, model, benchmark, _color_of(model, index, palette))
            panel.set_xlim(left=0)
            panel.xaxis.set_major_formatter("{x:,.0f}")
            panel.set_xlabel("mean tokens")
            panel.set_ylabel("accuracy, %")
        _add_legend(canvas, panels)
        return canvas

    caption = "Each model's accuracy and mean tokens, with 95% intervals. Better is up and to the left."
    return Figure("tradeoff", "Accuracy against tokens", caption, draw)


def _plot_point(axes: "Axes", evaluation: Evaluation, model: str, benchmark: str, color: str) -> None:
    score = evaluation.score(model, benchmark)
    if score is None or score.accuracy is None or score.mean_tokens is None:
        return
    x, y = score.mean_tokens, 100 * score.accuracy
    low, high = score.accuracy_ci or (score.accuracy, score.accuracy)
    left, right = score.tokens_ci or (x, x)
    axes.errorbar(
        x,
        y,
        xerr=[[max(0, x - left)], [max(0, right - x)]],
        yerr=[[max(0, y - 100 * low)], [max(0, 100 * high - y)]],
        fmt="o",
        color=color,
        elinewidth=1,
        label=name_model(model),
    )


def skills_figure(survey: PruningSurvey) -> Figure:
    """The tokens of each skill's steps, kept and saved."""

    def draw(palette: Palette) -> "Canvas":
        ranked = [(skill, use) for skill, use in survey.top_skills() if use.tokens][::-1]
        canvas, (axes,) = _make_panels(1, height=0.6 + 0.26 * len(ranked))
        skills = [strip_controls(skill) for skill, _ in ranked]
        names = [skill if len(skill) <= 40 else skill[:39] + "…" for skill in skills]
        kept = [max(0.0, use.tokens - use.saved) for _, use in ranked]
        places = range(len(ranked))
        axes.barh(places, kept, color=palette.series[1], height=0.7, label="kept")
        axes.barh(places, [use.saved for _, use in ranked], left=kept, color=palette.series[0], alpha=0.45, height=0.7,
                  label="saved")  # fmt: skip
        axes.set_yticks(places, names)
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlabel("tokens, estimated")
        _add_legend(canvas, [axes])
        return canvas

    caption = "Tokens in the steps of each skill: those that pruning kept, and those that it saved."
    return Figure("skills", "Tokens by skill", caption, draw, narrow=True)


def loss_figure(training: TrainingCurves) -> Figure:
    """Training and validation loss, the learning rate, and the step whose weights were kept."""

    def draw(palette: Palette) -> "Canvas":
        canvas, (axes,) = _make_panels(1, height=2.6)
        axes.plot(*zip(*training.loss, strict=True), color=palette.series[1], lw=1.3, label="training")
        if training.validation_loss:
            steps, losses = zip(*training.validation_loss, strict=True)
            axes.plot(steps, losses, color=palette.series[2], marker="o", ms=4, label="validation")
        panels = [axes]
        if training.kept_step is not None:
            label = f"weights kept: step {training.kept_step}"
            axes.axvline(training.kept_step, color=palette.text, lw=0.9, ls=":", label=label)
        if training.learning_rate:
            panels.append(axes.twinx())
            steps, rates = zip(*training.learning_rate, strict=True)
            panels[1].plot(steps, rates, color=palette.series[0], lw=1, ls="--", label="learning rate")
            panels[1].set_ylabel("learning rate")
            panels[1].set_ylim(bottom=0)
            panels[1].grid(False)
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("loss")
        _add_legend(canvas, panels)
        return canvas

    caption = (
        "Left axis: loss, the mean negative log-likelihood of a response's tokens, in nats. Right axis: learning rate."
    )
    return Figure("loss", "Training loss", caption, draw, narrow=True)


def _draw_models(
    evaluation: Evaluation, palette: Palette, plot: Callable[["Axes", Sequence[Outcome], str, str, str], None]
) -> "Canvas":
    """One panel for each benchmark; in it, `plot(axes, outcomes, label, color, benchmark)` is called for each model."""
    canvas, panels = _make_panels(len(evaluation.benchmarks))
    for panel, benchmark in zip(panels, evaluation.benchmarks, strict=True):
        panel.set_title(strip_controls(benchmark), loc="left")
        for index, model in enumerate(evaluation.models):
            outcomes = evaluation.outcomes.get((model, benchmark))
            if outcomes:
                plot(panel, outcomes, name_model(model), _color_of(model, index, palette), benchmark)
    _add_legend(canvas, panels)
    return canvas


def _color_of(model: str, index: int, palette: Palette) -> str:
    """The first colour is for the base only."""
    others = palette.series[1:]
    return palette.series[0] if model == BASE else others[(index - 1) % len(others)]


def _make_panels(count: int, height: float = 2.7, width: float = 9.4) -> tuple["Canvas", list["Axes"]]:
    """A canvas with `count` panels, up to three in a row, four as two rows of two.

    height: of a row, in inches; width: of the canvas, in inches.
    """
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


def _add_legend(canvas: "Canvas", panels: Sequence["Axes"]) -> None:
    """One legend for all panels, with each label once."""
    found = {
        label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    canvas.legend(found.values(), found.keys(), loc="outside upper left", ncols=min(6, len(found)))


def _style(palette: Palette, salt: str = "drp") -> Any:
    """A matplotlib context. salt: the SVG's ids are derived from it, so that two figures on a page share none."""
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
        # A benchmark may be called `a_$b$`.
        "text.parse_math": False,
    }
    return matplotlib.rc_context(settings)


def _adapt_svg(svg: str, title: str) -> str:
    """Replace placeholder colours and fonts by the page's, and make the drawing as wide as its column."""
    from markupsafe import escape

    svg = strip_controls(svg[svg.index("<svg") :])
    for color, variable in CSS_VARIABLES.items():
        svg = svg.replace(color, variable)
    svg = re.sub(r"font: [^;\"]*?([\d.]+px)[^;\"]*", r"font: \1 var(--sans)", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # The browser computes the height from the view box once width and height are gone.
    head, body = svg.split(">", 1)
    head = re.sub(r' (?:height|width)="[^"]*"', "", head).removeprefix("<svg")
    return f'<svg role="img" aria-label="{escape(title)}"{head}>{body}'
