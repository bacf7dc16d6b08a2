"""What happens to people in the word problems: names, things, and the events that change how many somebody has."""

from __future__ import annotations

from scripts.tiny.problems import Story

GIRLS = [
    "Mia",
    "Anna",
    "Sara",
    "Emma",
    "Lily",
    "Nora",
    "Ruth",
    "Eva",
    "Zoe",
    "Lucy",
    "Ivy",
    "Kate",
    "Jane",
    "Rosa",
    "Amy",
]
BOYS = ["Tom", "Ben", "Sam", "Leo", "Max", "Jack", "Paul", "Omar", "Ned", "Carl", "Dan", "Hugo", "Ian", "Luke", "Adam"]
ITEMS = [
    "apples",
    "pencils",
    "marbles",
    "stickers",
    "cards",
    "books",
    "shells",
    "coins",
    "beads",
    "stamps",
    "cookies",
    "eggs",
    "pears",
    "toys",
    "candies",
]
CONTAINERS = ["boxes", "bags", "baskets", "jars", "packs"]
GOODS = ["pens", "notebooks", "cups", "hats", "balls", "plates", "brushes", "candles", "ribbons", "scarves"]
PRODUCTS = ["toys", "bottles", "cups", "bricks", "chairs", "lamps", "shirts", "boxes"]


def person(story: Story, *others: str) -> tuple[str, str]:
    """A name not among `others`, and its pronoun."""
    name = story.rng.choice([name for name in GIRLS + BOYS if name not in others])
    return name, "she" if name in GIRLS else "he"


def gain(story: Story, who: str, pronoun: str, items: str, have: int) -> int:
    k = story.some()
    how = story.rng.choice(["buys {k} more {i}", "finds {k} more {i}", "gets {k} more {i} from {f}"])
    clause = f"{pronoun} " + how.format(k=k, i=items, f=person(story, who)[0])
    story.tell("then " + clause)
    return story.work(have, "+", k, f"how many {items} {pronoun} has after that", clause, f"{who} has {{r}} {items}")


def loss(story: Story, who: str, pronoun: str, items: str, have: int) -> int:
    k = story.some()
    how = story.rng.choice(["gives {k} {i} to {f}", "loses {k} {i}", "sells {k} {i}", "gives away {k} {i}"])
    clause = f"{pronoun} " + how.format(k=k, i=items, f=person(story, who)[0])
    story.tell("then " + clause)
    return story.work(have, "-", k, f"how many {items} are left", clause, f"{who} has {{r}} {items} left")


def doubling(story: Story, who: str, pronoun: str, items: str, have: int) -> int:
    times, k = story.rng.choice([("doubles", 2), ("triples", 3)])
    clause = f"{pronoun} {times} the number of {items}"
    story.tell("then " + clause)
    return story.work(have, "*", k, f"how many {items} {pronoun} has then", clause, f"{who} has {{r}} {items}")


def events(story: Story, n: int, who: str, pronoun: str, items: str, have: int) -> int:
    """Tell `n` gains, losses or doublings of what somebody has."""
    for _ in range(n):
        happen = story.rng.choices([gain, loss, doubling], weights=[4, 4, 1])[0]
        have = happen(story, who, pronoun, items, have)
    return have
