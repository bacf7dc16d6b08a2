"""What the teacher did with the traces, and what judges said of its steps: skills, actions, tokens saved, win rates.

Takes the records of pruned.jsonl or steps.jsonl one by one (`PruningSurvey.add`), and reads judge/NAME.summary.json. A
step's tokens are estimated: its share of the response's characters times the response's tokens, since no tokenizer is
loaded for a report. The totals before and after are the exact counts that the records carry.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from drp.errors import InputError
from drp.evaluation.preference import SUMMARY_SUFFIX, Preference
from drp.records import Action, Decomposition, Pruning
from drp.report.results import describe_interval, describe_p
from drp.report.tables import EMPTY, Cell, Table, TableRow, number, percent, signed
from drp.runs.jsonl import explain_os_errors

TOP_SKILLS = 15
"""Skills with a row of their own; a teacher may name hundreds."""


@dataclass
class SkillUse:
    """The steps of one skill over all prunings."""

    steps: int = 0
    tokens: float = 0.0
    """Estimated."""
    saved: float = 0.0
    """Those of the tokens that pruning removed."""
    actions: Counter[Action] = field(default_factory=Counter)

    def add(self, other: "SkillUse") -> None:
        self.steps += other.steps
        self.tokens += other.tokens
        self.saved += other.saved
        self.actions += other.actions


@dataclass
class PruningSurvey:
    """Running totals over decompositions and prunings."""

    traces: int = 0
    """Decompositions and prunings."""
    pruned: int = 0
    """Prunings."""
    steps: int = 0
    actions: Counter[Action] = field(default_factory=Counter)
    """Steps by the action taken on them."""
    skills: dict[str, SkillUse] = field(default_factory=lambda: defaultdict(SkillUse))
    before: list[int] = field(default_factory=list)
    """Tokens of each original response, if known for the pruned one as well."""
    after: list[int] = field(default_factory=list)
    """Tokens of the pruned responses, in the same order."""
    teachers: Counter[str] = field(default_factory=Counter)
    """Traces by teacher."""

    def add(self, record: Decomposition) -> None:
        """Count one record."""
        self.traces += 1
        self.steps += len(record.steps)
        self.teachers[record.teacher] += 1
        if isinstance(record, Pruning):
            self._add_pruning(record)

    def _add_pruning(self, record: Pruning) -> None:
        self.pruned += 1
        if record.n_tokens is not None and record.n_tokens_pruned is not None:
            self.before.append(record.n_tokens)
            self.after.append(record.n_tokens_pruned)
        per_character = (record.n_tokens or 0) / max(1, len(record.response))
        for index, action, left in each_step(record):
            step = record.steps[index]
            self.actions[action] += 1
            use = self.skills[step.skill or "unnamed"]
            use.steps += 1
            use.actions[action] += 1
            use.tokens += len(step.text) * per_character
            use.saved += (len(step.text) - left) * per_character

    @property
    def steps_per_trace(self) -> float | None:
        return self.steps / self.traces if self.traces else None

    @property
    def reduction(self) -> float | None:
        """Relative change of the responses' tokens: -0.45 is 45% fewer. None if no tokens are known."""
        return sum(self.after) / sum(self.before) - 1 if sum(self.before) else None

    def share(self, action: Action) -> float | None:
        """The action's share of the steps; None if there are no steps."""
        total = self.actions.total()
        return self.actions[action] / total if total else None

    def top_skills(self) -> list[tuple[str, SkillUse]]:
        """(skill, use) by tokens saved, most first. Beyond TOP_SKILLS, the others are added up in one entry."""
        ranked = sorted(self.skills.items(), key=lambda item: (-item[1].saved, item[0]))
        if len(ranked) <= TOP_SKILLS + 1:
            return ranked
        rest = SkillUse()
        for _, use in ranked[TOP_SKILLS:]:
            rest.add(use)
        return [*ranked[:TOP_SKILLS], (f"{len(ranked) - TOP_SKILLS} other skills", rest)]


def each_step(record: Pruning) -> Iterator[tuple[int, Action, float]]:
    """(step's index, action, characters left of the step). The text of a merge is divided by its steps' lengths."""
    for edit in record.edits:
        sources = [index for index in edit.sources if 0 <= index < len(record.steps)]
        total = sum(len(record.steps[index].text) for index in sources)
        for index in sources:
            share = len(record.steps[index].text) / total if total else 0.0
            yield index, edit.action, share * len(edit.text)


def actions_table(survey: PruningSurvey) -> Table:
    """The share of each action (paper, section 3.2)."""
    rows = [
        TableRow([Cell(action.value), Cell(number(survey.actions[action])), Cell(percent(survey.share(action)))])
        for action in Action
    ]
    return Table("actions", "Teacher actions", ["Action", "Steps", "Share"], rows)


def skills_table(survey: PruningSurvey) -> Table:
    """The tokens of each skill's steps, and how many of them pruning saved."""
    return Table(
        key="skills",
        title="Skills by tokens saved",
        columns=["Skill", "Steps", "Deleted", "Rewritten or merged", "Tokens", "Saved"],
        rows=[_skill_row(skill, use) for skill, use in survey.top_skills()],
        caption="The tokens of a step are estimated from its share of the response's characters.",
    )


def _skill_row(skill: str, use: SkillUse) -> TableRow:
    tokens = [EMPTY, EMPTY]
    if use.tokens:
        tokens = [Cell(number(use.tokens)), Cell(number(use.saved), signed(-100 * use.saved / use.tokens, unit="%"))]
    return TableRow(
        [
            Cell(skill),
            Cell(number(use.steps)),
            Cell(percent(use.actions[Action.DELETE] / use.steps, 0)),
            Cell(percent((use.actions[Action.REWRITE] + use.actions[Action.MERGE]) / use.steps, 0)),
            *tokens,
        ]
    )


def read_preferences(folder: Path) -> list[Preference]:
    """The summaries in a run's `judge` folder, by name. Raises InputError on a file that is no such summary."""
    return [_read_preference(path) for path in sorted(folder.glob(f"*{SUMMARY_SUFFIX}"))]


def _read_preference(path: Path) -> Preference:
    with explain_os_errors(path):
        text = path.read_bytes()
    try:
        return Preference.model_validate_json(text)
    except ValidationError:
        raise InputError(f"{path}: not a summary of `drp judge`; delete it, or run `drp judge` again") from None


def judging_table(preferences: Sequence[Preference]) -> Table | None:
    """How often judges preferred this run's steps to others'; None if nothing was judged."""
    if not preferences:
        return None
    return Table(
        key="judge",
        texts=2,
        title="Decompositions compared by a judge",
        columns=["Compared with", "Judge", "Pairs", "Won / lost", "Ties", "Win rate", "p", "By position"],
        rows=[_judging_row(preference) for preference in preferences],
        caption=(
            "A judge sees each pair in both orders; this run's decomposition wins if it is preferred in both. Win "
            "rate: share of the pairs with a winner, with the exact 95% interval. p: exact sign test. By position: "
            "share of the pairs in which the judge preferred the same position in both orders; they count as ties."
        ),
        notes=[f"{preference.b}: {warning}." for preference in preferences for warning in preference.warnings],
    )


def _judging_row(found: Preference) -> TableRow:
    return TableRow(
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
