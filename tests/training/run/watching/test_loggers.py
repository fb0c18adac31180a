import sys

import pytest
from composer.loggers import WandBLogger

from dmix.training.model.settings import check_loggers
from dmix.training.run.watching.loggers import make_loggers
from dmix.warehouse_schema.errors import InputError, MissingDependencyError


def test_a_logger_whose_package_is_missing_is_named_with_the_way_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"dmix\[loggers\]', or leave tensorboard out"):
        make_loggers(["tensorboard"], folder=tmp_path, run_id="r")
    assert make_loggers([], folder=tmp_path, run_id="r") == []


def test_a_logger_whose_package_is_there_is_composers_own(tmp_path, monkeypatch):
    (tmp_path / "wandb.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    check_loggers(["wandb"])
    (made,) = make_loggers(["wandb"], folder=tmp_path, run_id="r")
    assert isinstance(made, WandBLogger)
    sys.modules.pop("wandb")


def test_a_logger_that_does_not_start_says_why_and_how_to_get_versions_that_fit(tmp_path, monkeypatch):
    def broken(**_):
        raise RuntimeError("gencode 6.31.1 runtime 5.29.6\nand more")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr("dmix.training.run.watching.loggers.TensorboardLogger", broken)
    with pytest.raises(
        InputError, match=r"does not start \(gencode 6.31.1 runtime 5.29.6\).*dmix\[loggers\]"
    ):
        make_loggers(["tensorboard"], folder=tmp_path, run_id="r")
