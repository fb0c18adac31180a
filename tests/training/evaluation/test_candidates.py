"""Models that can be evaluated, by step, and folders that transformers loads."""

import itertools

import pytest
import torch
from tests.training.evaluation.conftest import RUN

from dmix.training.evaluation.candidates import model_candidate, run_candidates
from dmix.training.model.models import load_model
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.manifests import read_dataset_manifest


def test_models_of_a_run_by_step(judged_run):
    found = run_candidates(judged_run, RUN, ["all"])
    assert [candidate.step for candidate in found] == [0, 1, 2, 3]
    weights = [next(candidate.load()[0].parameters()).detach() for candidate in found]
    assert all(not torch.equal(before, after) for before, after in itertools.pairwise(weights))
    (newest,) = run_candidates(judged_run, RUN, [])
    assert newest.origin.endswith("model")
    checkpoint = judged_run.run(RUN) / "checkpoints" / "step3-ba6.pt"
    saved = torch.load(checkpoint, weights_only=False)["state"]["model"]
    assert torch.equal(saved["network.model.embed_tokens.weight"], weights[3])


def test_steps_that_are_not_there_are_named(judged_run):
    with pytest.raises(NotFoundError, match=r"no model of step 7 \(available: 0, 1, 2, 3\)"):
        run_candidates(judged_run, RUN, ["7"])
    with pytest.raises(InputError, match="--step is 'last'"):
        run_candidates(judged_run, RUN, ["last"])


def test_a_folder_without_a_tokenizer_says_which_files_to_add(tiny_model, tiny_warehouse, tmp_path):
    load_model(tiny_model, read_dataset_manifest(tiny_warehouse)).network.save_pretrained(tmp_path)
    candidate = model_candidate(str(tmp_path))
    assert (candidate.step, candidate.origin) == (None, str(tmp_path))
    with pytest.raises(InputError, match=r"cannot load the tokenizer of .*tokenizer\.json"):
        candidate.load()
