import os
import zipfile
from datetime import timedelta

import numpy as np
import pytest
import torch
from torch.torch_version import TorchVersion

from dmix.training.run.checkpoints import load_checkpoint, load_run_checkpoint, without_unpickling
from dmix.warehouse_schema.errors import InputError


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_what_composer_writes_is_loaded(tmp_path):
    state = np.random.RandomState(3).get_state()
    saved = {
        "rng": [{"numpy": state, "torch": torch.get_rng_state()}],
        "time": timedelta(seconds=3),
        "version": TorchVersion("2.7.0"),
        "weights": torch.arange(4),
    }
    torch.save(saved, tmp_path / "a.pt")
    loaded = load_checkpoint(tmp_path / "a.pt")
    assert (loaded["rng"][0]["numpy"][1] == state[1]).all()
    assert loaded["time"] == saved["time"] and loaded["version"] == "2.7.0"
    assert loaded["weights"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("mmap", [False, True])
def test_code_in_a_checkpoint_is_not_run(tmp_path, mmap):
    torch.save({"state": Evil(tmp_path / "ran")}, tmp_path / "evil.pt")
    with pytest.raises(InputError, match=r"evil.pt contains objects .*could run code"):
        load_checkpoint(tmp_path / "evil.pt", mmap=mmap)
    assert not (tmp_path / "ran").exists()


def test_composer_reads_checkpoints_without_unpickling(tmp_path):
    from composer.utils import checkpoint as composer_checkpoint

    torch.save({"state": Evil(tmp_path / "ran")}, tmp_path / "evil.pt")
    original = composer_checkpoint._torch_load_with_validation
    with without_unpickling(), pytest.raises(InputError, match="could run code"):
        composer_checkpoint.safe_torch_load(str(tmp_path / "evil.pt"), map_location="cpu")
    assert composer_checkpoint._torch_load_with_validation is original
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["r", "other", None])
def test_a_checkpoint_of_another_run_is_refused(tmp_path, name):
    state = {"model": {}, "optimizers": {}, "callbacks": {}, "timestamp": {}}
    torch.save({"state": state | ({"run_name": name} if name else {})}, tmp_path / "step1-ba2.pt")
    assert load_run_checkpoint(tmp_path / "step1-ba2.pt")["state"]["model"] == {}
    if name == "other":
        with pytest.raises(InputError, match="belongs to run 'other', not to r, renamed; remove it"):
            load_run_checkpoint(tmp_path / "step1-ba2.pt", of={"r", "renamed"})
    else:
        assert load_run_checkpoint(tmp_path / "step1-ba2.pt", of={"r", "renamed"}, mmap=True)


def test_a_checkpoint_whose_pickle_is_nonsense_is_damaged(tmp_path):
    torch.save({"state": {"a": torch.arange(4)}}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        parts = {part.filename: archive.read(part) for part in archive.infolist()}
    rng = np.random.default_rng(0)
    for number in range(60):
        with zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:
            for name, content in parts.items():
                if name.endswith("data.pkl"):
                    changed = bytearray(content)
                    changed[rng.integers(len(changed))] = number * 4
                    content = bytes(changed[: rng.integers(2, len(changed) + 1)])
                archive.writestr(name, content)
        try:
            load_checkpoint(tmp_path / "b.pt")
        except InputError as error:
            assert "b.pt" in str(error)
