"""What the teacher did: steps, skills, actions and the tokens that they saved.

Reads the records of pruned.jsonl as they come by (`add`). Tokens of a step are its share of the response's characters
times the response's tokens: no tokenizer is at hand when a report is written, so they are estimates. The totals before
and after are the exact counts that the records carry.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from drp.records import Action, Decomposition, Pruning
from drp.report.tables import Cell, Row, Table, number, percent, signed

TOP_SKILLS = 15
"""Skills that have a row of their own; teachers name hundreds."""


@dataclass
class SkillUse:
    """One skill over all traces. tokens, saved: estimates by characters."""

    steps: int = 0
    tokens: float = 0.0
    saved: float = 0.0
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
    pruned: int = 0
    steps: int = 0
    actions: Counter[Action] = field(default_factory=Counter)
    """Steps by the action on them."""
    skills: dict[str, SkillUse] = field(default_factory=lambda: defaultdict(SkillUse))
    before: list[int] = field(default_factory=list)
    after: list[int] = field(default_factory=list)
    """Tokens of each response, original and pruned, where both are known."""
    teachers: Counter[str] = field(default_factory=Counter)

    def add(self, record: Decomposition) -> None:
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
        """Relative change of the tokens of the training responses: -0.45 is 45% fewer."""
        return sum(self.after) / sum(self.before) - 1 if sum(self.before) else None

    def share(self, action: Action) -> float | None:
        """Of the steps; None where there are none."""
        total = self.actions.total()
        return self.actions[action] / total if total else None

    def top_skills(self) -> list[tuple[str, SkillUse]]:
        """Skills by tokens saved, the largest first; the rest as one."""
        ranked = sorted(self.skills.items(), key=lambda item: (-item[1].saved, item[0]))
        if len(ranked) <= TOP_SKILLS + 1:
            return ranked
        rest = SkillUse()
        for _, use in ranked[TOP_SKILLS:]:
            rest.add(use)
        return [*ranked[:TOP_SKILLS], (f"{len(ranked) - TOP_SKILLS} other skills", rest)]


def each_step(record: Pruning) -> Iterator[tuple[int, Action, float]]:
    """(step's index, action on it, characters left of it). What a merge leaves is shared out by its steps' lengths."""
    for edit in record.edits:
        sources = [index for index in edit.sources if 0 <= index < len(record.steps)]
        total = sum(len(record.steps[index].text) for index in sources)
        for index in sources:
            share = len(record.steps[index].text) / total if total else 0.0
            yield index, edit.action, share * len(edit.text)


def actions_table(survey: PruningSurvey) -> Table:
    """Share of the steps by action; the paper's section 3.2."""
    rows = [
        Row([Cell(action.value), Cell(number(survey.actions[action])), Cell(percent(survey.share(action)))])
        for action in Action
    ]
    return Table("actions", "Actions of the teacher", ["Action", "Steps", "Share"], rows)


def _token_cells(use: SkillUse) -> list[Cell]:
    """Dashes where no tokenizer counted the responses."""
    if not use.tokens:
        return [Cell("–"), Cell("–")]
    return [Cell(number(use.tokens)), Cell(number(use.saved), signed(-100 * use.saved / use.tokens, unit="%"))]


def skills_table(survey: PruningSurvey) -> Table:
    """What each skill's steps cost and how much of it went."""
    rows = []
    for skill, use in survey.top_skills():
        rows.append(
            Row(
                [
                    Cell(skill),
                    Cell(number(use.steps)),
                    Cell(percent(use.actions[Action.DELETE] / use.steps, 0)),
                    Cell(percent((use.actions[Action.REWRITE] + use.actions[Action.MERGE]) / use.steps, 0)),
                    *_token_cells(use),
                ]
            )
        )
    return Table(
        key="skills",
        title="Skills, by the tokens that pruning them saved",
        columns=["Skill", "Steps", "Deleted", "Rewritten, merged", "Tokens", "Saved"],
        rows=rows,
        caption="Tokens of a step are estimated by its share of the response's characters.",
    )
