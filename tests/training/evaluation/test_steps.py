"""Models of a run that can be evaluated, by step."""

import shutil
from types import SimpleNamespace

import pytest
from tests.training.run.resuming.test_checkpoint_files import write

from dmix.training.evaluation.steps import chosen_models
from dmix.training.run.resuming.checkpoint_files import SAVED, fingerprint
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.events import EventLog
from dmix.warehouse_schema.files.layout import Warehouse


@pytest.fixture
def run(tmp_path):
    """A warehouse with a run of three steps, each with a checkpoint, and its configuration."""
    warehouse = Warehouse.at(tmp_path)
    log = EventLog(warehouse.run("r") / "events.jsonl", run_id="r")
    folder = warehouse.run("r") / "checkpoints"
    folder.mkdir()
    for step in (1, 2, 3):
        path = folder / f"step{step}-ba{step * 4}.pt"
        write(folder, path.name)
        log.write(SAVED, step=step, file=path.name, fingerprint=fingerprint(path))
    config = SimpleNamespace(run_id="r", result=lambda warehouse: warehouse.run("r") / "model")
    return warehouse, config, folder


def test_all_are_those_on_disk_and_the_model_that_the_run_started_from(run):
    warehouse, config, folder = run
    found = chosen_models(warehouse, config, ["all"])
    assert found == {0: None} | {step: folder / f"step{step}-ba{step * 4}.pt" for step in (1, 2, 3)}
    assert list(chosen_models(warehouse, config, [])) == [3]
    assert list(chosen_models(warehouse, config, ["2", "1", "2"])) == [1, 2]
    with pytest.raises(NotFoundError, match="no model of step 9"):
        chosen_models(warehouse, config, ["9"])
    with pytest.raises(InputError, match="--step is 'two'"):
        chosen_models(warehouse, config, ["two"])


@pytest.mark.parametrize("damage", ["exchanged", "cut short"])
def test_a_checkpoint_that_the_run_did_not_write_is_left_out_with_a_word(run, damage, caplog):
    warehouse, config, folder = run
    if damage == "exchanged":  # its scores would be those of step 1
        shutil.copyfile(folder / "step1-ba4.pt", folder / "step2-ba8.pt")
    else:
        write(folder, "step2-ba8.pt", whole=False)
    assert sorted(chosen_models(warehouse, config, ["all"])) == [0, 1, 3]
    assert "step2-ba8.pt is left out" in caplog.text
