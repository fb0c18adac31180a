"""The card of the shipped default follows from the stored rows."""

import pytest
from benchmarks.worlds.__main__ import CARD_FILE
from benchmarks.worlds.card import card
from tests.benchmarks.worlds.test_page import OUT, RESULTS

from dmix.warehouse_schema.files.layout import read_json


@pytest.fixture(scope="module")
def made():
    return card(OUT, RESULTS)


def test_the_shipped_card_is_that_of_the_stored_rows(made):
    assert CARD_FILE.read_text(encoding="utf-8") == made
    assert read_json(CARD_FILE.with_name("config.json"))["controller"] == "plan"


def test_every_held_out_world_has_a_row(made):
    assert [line.split("`")[1] for line in made.splitlines() if line.startswith("| `held-out")] == [
        f"held-out-{number:02d}" for number in range(12)
    ]
