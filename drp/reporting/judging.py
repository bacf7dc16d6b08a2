"""What a judge said of this run's decomposition against others (paper, Appendix D): judge/*.summary.json as a table."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from drp.artifacts import explain_os_errors
from drp.errors import InputError
from drp.reporting.evaluation import describe_interval, describe_p
from drp.reporting.tables import Cell, Row, Table, number, percent
from drp.scores.preference import SUFFIX, Preference


def read_preferences(folder: Path) -> list[Preference]:
    """Every summary of a run's `judge` folder, by name; none where there is no such folder."""
    return [_read_preference(path) for path in sorted(folder.glob(f"*{SUFFIX}"))]


def _read_preference(path: Path) -> Preference:
    with explain_os_errors(path):
        text = path.read_bytes()
    try:
        return Preference.model_validate_json(text)
    except ValidationError:
        raise InputError(f"{path}: not a summary of `drp judge`; delete it, or run `drp judge` again") from None


def judging_table(preferences: Sequence[Preference]) -> Table | None:
    """One comparison a row; None where nothing was judged."""
    if not preferences:
        return None
    return Table(
        key="judge",
        texts=2,
        title="Decompositions compared by a judge",
        columns=["Compared with", "Judge", "Pairs", "Preferred / not", "Ties", "Win rate", "p", "By position"],
        rows=[_judging_row(preference) for preference in preferences],
        caption=(
            "Each pair is shown in both orders; a preference counts where both agree. Win rate: share of the pairs "
            "with a winner, with the exact 95% interval. p: exact sign test. By position: pairs in which whatever "
            "stood first, or second, was preferred both times; they count as ties."
        ),
        notes=[f"{preference.b}: {warning}." for preference in preferences for warning in preference.warnings],
    )


def _judging_row(found: Preference) -> Row:
    return Row(
        [
            Cell(found.b),
            Cell(found.judge),
            Cell(number(found.n)),
            Cell(f"{found.a_wins} / {found.b_wins}"),
            Cell(number(found.ties)),
            Cell(percent(found.win_rate), note=describe_interval(found.win_rate_ci, 100, 1)),
            Cell(describe_p(found.p)),
            Cell(percent(found.position_bias)),
        ]
    )
