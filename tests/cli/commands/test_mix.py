"""`dmix mix sample` as a user types it."""

import json
import re
from pathlib import Path

import pytest

from dmix.cli.main import run
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.errors import LockHeldError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import write_dataset_manifest

COUNTS = (300, 0, 120, 40, 200, 90, 0, 110)
SAMPLE = ("mix", "sample", "--set", "first", "--candidates", "200", "--processes", "1")
SMALL = (*SAMPLE, "--paths", "2", "--top-k", "1", "--top-k", "10", "--steps", "5", "--batch-size", "8")


@pytest.fixture
def dmix(tmp_path, make_manifest, on_warehouse):
    """Runs a command on a warehouse with one dataset: (exit code, stdout, stderr)."""
    warehouse = Warehouse.at(tmp_path / "warehouse")
    write_dataset_manifest(warehouse, make_manifest(COUNTS))

    return on_warehouse(warehouse)


def test_sample_shows_budget_dimensions_and_coverage(dmix):
    code, out, err = dmix(*SMALL)
    assert code == 0, err
    # 860 samples in 5 steps: 172 a step, so 176 in batches of 8; 400 / (176 * 5) = .4545
    assert "5 steps of 176 samples each" in err
    assert "reads the whole target text if its share is 45.5% on average" in err
    assert "under natural mixing, the run reads the target text 1.02 times" in err
    assert "4 of 4 paths of Algorithm 1" in err
    assert "effective number" in out
    assert "steps without data" in out
    assert "set first has 6 trajectories" in err
    assert "pairs of a step and a range of target shares" in err and "raise --paths or --random-paths" in err


def test_sample_fills_the_view(dmix):
    assert dmix(*SMALL)[0] == 0
    sql = """
        with mixtures as (
            select kind, top_k, trajectory_id, step, sum(weight) as total from trajectories
            where set_name = 'first' and dataset = 'counts' group by all
        )
        select kind, top_k, count(distinct trajectory_id), bool_and(abs(total - 1) < 1e-9)
        from mixtures group by all order by all
    """
    with Catalog.open_reader(dmix.warehouse) as catalog:
        _, rows = catalog.query(sql)
    assert rows == [
        ("inductive", 1, 2, True),
        ("inductive", 10, 2, True),
        ("segments", None, 2, True),
    ]


def test_a_catalog_that_another_process_holds_is_a_warning(dmix, monkeypatch):
    def held(*_, **__):
        raise LockHeldError("the catalog is locked by process 7")

    with monkeypatch.context() as patch:
        patch.setattr("dmix.warehouse_schema.catalog.sync.sync", held)
        code, out, err = dmix(*SMALL)
    assert code == 0
    assert "process 7" in err and "dmix catalog rebuild" in err
    assert "effective number" in out and dmix(*SMALL)[0] == 0


def test_no_finished_work_depends_on_the_catalog():
    import dmix.cli

    folder = Path(dmix.cli.__file__).parent
    callers = [path.name for path in folder.rglob("*.py") if re.search(r"\bsync\(", path.read_text())]
    assert callers == ["chain.py"]  # whose report is made from the catalog


def test_sample_as_json(dmix):
    code, out, err = dmix(*SMALL, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert (report["steps"], report["samples_per_step"], report["trajectories"]) == (5, 176, 6)
    assert [field["active_domains"] for field in report["fields"]] == [3, 3]
    counts = report["coverage"]["trajectories_by_cell_and_step"]
    assert sum(row[0] for row in counts) == 6


def test_sampling_again_does_nothing_and_other_settings_are_refused(dmix):
    assert dmix(*SMALL)[0] == 0
    code, _, err = dmix(*SMALL)
    assert code == 0
    assert "all 4 paths of Algorithm 1" in err
    code, _, err = dmix(*SMALL, "--seed", "3")
    assert code == 2
    assert "seed is 0" in err and "3 in this command" in err and "--set" in err


def test_dry_run_writes_nothing(dmix):
    code, out, err = dmix(*SMALL, "--dry-run", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert (report["trajectories"], report["missing"], report["candidate_steps_at_most"]) == (6, 6, 20)
    assert report["core_hours_at_most"] > 0
    # 6 trajectories of 5 steps of 176 samples of 8 tokens
    assert report["farm_tokens_at_most"] == 6 * 5 * 176 * 8
    assert not dmix.warehouse.trajectories("first").exists()
    code, _, err = dmix(*SMALL, "--dry-run")
    assert code == 0
    assert "6 of 6 trajectories" in err
    assert "at most 42,240 tokens" in err


def test_settings_come_from_a_file_and_flags_win(dmix, tmp_path):
    file = tmp_path / "sample.yaml"
    file.write_text("paths: 2\ntop-k: [1, 10]\nsteps: 5\nbatch-size: 8\nseed: 4\n")
    code, out, err = dmix(*SAMPLE, "--config", str(file), "--steps", "4", "--dry-run", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert (report["steps"], report["trajectories"]) == (4, 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*SMALL, "--samples-per-step", "100"), "batch of 8; use 96 or 104"),
        ((*SAMPLE,), "K is 1000, but a step has 200 candidates"),
        ((*SMALL, "--dataset", "other"), "dataset 'other' is not in"),
        ((*SMALL, "--set", "a/b"), "cannot be a folder"),
        ((*SMALL, "--preset", "papre"), "Invalid value for '--preset'"),
    ],
)
def test_bad_input_is_exit_2(dmix, arguments, message):
    code, _, err = dmix(*arguments)
    assert code == 2
    assert message in err


def test_collect_belongs_to_the_group(dmix, capsys):
    assert run(["mix", "--help"]) == 0
    assert "collect" in capsys.readouterr().out


def test_the_example_of_the_help_works(dmix):
    code, _, err = dmix(
        *("mix", "sample", "--set", "first", "--preset", "default"),
        *("--top-k", "1", "--paths", "8", "--candidates", "2000"),
    )
    assert code == 0, err
    assert "set first has 12 trajectories" in err
