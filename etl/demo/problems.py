"""Word problems with worked answers, set in the vocabulary of a domain.

Numbers stay small, so that a model of a few hundred thousand parameters can learn the forms and
some of the arithmetic within minutes.
"""

from collections.abc import Callable

import numpy as np

from dmix.etl.classifiers.keywords import DomainWords
from dmix.etl.text.inflection import plural, with_article

PROBLEM_DOMAINS = (
    "Arts_and_Entertainment",
    "Autos_and_Vehicles",
    "Books_and_Literature",
    "Food_and_Drink",
    "Games",
    "Hobbies_and_Leisure",
    "Home_and_Garden",
    "Jobs_and_Education",
    "Pets_and_Animals",
    "Shopping",
    "Sports",
    "Travel_and_Transportation",
)

Numbers = Callable[[int, int], int]
"""A whole number from the first to the second, both included."""


def word_problem(words: DomainWords, rng: np.random.Generator) -> tuple[str, str]:
    """A question and its worked answer, which ends with `The answer is N.`

    Args:
        words: Vocabulary of the domain that the problem is set in.
        rng: All randomness.
    """

    def number(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    person = words.people[number(0, len(words.people) - 1)]
    first, second = (words.things[i] for i in rng.choice(len(words.things), 2, replace=False))
    topics = [words.topics[i] for i in rng.choice(len(words.topics), 3, replace=False)]
    setting = f"{with_article(person).capitalize()} cares about {topics[0]}, {topics[1]} and {topics[2]}."
    form = FORMS[number(0, len(FORMS) - 1)]
    question, work, answer = form(person, plural(first), plural(second), number)
    return f"{setting} {question}", f"{work} The answer is {answer}."


def _sum(person: str, things: str, others: str, number: Numbers) -> tuple[str, str, int]:
    a, b = number(2, 20), number(2, 20)
    return (
        f"The {person} has {a} {things} and gets {b} more. How many {things} does the {person} have now?",
        f"The {person} had {a} and got {b}. {a} + {b} = {a + b}.",
        a + b,
    )


def _difference(person: str, things: str, others: str, number: Numbers) -> tuple[str, str, int]:
    a = number(6, 24)
    b = number(1, a - 1)
    return (
        f"The {person} has {a} {things} and gives {b} away. How many {things} are left?",
        f"The {person} had {a} and gave {b}. {a} - {b} = {a - b}.",
        a - b,
    )


def _product(person: str, things: str, others: str, number: Numbers) -> tuple[str, str, int]:
    a, b = number(2, 9), number(2, 9)
    return (
        f"There are {a} boxes with {b} {things} in each. How many {things} are there in all?",
        f"There are {a} boxes of {b}. {a} * {b} = {a * b}.",
        a * b,
    )


def _quotient(person: str, things: str, others: str, number: Numbers) -> tuple[str, str, int]:
    a, b = number(2, 9), number(2, 9)
    return (
        f"The {person} shares {a * b} {things} equally among {a} friends. How many does each friend get?",
        f"There are {a * b} for {a} friends. {a * b} / {a} = {b}.",
        b,
    )


def _total(person: str, things: str, others: str, number: Numbers) -> tuple[str, str, int]:
    a, b = number(3, 12), number(2, 12)
    lost = number(1, a - 1)
    left = a - lost
    return (
        f"The {person} has {a} {things} and {b} {others}, and loses {lost} of the {things}."
        f" How many {things} and {others} are there together?",
        f"{a} - {lost} = {left}. {left} + {b} = {left + b}.",
        left + b,
    )


def _unknown(person: str, things: str, others: str, number: Numbers) -> tuple[str, str, int]:
    a, x = number(2, 12), number(2, 12)
    return (
        f"The {person} had some {things}. With {a} more there are {a + x}. How many were there before?"
        " Let x be that number.",
        f"x + {a} = {a + x}. x = {a + x} - {a} = {x}.",
        x,
    )


FORMS = (_sum, _difference, _product, _quotient, _total, _unknown)
