"""The kinds of word problem: each tells a story of a given number of steps with random people, things and numbers.

A family is a function `(story, n_steps) -> Problem`; `FAMILIES` names them. `TRAINED` says how many steps each has in
anything that the student is trained on; `HARDER_NUMBERS` is for the set with bigger numbers.
"""

from __future__ import annotations

from scripts.tiny.problems import Family, Impossible, Plan, Problem, Story
from scripts.tiny.relations import ages, totals
from scripts.tiny.stories import CONTAINERS, GOODS, ITEMS, PRODUCTS, events, person


def containers(story: Story, n_steps: int) -> Problem:
    who, pronoun = person(story)
    items, boxes = story.rng.choice(ITEMS), story.rng.choice(CONTAINERS)
    n, each = story.few(), story.some()
    story.tell(f"{who} has {n} {boxes} with {each} {items} in each")
    have = story.work(
        n,
        "*",
        each,
        f"how many {items} are in the {boxes}",
        f"{who} has {n} {boxes} with {each} {items} in each",
        f"there are {{r}} {items} in the {boxes}",
    )
    events(story, n_steps - 1, who, pronoun, items, have)
    return story.ask(
        "containers",
        f"How many {items} does {who} have now?",
        f"how many {items} {who} has now",
        f"{who} has {{r}} {items} now",
    )


def savings(story: Story, n_steps: int) -> Problem:
    who, pronoun = person(story)
    pay, days = story.some(), story.few()
    unit = story.rng.choice(["day", "week", "hour"])
    story.tell(f"{who} earns {pay} dollars each {unit} and works for {days} {unit}s")
    have = story.work(
        days,
        "*",
        pay,
        f"how much {who} earns",
        f"{who} works {days} {unit}s for {pay} dollars each",
        f"{who} earns {{r}} dollars",
    )
    for _ in range(n_steps - 2):
        k, spends = story.some(), story.rng.random() < 0.6
        thing = story.rng.choice(["lunch", "a ticket", "a game", "a gift", "shoes"])
        clause = f"{pronoun} spends {k} dollars on {thing}" if spends else f"{pronoun} gets {k} dollars as a gift"
        story.tell("then " + clause)
        have = story.work(
            have,
            "-" if spends else "+",
            k,
            f"how much money {pronoun} has after that",
            clause,
            f"{who} has {{r}} dollars",
        )
    return wish(story, who, pronoun, have)


def wish(story: Story, who: str, pronoun: str, have: int) -> Problem:
    """End a story about money: with something to save for, or with spending."""
    k, thing = story.some(), story.rng.choice(["bike", "phone", "camera", "desk", "guitar"])
    if story.rng.random() < 0.5:
        price = have + k
        story.tell(f"{pronoun} wants to buy a {thing} that costs {price} dollars")
        story.work(
            price,
            "-",
            have,
            f"how much more money {pronoun} needs",
            f"the {thing} costs {price} dollars",
            f"{who} needs {{r}} more dollars",
        )
        query = f"How many more dollars does {who} need?"
        return story.ask("savings", query, f"how many more dollars {who} needs", f"{who} needs {{r}} more dollars")
    story.tell(f"finally {pronoun} buys a {thing} for {k} dollars")
    story.work(
        have,
        "-",
        k,
        f"how much money {pronoun} has left",
        f"the {thing} costs {k} dollars",
        f"{who} has {{r}} dollars left",
    )
    query = f"How many dollars does {who} have left?"
    return story.ask("savings", query, f"how many dollars {who} has left", f"{who} has {{r}} dollars left")


