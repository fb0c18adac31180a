"""A confirmation is refused unless its protocol is committed and unchanged."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from dmix.training.comparison.data.tiers import TIERS
from dmix.training.comparison.runs.protocol import (
    PROTOCOL_FILE,
    THIRD_PROTOCOL_FILE,
    Protocol,
    ThirdProtocol,
    committed_protocol,
    promised,
    promised_cells,
)
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.settings import load_settings

SHIPPED = Path(__file__).parents[4] / "benchmarks" / "quality" / PROTOCOL_FILE


THIRD = SHIPPED.with_name(THIRD_PROTOCOL_FILE)


def git(folder, *arguments):
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_only_a_committed_and_unchanged_protocol_is_taken(tmp_path):
    file = tmp_path / PROTOCOL_FILE
    with pytest.raises(NotFoundError, match="write the protocol and commit it"):
        committed_protocol(file, Protocol)
    file.write_bytes(SHIPPED.read_bytes())
    git(tmp_path, "init", "-q")
    with pytest.raises(InputError, match="is not committed"):
        committed_protocol(file, Protocol)
    git(tmp_path, "add", PROTOCOL_FILE)
    with pytest.raises(InputError, match="has changed since its last commit"):
        committed_protocol(file, Protocol)
    git(tmp_path, "commit", "-q", "-m", "protocol")
    found = committed_protocol(file, Protocol)
    assert found.sha256 == hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    file.write_text(file.read_text().replace("seeds: 5", "seeds: 6"))
    with pytest.raises(InputError, match="has changed since its last commit"):
        committed_protocol(file, Protocol)


def test_the_shipped_protocol_fits_the_small_tier():
    protocol = load_settings(Protocol, SHIPPED)
    assert protocol.seeds == TIERS["small"].confirmation_seeds
    assert protocol.agent in TIERS["small"].controllers
    assert (protocol.selected_on, protocol.judged_on) == ("development", "confirmation")


def test_settings_that_the_protocol_does_not_name_are_not_promised(tmp_path):
    assert promised(SHIPPED, "origin") and not promised(SHIPPED, "licensed")
    assert not promised(tmp_path / PROTOCOL_FILE, "origin")


def test_a_later_round_may_not_take_seeds_that_choices_were_made_on(tmp_path):
    file = tmp_path / PROTOCOL_FILE
    text = SHIPPED.read_text()
    file.write_text(text.replace("first_seed: 4100", "first_seed: 3002"))
    with pytest.raises(InputError, match="first_seed is 3002, expected 4000 or more"):
        load_settings(Protocol, file)
    file.write_text(text.replace("first_seed: 4100\n", ""))
    assert load_settings(Protocol, file).first_seed == 4000


def test_the_third_protocol_names_each_cell_once_and_settings_that_exist():
    protocol = load_settings(ThirdProtocol, THIRD)
    assert len(set(protocol.cells)) == len(protocol.cells) and protocol.agent not in protocol.rivals
    assert all(THIRD.with_name(f"{name}.yaml").is_file() for name in protocol.settings)
    assert promised_cells(THIRD, "math") == len(protocol.cells) * protocol.seeds
    assert promised_cells(THIRD, "field") == promised_cells(THIRD.with_name("none.yaml"), "math") == 0


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("first_seed: 15000", "first_seed: 14000", "first_seed is 14000"),
        ("rivals: [grid", "rivals: [best", "'best' is not a cell"),
        ("beside: [effect]", "beside: [grid]", "two roles"),
    ],
)
def test_a_third_protocol_that_promises_wrongly_is_refused(tmp_path, old, new, match):
    file = tmp_path / THIRD_PROTOCOL_FILE
    assert old in THIRD.read_text()
    file.write_text(THIRD.read_text().replace(old, new))
    with pytest.raises(InputError, match=match):
        load_settings(ThirdProtocol, file)
