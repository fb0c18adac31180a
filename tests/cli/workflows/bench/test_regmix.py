"""Which regressors are judged, and what a dry run says."""

from types import SimpleNamespace

import numpy as np
import pytest

from dmix.cli.workflows.bench.regmix import judge_regressors
from dmix.mixing.regression import judge, tables
from dmix.mixing.regression.regressors import REGRESSORS
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import read_json


@pytest.fixture(autouse=True)
def published(monkeypatch):
    table = SimpleNamespace(domains=("a", "b"), losses=("x",), values_RV=np.zeros((5, 1)), size="1m")
    monkeypatch.setattr(tables, "load_tables", lambda data: (table, [table]))
    found = {"tests": {"1m": {"mean_spearman": 90.0, "spearman": {"x": 91.234}}}}
    monkeypatch.setattr(judge, "judge", lambda name, **_: found)


def test_each_regressor_is_judged_once(tmp_path):
    result = judge_regressors(data=tmp_path, regressors=["exponential", "exponential"], progress=str)
    assert list(result.facts["regressors"]) == ["exponential"]
    assert list(result.df()["exponential 1m"]) == [90.0, 91.23]


def test_an_unknown_regressor_is_named_with_those_there_are(tmp_path):
    with pytest.raises(InputError, match=f"'ridge', expected one of {', '.join(REGRESSORS)}"):
        judge_regressors(data=tmp_path, regressors=["ridge"], progress=str)


def test_a_dry_run_fits_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(judge, "judge", pytest.fail)
    result = judge_regressors(data=tmp_path, dry_run=True, progress=str)
    assert result.facts["regressors"] == list(REGRESSORS) and result.facts["runs"] == {"train": 5, "1m": 5}


@pytest.mark.parametrize("folder", [True, False])
def test_figures_go_to_a_file_or_into_a_folder(tmp_path, folder):
    out = tmp_path if folder else tmp_path / "figures.json"
    judge_regressors(data=tmp_path, regressors=["exponential"], out=out, progress=str)
    (path,) = tmp_path.glob("*.json")
    assert path.name.startswith("regmix-") == folder
    assert {"at", "machine", "dmix", "regressors"} <= set(read_json(path))