def shopping(story: Story, n_steps: int) -> Problem:
    """One kind of goods (2 steps) or two (4), and the change; an odd number of steps makes no story."""
    who, pronoun = person(story)
    total = 0
    for i, goods in enumerate(story.rng.sample(GOODS, n_steps // 2)):
        n, price = story.few(), story.rng.randint(story.numbers.some[0], story.numbers.some[1] // 2 + 2)
        story.tell(f"{who if i == 0 else 'also ' + pronoun} buys {n} {goods} for {price} dollars each")
        cost = story.work(
            n,
            "*",
            price,
            f"the cost of the {goods}",
            f"{who} buys {n} {goods} for {price} dollars each",
            f"the {goods} cost {{r}} dollars",
        )
        total = (
            cost
            if i == 0
            else story.work(
                total, "+", cost, "the total cost", f"the {goods} cost {cost} dollars", "the total cost is {r} dollars"
            )
        )
    paid = next((note for note in (20, 50, 100, 150, 200, 250, 300) if note > total), 0)
    if n_steps % 2 or not paid:
        raise Impossible
    story.tell(f"{pronoun} pays with {paid} dollars")
    shows = f"{who} gets {{r}} dollars back"
    story.work(paid, "-", total, "the change", f"{who} pays with {paid} dollars", shows)
    return story.ask("shopping", f"How many dollars does {who} get back?", f"how many dollars {who} gets back", shows)


def sharing(story: Story, n_steps: int) -> Problem:
    """Gather in two goes, gain and lose, share equally: the last change makes the division come out."""
    who, pronoun = person(story)
    items = story.rng.choice(ITEMS)
    friends, share = story.few(), story.few()
    have, more = story.some(), story.some()
    last_given = friends * share - have
    second = last_given if n_steps == 2 else more
    if second < 2 or second > story.numbers.some[1]:
        raise Impossible
    story.tell(f"{who} collects {have} {items} in the morning and {second} {items} in the afternoon")
    have = story.work(
        have,
        "+",
        second,
        f"how many {items} {who} collects",
        f"{who} collects {have} and then {second} {items}",
        f"{who} has {{r}} {items}",
    )
    have = events(story, n_steps - 3, who, pronoun, items, have) if n_steps > 3 else have
    if n_steps > 2:
        k = have - friends * share
        if not 2 <= k <= story.numbers.some[1]:
            raise Impossible
        clause = f"{pronoun} gives {k} {items} to {person(story, who)[0]}"
        story.tell("then " + clause)
        have = story.work(have, "-", k, f"how many {items} are left", clause, f"{who} has {{r}} {items} left")
    story.tell(f"{pronoun} shares the {items} equally among {friends} friends")
    shows = f"each friend gets {{r}} {items}"
    story.work(have, "/", friends, "each friend's share", f"{who} shares {have} {items} among {friends} friends", shows)
    return story.ask("sharing", f"How many {items} does each friend get?", f"how many {items} each friend gets", shows)


def rates(story: Story, n_steps: int) -> Problem:
    """One machine (2 steps) or two (3 and more); every further step takes some products away or adds some."""
    things = story.rng.choice(PRODUCTS)
    legs = 1 if n_steps == 2 else 2
    total = 0
    for i, which in enumerate(["first", "second"][:legs]):
        hours, rate = story.few(), story.some()
        name = "a machine" if legs == 1 else f"the {which} machine"
        clause = f"{name} makes {rate} {things} each hour and runs for {hours} hours"
        story.tell(clause)
        made = story.work(hours, "*", rate, f"how many {things} {name} makes", clause, f"{name} makes {{r}} {things}")
        total = (
            made
            if i == 0
            else story.work(
                total,
                "+",
                made,
                f"how many {things} both machines make",
                f"{name} makes {made} {things}",
                f"both machines make {{r}} {things}",
            )
        )
    for _ in range(n_steps - (1 if legs == 1 else 3)):
        k = story.some()
        verb, op = story.rng.choice([("are broken", "-"), ("are sold", "-"), ("are added from the store", "+")])
        story.tell(f"then {k} {things} {verb}")
        total = story.work(
            total, op, k, f"how many {things} there are after that", f"{k} {things} {verb}", f"there are {{r}} {things}"
        )
    return story.ask(
        "rates",
        f"How many {things} are there in the end?",
        f"how many {things} there are in the end",
        f"there are {{r}} {things} in the end",
    )


FAMILIES: dict[str, Family] = {
    "containers": containers,
    "savings": savings,
    "ages": ages,
    "totals": totals,
    "shopping": shopping,
    "sharing": sharing,
    "rates": rates,
}

# Shopping in 3 steps is drawn and never told; without it the random numbers, and so the shipped weights, would differ.
TRAINED: Plan = [
    *[("containers", n, w) for n, w in ((2, 0.8), (3, 1.2), (4, 1.0), (5, 0.5))],
    *[("savings", n, w) for n, w in ((2, 0.8), (3, 1.2), (4, 0.8), (5, 0.4))],
    *[("ages", n, w) for n, w in ((2, 1.0), (3, 1.2))],
    *[("totals", n, w) for n, w in ((2, 1.0), (3, 1.0), (4, 0.7))],
    *[("shopping", n, w) for n, w in ((2, 0.8), (3, 1.0), (4, 1.0))],
    *[("sharing", n, w) for n, w in ((2, 1.0), (3, 1.2))],
    *[("rates", n, w) for n, w in ((2, 0.8), (3, 1.0), (4, 0.7))],
]
HARDER_NUMBERS: Plan = [
    (family, n_steps, 1.0) for family in ("containers", "savings", "ages", "totals", "rates") for n_steps in (2, 3)
]
