"""The examples of use without Composer run, resume, and take the samples of an unbroken run."""

import itertools
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dmix.mixing.delivery.dataset import MixedDataset
from dmix.mixing.delivery.loader import MixedLoader
from dmix.mixing.delivery.step_plan import PlanSettings
from dmix.mixing.space.domains import DomainSpace
from dmix.training.model.models import load_model
from dmix.training.model.saving import save_model
from dmix.warehouse_schema.files.manifests import read_dataset_manifest

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
BIN = Path(sys.executable).parent


@pytest.fixture
def call(tiny_warehouse, monkeypatch, capsys):
    """Runs an example in this process, as `python docs/examples/NAME …`; returns what it prints."""

    def run(name, *arguments):
        words = [name, "--warehouse", str(tiny_warehouse.root), *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", words)
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


def test_bare_pytorch_goes_on_where_it_stopped(call, tmp_path):
    whole = call("bare_pytorch.py", "--state", tmp_path / "whole.pt", "--step-samples", 40)
    # 80 target samples: the run ends once they are covered
    assert whole["finished"] and whole["steps"] == 4
    for batches, workers in ((3, 0), (7, 2), (0, 0), (100, 1)):  # within steps and at their ends
        options = ("--batches", batches, "--workers", workers, "--step-samples", 40)
        cut = call("bare_pytorch.py", "--state", tmp_path / "cut.pt", *options)
    assert cut == whole
    weights = [torch.load(tmp_path / name)["model"]["next.weight"] for name in ("whole.pt", "cut.pt")]
    assert torch.equal(*weights)


@pytest.fixture
def call_two_ranks(tiny_warehouse):
    """The same on two ranks that torchrun starts."""

    def run(name, *arguments):
        done = subprocess.run(
            [
                *(BIN / "torchrun", "--standalone", "--nproc-per-node", "2", EXAMPLES / name),
                *("--warehouse", tiny_warehouse.root, *map(str, arguments)),
            ],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.mark.slow
def test_bare_pytorch_on_two_ranks_goes_on_where_one_stopped(call, call_two_ranks, tmp_path):
    whole = call("bare_pytorch.py", "--state", tmp_path / "whole.pt")
    call("bare_pytorch.py", "--state", tmp_path / "cut.pt", "--batches", 5)
    assert call_two_ranks("bare_pytorch.py", "--state", tmp_path / "cut.pt") == whole


def test_the_callback_for_hugging_face_puts_the_loader_where_its_checkpoint_is(tiny_warehouse, tmp_path):
    example = runpy.run_path(str(EXAMPLES / "hf_trainer.py"))
    manifest = read_dataset_manifest(tiny_warehouse)
    settings = PlanSettings(step_samples=40, batch_size=8)
    with MixedDataset(manifest, tiny_warehouse.stream("tiny")) as dataset:

        def batches():
            loader = MixedLoader(dataset, settings=settings)
            return example["StepBatches"](loader, DomainSpace.of_dataset(manifest))

        whole = [batch["input_ids"] for batch in batches()]
        begun = batches()
        first = [batch["input_ids"] for batch in itertools.islice(begun, 7)]
        arguments = SimpleNamespace(output_dir=str(tmp_path))
        example["MixtureState"](begun.loader).on_save(
            arguments, SimpleNamespace(global_step=7, is_world_process_zero=True), None
        )
        resumed = batches()
        saved = tmp_path / "checkpoint-7" / example["STATE_FILE"]
        resumed.loader.load_state_dict(json.loads(saved.read_text()))
        rest = [batch["input_ids"] for batch in resumed]
    assert torch.equal(torch.stack(first + rest), torch.stack(whole))


@pytest.fixture
def hugging_face_options(tmp_path, tiny_warehouse, tiny_model):
    """Options of the example, with a model in the form that transformers loads."""
    manifest = read_dataset_manifest(tiny_warehouse)
    model = load_model(tiny_model, manifest)
    save_model(model, tmp_path / "model", streams=tiny_warehouse.stream("tiny"), manifest=manifest)
    return ("--model", tmp_path / "model", "--step-samples", 40, "--save-every", 3)


def test_hugging_face_trainer_goes_on_where_it_stopped(call, hugging_face_options, tmp_path):
    options = hugging_face_options
    whole = call("hf_trainer.py", *options, "--out", tmp_path / "whole", "--batches", 12)
    call("hf_trainer.py", *options, "--out", tmp_path / "cut", "--batches", 6)
    (tmp_path / "cut" / "checkpoint-9").mkdir()  # one that a kill cut short
    cut = call("hf_trainer.py", *options, "--out", tmp_path / "cut", "--batches", 12, "--resume")
    assert cut == whole and whole["steps"] == 2
    weights = [tmp_path / name / "checkpoint-12" / "model.safetensors" for name in ("whole", "cut")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.slow
def test_hugging_face_trainer_on_two_ranks_goes_on_where_one_stopped(
    call, call_two_ranks, hugging_face_options, tmp_path
):
    options = hugging_face_options
    whole = call("hf_trainer.py", *options, "--out", tmp_path / "whole", "--batches", 12)
    call("hf_trainer.py", *options, "--out", tmp_path / "cut", "--batches", 6)
    options = (*options, "--out", tmp_path / "cut", "--batches", 12, "--resume")
    assert call_two_ranks("hf_trainer.py", *options) == whole
