"""Kinds of story that the student is never trained on, each joined from the halves of two that it is: for `harder`."""

from __future__ import annotations

from scripts.tiny.problems import Family, Impossible, Plan, Problem, Story
from scripts.tiny.stories import CONTAINERS, GOODS, ITEMS, events, gain, loss, person


def share(story: Story, who: str, pronoun: str, items: str, have: int) -> Problem:
    """End as `sharing` does: give some away, so that the rest divides equally."""
    friends, each = story.few(), story.few()
    k = have - friends * each
    if not 2 <= k <= story.numbers.some[1]:
        raise Impossible
    clause = f"{pronoun} gives {k} {items} to {person(story, who)[0]}"
    story.tell("then " + clause)
    have = story.work(have, "-", k, f"how many {items} are left", clause, f"{who} has {{r}} {items} left")
    story.tell(f"{pronoun} shares the {items} equally among {friends} friends")
    reason, shows = f"{who} shares {have} {items} among {friends} friends", f"each friend gets {{r}} {items}"
    story.work(have, "/", friends, "each friend's share", reason, shows)
    query, goal = f"How many {items} does each friend get?", f"how many {items} each friend gets"
    return story.ask("parcels", query, goal, shows)


def parcels(story: Story, n_steps: int) -> Problem:
    """Begins as `containers`, ends as `sharing`."""
    who, pronoun = person(story)
    items, boxes = story.rng.choice(ITEMS), story.rng.choice(CONTAINERS)
    n, each = story.few(), story.some()
    fact = f"{who} has {n} {boxes} with {each} {items} in each"
    story.tell(fact)
    shows = f"there are {{r}} {items} in the {boxes}"
    have = story.work(n, "*", each, f"how many {items} are in the {boxes}", fact, shows)
    have = events(story, n_steps - 3, who, pronoun, items, have)
    return share(story, who, pronoun, items, have)


def harvest(story: Story, n_steps: int) -> Problem:
    """Begins as `sharing`, goes on and ends as `containers`."""
    who, pronoun = person(story)
    items = story.rng.choice(ITEMS)
    have, second = story.some(), story.some()
    story.tell(f"{who} collects {have} {items} in the morning and {second} {items} in the afternoon")
    reason = f"{who} collects {have} and then {second} {items}"
    have = story.work(have, "+", second, f"how many {items} {who} collects", reason, f"{who} has {{r}} {items}")
    for _ in range(n_steps - 1):
        have = story.rng.choice([gain, loss])(story, who, pronoun, items, have)
    query, goal = f"How many {items} does {who} have now?", f"how many {items} {who} has now"
    return story.ask("harvest", query, goal, f"{who} has {{r}} {items} now")


def errand(story: Story, n_steps: int) -> Problem:
    """Begins as `savings`, ends as `shopping` for one kind of goods; one gift or more between."""
    who, pronoun = person(story)
    pay, days, goods = story.some(), story.few(), story.rng.choice(GOODS)
    story.tell(f"{who} earns {pay} dollars each day and works for {days} days")
    reason = f"{who} works {days} days for {pay} dollars each"
    have = story.work(days, "*", pay, f"how much {who} earns", reason, f"{who} earns {{r}} dollars")
    for _ in range(n_steps - 3):
        k = story.some()
        clause = f"{pronoun} gets {k} dollars as a gift"
        story.tell("then " + clause)
        purpose, shows = f"how much money {pronoun} has after that", f"{who} has {{r}} dollars"
        have = story.work(have, "+", k, purpose, clause, shows)
    n, price = story.few(), story.few()
    fact = f"{who} buys {n} {goods} for {price} dollars each"
    story.tell(f"then {pronoun} buys {n} {goods} for {price} dollars each")
    cost = story.work(n, "*", price, f"the cost of the {goods}", fact, f"the {goods} cost {{r}} dollars")
    reason, shows = f"the {goods} cost {cost} dollars", f"{who} has {{r}} dollars left"
    story.work(have, "-", cost, f"how much money {pronoun} has left", reason, shows)
    return story.ask("errand", f"How many dollars does {who} have left?", f"how many dollars {who} has left", shows)


UNSEEN: dict[str, Family] = {"parcels": parcels, "harvest": harvest, "errand": errand}

HARDER_STORIES: Plan = [
    *[("harvest", 3, 1.0), ("harvest", 4, 1.0), ("parcels", 3, 1.0), ("parcels", 4, 0.5)],
    *[("errand", 3, 0.5), ("errand", 4, 0.5)],
]
