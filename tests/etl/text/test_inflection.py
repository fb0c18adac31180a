"""Plurals, past tenses and articles."""

import pytest

from dmix.etl.text.inflection import past, plural, with_article


def test_irregular_words_are_inflected():
    assert [plural(noun) for noun in ("box", "baby", "toy", "salesman", "field mouse")] == [
        "boxes",
        "babies",
        "toys",
        "salesmen",
        "field mice",
    ]
    assert [past(verb) for verb in ("bake", "study", "stir", "play", "log in", "drive")] == [
        "baked",
        "studied",
        "stirred",
        "played",
        "logged in",
        "drove",
    ]
    assert [with_article(noun) for noun in ("engine", "car", "university")] == [
        "an engine",
        "a car",
        "a university",
    ]


@pytest.mark.parametrize(
    ("noun", "phrase"),
    [
        ("apple", "an apple"),
        ("European", "a European"),
        ("one-eyed cat", "a one-eyed cat"),
        ("user", "a user"),
    ],
)
def test_articles_follow_the_sound(noun, phrase):
    assert with_article(noun) == phrase


@pytest.mark.parametrize(
    ("noun", "many"), [("species", "species"), ("church", "churches"), ("gas", "gases"), ("day", "days")]
)
def test_plurals_by_ending(noun, many):
    assert plural(noun) == many
