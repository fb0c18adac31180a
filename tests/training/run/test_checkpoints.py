import os
import random
import zipfile
from contextlib import nullcontext
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from composer.core import Callback
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


@pytest.mark.parametrize("part", ["algorithms", "schedulers", "dataset_state"])
def test_what_a_resume_does_not_need_is_not_read(tmp_path, part):
    state = {"model": {}, "optimizers": {}, "callbacks": {}, "timestamp": {}, part: {"LambdaLR": {"step": 3}}}
    torch.save({"state": state}, tmp_path / "step1-ba2.pt")
    assert part not in load_run_checkpoint(tmp_path / "step1-ba2.pt")["state"]


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


class Loaded:
    """What Composer holds after it loaded a checkpoint."""

    def __init__(self):
        self.model, self.callbacks = torch.nn.Linear(2, 2), []
        self.optimizers = [torch.optim.AdamW(self.model.parameters())]
        self.optimizers[0].param_groups[0]["initial_lr"] = 1e-3
        self.model(torch.ones(2)).sum().backward()
        self.optimizers[0].step()
        value = SimpleNamespace
        self.timestamp = SimpleNamespace(epoch=value(value=1), batch=value(value=2))


def random_states():
    numbers = {"torch": torch.get_rng_state(), "python": random.getstate()}
    return [{**numbers, "numpy": np.random.get_state()}]


def nothing(state):
    return random_states()


def not_finite(state):
    state.model.weight.data[0] = float("nan")


def other_shape(state):
    state.optimizers[0].state[state.model.weight]["exp_avg_sq"] = torch.ones(3)


def other_step(state):
    state.timestamp.epoch.value = 7


def other_rate(state):
    state.optimizers[0].param_groups[0]["lr"] = 1e9


def no_rate(state):
    state.optimizers[0].param_groups[0]["lr"] = "x"


def more_groups(state):
    state.optimizers[0].param_groups.append({})


def text(state):
    raise TypeError("string indices must be integers, not 'str'")


def no_random_state(state):
    return [{"torch": 3, "python": None, "numpy": ()}]


@pytest.mark.parametrize(
    "change",
    [
        nothing,
        not_finite,
        other_shape,
        other_step,
        other_rate,
        no_rate,
        more_groups,
        text,
        no_random_state,
    ],
)
def test_what_no_run_goes_on_from_names_the_file(change, tmp_path, monkeypatch):
    from composer.utils import checkpoint as composer_checkpoint

    monkeypatch.setattr(composer_checkpoint, "load_checkpoint", lambda path, state, **_: change(state))
    with without_unpickling():
        load, path = composer_checkpoint.load_checkpoint, str(tmp_path / "step1-ba2.pt")
        if change is nothing:
            assert load(path=path, state=Loaded(), logger=None)
        else:
            with pytest.raises(InputError, match=r"step1-ba2\.pt cannot be read .*remove this file"):
                load(path=path, state=Loaded(), logger=None)


def test_settings_of_the_optimiser_are_those_of_the_run(tmp_path, monkeypatch):
    from composer.utils import checkpoint as composer_checkpoint

    def climbing(path, state, **_):
        state.optimizers[0].param_groups[0] |= {"maximize": True, "betas": (0.0, 0.0)}
        return random_states()

    monkeypatch.setattr(composer_checkpoint, "load_checkpoint", climbing)
    state = Loaded()
    with without_unpickling():
        composer_checkpoint.load_checkpoint(path=str(tmp_path / "step1-ba2.pt"), state=state, logger=None)
    [group] = state.optimizers[0].param_groups
    assert (group["maximize"], group["betas"]) == (False, (0.9, 0.999))


class Counts(Callback):
    """A callback whose state a checkpoint holds."""

    def load_state_dict(self, state):
        pass


def saved_content(state):
    """What Composer saves of a state."""
    weights = state.model.state_dict()
    moments = {
        name: {key: value.clone() for key, value in state.optimizers[0].state[weight].items()}
        for name, weight in state.model.named_parameters()
    }
    parts = {"optimizers": {"AdamW": {"state": moments}}, "callbacks": {"Counts": {}}, "timestamp": {}}
    return {"state": {"model": dict(weights), **parts}, "rng": random_states()}


def of_other_type(name, kind):
    def change(content):
        moments = content["state"]["optimizers"]["AdamW"]["state"]["weight"]
        moments[name] = moments[name].to(kind)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: None, ""),
        (of_other_type("exp_avg", torch.int64), "a moment of weight has the type torch.int64"),
        (of_other_type("exp_avg_sq", torch.float16), "a moment of weight has the type torch.float16"),
        (
            lambda c: c["state"]["optimizers"]["AdamW"]["state"]["bias"].clear(),
            "of bias has the type nothing",
        ),
        (lambda c: c["state"].update(optimizers={"Other": {}}), "no state of the optimiser AdamW"),
        (lambda c: c["state"]["optimizers"]["AdamW"]["state"].clear(), "no state of the optimiser AdamW"),
        (lambda c: c["state"]["callbacks"].clear(), "no state of Counts"),
        (lambda c: c["state"]["model"].update(bias=torch.zeros(2).int()), "weight bias has the type"),
        (lambda c: c.pop("rng"), "no random states"),
        (lambda c: c["state"].update(callbacks=[]), "not the checkpoint of a run"),
    ],
)
def test_what_a_checkpoint_lacks_or_has_in_another_type_is_refused(change, said, tmp_path, monkeypatch):
    from composer.utils import checkpoint as composer_checkpoint

    def load(path, state, **_):
        composer_checkpoint._torch_load_with_validation(path, map_location="cpu")
        return random_states()

    state, path = Loaded(), tmp_path / "step1-ba2.pt"
    state.callbacks = [Counts()]
    content = saved_content(state)
    change(content)
    torch.save(content, path)
    monkeypatch.setattr(composer_checkpoint, "load_checkpoint", load)
    with without_unpickling(), nullcontext() if not said else pytest.raises(InputError, match=said) as caught:
        assert composer_checkpoint.load_checkpoint(path=str(path), state=state, logger=None)
    assert not said or "step1-ba2.pt" in str(caught.value)
