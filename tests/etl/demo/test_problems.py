"""Word problems whose answers are right."""

import re

import numpy as np

from dmix.etl.classifiers.keywords import domain_words
from dmix.etl.demo.problems import FORMS, PROBLEM_DOMAINS, word_problem


def test_worked_answers_are_right():
    rng = np.random.default_rng(0)
    words = domain_words()
    for number in range(600):
        _, answer = word_problem(words[PROBLEM_DOMAINS[number % len(PROBLEM_DOMAINS)]], rng)
        sums = re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)", answer)
        assert sums
        for left, sign, right, result in sums:
            a, b = int(left), int(right)
            assert {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[sign] == int(result)
        last = re.search(r"= (\d+)\. The answer is (\d+)\.$", answer)
        assert last and last[1] == last[2]


def test_problems_use_every_form():
    rng = np.random.default_rng(0)
    questions = " ".join(word_problem(domain_words()["Games"], rng)[0] for _ in range(200))
    marks = ("more. How many", "away. How many", "boxes with", "equally among", "and loses", "Let x be")
    assert len(marks) == len(FORMS)
    assert all(mark in questions for mark in marks)
