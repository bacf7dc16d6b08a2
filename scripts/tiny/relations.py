"""Problems about people whose ages or belongings follow from one another's."""

from __future__ import annotations

from scripts.tiny.problems import Problem, Story
from scripts.tiny.stories import ITEMS, person


def related(story: Story, name: str, other: str, value: int, verb: str, more: str, less: str, unit: str) -> int:
    """Tell how one person's number follows from another's, with the step that finds it."""
    kind = story.rng.choices("+-*", weights=[4, 3, 2])[0]
    k = story.rng.randint(2, 4) if kind == "*" else story.some()
    words = {"+": f"{k} {more} than {other}", "-": f"{k} {less} than {other}", "*": f"{k} times as {unit} as {other}"}
    clause = f"{name} {verb} {words[kind]}"
    story.tell(clause)
    shows = f"{name} is {{r}} years old" if unit == "old" else f"{name} {verb} {{r}}"
    finds = f"how old {name} is" if unit == "old" else f"how many {name} {verb}"
    return story.work(value, kind, k, finds, clause, shows)


def ages(story: Story, n_steps: int) -> Problem:
    first, _ = person(story)
    names, age = [first], story.some()
    story.tell(f"{first} is {age} years old")
    for _ in range(n_steps - 1):
        name, _ = person(story, *names)
        age = related(story, name, names[-1], age, "is", "years older", "years younger", "old")
        names.append(name)
    k, name = story.some(), names[-1]
    if story.rng.random() < 0.5:
        query, goal = f"How old will {name} be in {k} years?", f"how old {name} will be in {k} years"
        clause, shows = f"in {k} years {name} will be {k} years older", f"{name} will be {{r}} years old"
        story.work(age, "+", k, goal, clause, shows)
        return story.ask("ages", query, goal, f"{name} will be {{r}} years old in {k} years")
    query, goal = f"How old was {name} {k} years ago?", f"how old {name} was {k} years ago"
    clause, shows = f"{k} years ago {name} was {k} years younger", f"{name} was {{r}} years old"
    story.work(age, "-", k, goal, clause, shows)
    return story.ask("ages", query, goal, f"{name} was {{r}} years old {k} years ago")


def totals(story: Story, n_steps: int) -> Problem:
    """Two people (2 or 3 steps) or three (4 or 5); with an odd number of steps they give some away together."""
    items, first = story.rng.choice(ITEMS), person(story)[0]
    names, counts = [first], [story.some()]
    story.tell(f"{first} has {counts[0]} {items}")
    for _ in range(n_steps // 2):
        name, _ = person(story, *names)
        counts.append(
            related(story, name, names[-1], counts[-1], "has", f"more {items}", f"fewer {items}", f"many {items}")
        )
        names.append(name)
    total = counts[0]
    for name, count in zip(names[1:], counts[1:], strict=True):
        group = "they" if name == names[-1] else f"{first} and {name}"
        total = story.work(
            total,
            "+",
            count,
            f"how many {items} {group} have together",
            f"{name} has {count} {items}",
            f"{group} have {{r}} {items} together",
        )
    if n_steps % 2:
        k = story.some()
        story.tell(f"together they give away {k} {items}")
        shows = f"they have {{r}} {items} left"
        story.work(total, "-", k, f"how many {items} are left", f"they give away {k} {items}", shows)
        return story.ask("totals", f"How many {items} do they have left?", f"how many {items} they have left", shows)
    query, goal = f"How many {items} do they have together?", f"how many {items} they have together"
    return story.ask("totals", query, goal, f"they have {{r}} {items} together")
