"""`dmix agent sft` as a user types it."""

import json

import pytest

from dmix.warehouse_schema.catalog.catalog import Catalog

SFT = ("agent", "sft", "--set", "first", "--agent", "small", "--epochs", "3")
TINY = ("--hidden-size", "16", "--heads", "2", "--feedforward", "32")


@pytest.fixture
def dmix(warehouse_with_set, on_warehouse):
    """Runs a command on a warehouse with one set: (exit code, stdout, stderr)."""
    return on_warehouse(warehouse_with_set("first", paths=4))


def test_sft_trains_publishes_and_fills_the_view(dmix):
    code, out, err = dmix(*SFT, *TINY)
    assert code == 0, err
    assert "4 trajectories" in err
    assert "kept epoch" in err
    assert "(3 epochs)" in out
    with Catalog.open_reader(dmix.warehouse) as catalog:
        _, rows = catalog.query("select agent, preset, set_name, parameters from agents")
    config = json.loads((dmix.warehouse.agent("small") / "config.json").read_text())
    assert rows == [("small", "default", "first", config["parameters"])]


def test_sft_as_json(dmix):
    code, out, err = dmix(*SFT, *TINY, "--preset", "paper", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert len(report["train_losses"]) == 3
    assert (report["trajectories"], report["with_feedback"]) == (4, 0)
    assert "warning: set first has no feedback" in err
    assert report["folder"] == str(dmix.warehouse.agent("small"))


def test_existing_agent_needs_overwrite(dmix):
    assert dmix(*SFT, *TINY)[0] == 0
    code, _, err = dmix(*SFT, *TINY)
    assert code == 2
    assert "'small'" in err and "exists" in err and "--overwrite" in err
    assert dmix(*SFT, *TINY, "--overwrite")[0] == 0


def test_dry_run_says_what_would_be_learnt_from(dmix):
    code, out, err = dmix(*SFT, *TINY, "--dry-run", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert (report["trajectories"], report["with_feedback"], report["objectives"]) == (4, 0, [])
    assert 0 < report["tokens_at_most"] <= 3 * 4 * 4
    assert not dmix.warehouse.agent("small").exists()


def test_short_helps_are_whole_sentences(dmix):
    _, said, _ = dmix("agent", "--help")
    assert "Eq" not in said and "..." not in said.partition("Commands:")[2]


def test_missing_set_is_exit_2(dmix):
    code, _, err = dmix("agent", "sft", "--set", "none", "--agent", "small")
    assert code == 2
    assert "set 'none' is not in" in err


def test_the_example_of_the_help_works(dmix):
    code, _, err = dmix("agent", "sft", "--set", "first", "--agent", "first-sft", "--epochs", "20")
    assert code == 0, err
    assert dmix.warehouse.agent("first-sft").is_dir()
