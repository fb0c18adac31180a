"""`dmix bench regmix` as a user types it, on a generated table and on the published ones."""

import json

import numpy as np
import pytest

from dmix.cli.main import run


def write(folder, kind, size, rows, scale=1.0):
    mixtures = np.random.default_rng(len(kind) + len(size)).dirichlet(np.ones(3), rows)
    losses = scale * np.stack([2 - mixtures[:, 0], np.exp(-mixtures[:, 1])], axis=1)
    for part, columns, values in (("mixture", "a,b,c", mixtures), ("pile_loss", "x,y", losses)):
        lines = [f"index,{columns}", *(f"{i}," + ",".join(map(str, row)) for i, row in enumerate(values))]
        (folder / f"{kind}_{part}_{size}.csv").write_text("\n".join(lines))


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, "train", "1m", 60)
    write(tmp_path, "test", "1m", 20)
    write(tmp_path, "test", "60m", 20, scale=0.5)
    return tmp_path


def test_known_law_is_ranked(folder, capsys):
    code = run(["bench", "regmix", "--data", str(folder), "--json", "--out", str(folder)])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    report = json.loads(captured.out)
    assert report["runs"] == {"train": 60, "1m": 20, "60m": 20}
    assert list(report["regressors"]) == ["gaussian-process", "lightgbm", "log-linear", "exponential"]
    best = report["regressors"]["gaussian-process"]["tests"]
    assert best["60m"]["mean_spearman"] > 99
    assert set(best["60m"]["spearman"]) == {"x", "y"}
    (written,) = folder.glob("regmix-*.json")
    stored = json.loads(written.read_text())
    assert stored["regressors"] == report["regressors"]
    assert stored["at"].startswith(written.stem[-10:])
    assert f"wrote {written}" in captured.err


def test_table_shows_the_mean_first(folder, capsys):
    assert run(["bench", "regmix", "--data", str(folder), "--regressor", "exponential"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "exponential 60m" in lines[0]
    assert [line.split()[0] for line in lines[2:]] == ["mean", "x", "y"]


def test_dry_run_reads_the_tables_alone(folder, capsys):
    code = run(["bench", "regmix", "--data", str(folder), "--regressor", "lightgbm", "--dry-run", "--json"])
    assert code == 0
    report = json.loads(capsys.readouterr().out)
    assert report["regressors"] == ["lightgbm"]
    assert report["domains"] == 3


def test_missing_tables_are_exit_2(tmp_path, capsys):
    assert run(["bench", "regmix", "--data", str(tmp_path)]) == 2
    assert "has 0 training tables (none), expected one" in capsys.readouterr().err


def test_published_tables_reach_the_published_ranks(test_data, tmp_path, capsys, monkeypatch):
    """The example of the help, on the runs that RegMix published: a fit by the training runs alone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "regmix").symlink_to(test_data / "regmix")
    assert run(["bench", "regmix", "--data", "regmix", "--regressor", "lightgbm", "--json"]) == 0
    tests = json.loads(capsys.readouterr().out)["regressors"]["lightgbm"]["tests"]
    assert [(size, test["runs"]) for size, test in tests.items()] == [("1m", 256), ("60m", 256), ("1B", 64)]
    assert tests["1m"]["mean_spearman"] >= 98.9
    assert tests["60m"]["mean_spearman"] >= 98.4
    assert tests["1B"]["mean_spearman"] >= 94.8
    assert len(tests["1B"]["spearman"]) == 13
