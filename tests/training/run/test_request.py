import json

import pytest

from dmix.training.model.settings import LoraSettings, TrainingSettings
from dmix.training.run.request import RunRequest, new_run_folder, rate_warning, resolve_model, with_rate
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse, publish_bytes


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": -2}, "--steps is -2, expected 1 to 2147483647"),
        ({"steps": 2**31}, "--steps is 2147483648"),
        ({"max_passes": 10**23}, "--max-passes is 1"),
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"max_passes": 0}, "--max-passes is 0"),
        ({"shuffle_block": -1}, "--shuffle-block is -1"),
    ],
)
def test_counts_out_of_range_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        RunRequest(**given)


def test_a_path_that_is_not_there_passes_as_a_hub_id_with_one_warning(tmp_path, caplog):
    for _ in range(2):
        assert resolve_model("nowhere/ckpt", Warehouse.at(str(tmp_path))) == "nowhere/ckpt"
    [said] = caplog.messages
    assert said.startswith("there is no folder nowhere/ckpt here")


def test_the_default_rate_is_that_of_the_model(tmp_path):
    checkpoint, ours, older = (tmp_path / name for name in ("checkpoint", "ours", "older"))
    for folder, origin in ((checkpoint, None), (ours, {"learning_rate": 4e-3}), (older, {})):
        folder.mkdir()
        if origin is not None:
            (folder / "dmix.json").write_text(json.dumps(origin))
    adapters = TrainingSettings(lora=LoraSettings())

    def rate(model, training=None):
        return with_rate(training or TrainingSettings(), str(model)).learning_rate

    assert rate(tmp_path / "model.yaml") == 1e-3
    assert rate(checkpoint) == rate("hub/id") == 3e-5
    assert rate(checkpoint, adapters) == 2e-4
    assert rate(ours) == 4e-3
    assert rate(older) == 1e-3
    assert rate(checkpoint, TrainingSettings(learning_rate=0.5)) == 0.5


def test_a_rate_of_random_weights_is_warned_of_where_a_checkpoint_is_trained(tmp_path):
    high = TrainingSettings(learning_rate=1e-3)
    assert rate_warning(high, str(tmp_path / "model.yaml")) == ""
    assert "learning_rate 0.001 is 33 times the usual rate" in rate_warning(high, str(tmp_path))
    assert rate_warning(TrainingSettings(learning_rate=1e-4), str(tmp_path)) == ""


def test_a_second_start_of_a_base_model_is_told_to_run_the_command_again(tiny_warehouse):
    publish_bytes(tiny_warehouse.run("base-a") / "events.jsonl", b"")
    with pytest.raises(InputError, match="run the same command again, or choose another --name"):
        new_run_folder(tiny_warehouse, "base-a", of_base_model=True)
    with pytest.raises(InputError, match=r"--resume\. Otherwise, choose another --run"):
        new_run_folder(tiny_warehouse, "base-a")
