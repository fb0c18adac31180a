import json

import pytest
import yaml

from dmix.cli.main import run
from dmix.mixing.trajectories.feedback import read_feedback
from dmix.mixing.trajectories.objectives import load_environment
from dmix.warehouse_schema.catalog.catalog import Catalog


@pytest.fixture
def arguments(tiny_warehouse, environment_file, tiny_model, tmp_path, monkeypatch):
    """`dmix mix collect …` for a set of two paths of two steps each."""
    monkeypatch.setenv("DMIX_WAREHOUSE", str(tiny_warehouse.root))
    sample = ["mix", "sample", "--set", "cli", "--paths", "1", "--top-k", "1", "--random-paths", "1"]
    sizes = ["--steps", "2", "--samples-per-step", "16", "--run-samples-per-step", "64"]
    assert run([*sample, *sizes, "--batch-size", "8", "--candidates", "50"]) == 0
    proxy = {"vary": 0.0, "config": tiny_model.config, "training": {"batch_size": 8, "learning_rate": 3e-3}}
    (tmp_path / "proxy.yaml").write_text(yaml.safe_dump(proxy))
    return [
        *("mix", "collect", "--set", "cli", "--environment", str(environment_file)),
        *("--proxy", str(tmp_path / "proxy.yaml"), "--in-process"),
    ]


def test_feedback_lands_in_the_warehouse_and_in_the_catalog(arguments, tiny_warehouse, capsys):
    assert run([*arguments, "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["runs"] == 2 and plan["tokens"] == 2 * 2 * 16 * 16 and plan["hours"] > 0
    assert read_feedback(tiny_warehouse, "cli") == {}
    assert run(arguments) == 0
    shown = capsys.readouterr()
    assert "trajectory 2/2" in shown.err and "scale" in shown.out
    with Catalog.open_reader(tiny_warehouse) as catalog:
        _, rows = catalog.query(
            "SELECT count(*), count(DISTINCT trajectory_id) FROM feedback WHERE set_name = 'cli'"
        )
    assert tuple(rows[0]) == (2 * 3 * 2, 2)
    scales = load_environment(tiny_warehouse.feedback("cli") / "environment.yaml").scales
    assert set(scales) == {"general", "target"}
    assert run([*arguments, "--json"]) == 0
    shown = capsys.readouterr()
    assert "2 of 2 trajectories have feedback" in shown.err
    assert json.loads(shown.out)["scales"] == scales


def test_the_plan_says_which_proxies_vary_and_that_the_run_has_another_supply(arguments, tmp_path, capsys):
    path = tmp_path / "proxy.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "vary": 1.0}))
    arguments[arguments.index("cli")] = "cli-varied"
    sample = ["mix", "sample", "--set", "cli-varied", "--paths", "2", "--top-k", "1", "--random-paths", "0"]
    sizes = ["--steps", "2", "--samples-per-step", "16", "--run-samples-per-step", "64"]
    assert run([*sample, *sizes, "--batch-size", "8", "--candidates", "50"]) == 0
    capsys.readouterr()
    assert run([*arguments, "--dry-run", "--json"]) == 0
    shown = capsys.readouterr()
    assert sum(json.loads(shown.out)["variations"].values()) == 2
    assert "varied proxies: " in shown.err
    # 80 target samples in 2 steps of 16 and of 64
    assert "2.5 samples for each sample of a proxy and 0.625 for each sample of the run" in shown.err


def test_a_stack_is_trained_at_once_where_its_model_allows_it(arguments, tiny_warehouse, tmp_path, capsys):
    path = tmp_path / "proxy.yaml"
    proxy = yaml.safe_load(path.read_text())
    arguments[arguments.index("cli")] = "cli-stack"
    sample = ["mix", "sample", "--set", "cli-stack", "--paths", "1", "--top-k", "1", "--random-paths", "1"]
    sizes = ["--steps", "2", "--samples-per-step", "16", "--run-samples-per-step", "64"]
    assert run([*sample, *sizes, "--batch-size", "8", "--candidates", "50"]) == 0
    path.write_text(yaml.safe_dump({**proxy, "config": {**proxy["config"], "attention_dropout": 0.1}}))
    assert run([*arguments, "--stack", "2"]) == 2
    assert "or give --stack 1" in capsys.readouterr().err
    path.write_text(yaml.safe_dump(proxy))
    assert run([*arguments, "--stack", "2"]) == 0
    said = capsys.readouterr().err
    assert "trajectory 2/2" in said and "trajectory 1/2" not in said
    assert {rows.shape for rows in read_feedback(tiny_warehouse, "cli-stack").values()} == {(3, 2)}


def test_several_bases_are_for_proxies_that_start_from_one(arguments, capsys):
    assert run([*arguments, "--base", "a", "--base", "b"]) == 2
    assert "init is scratch" in capsys.readouterr().err


def test_an_unknown_set_is_named(arguments, capsys):
    arguments[arguments.index("cli")] = "absent"
    assert run(arguments) == 2
    assert "absent" in capsys.readouterr().err


def test_a_farm_over_spark_connect_is_refused_before_it_is_planned(arguments, capsys):
    arguments.remove("--in-process")
    assert run([*arguments, "--master", "sc://head"]) == 2
    assert "dmix mix collect cannot use Spark Connect: its tasks need RDDs" in capsys.readouterr().err
