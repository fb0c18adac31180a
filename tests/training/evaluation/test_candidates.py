"""Models that can be evaluated, by step, and folders that transformers loads."""

import itertools

import pytest
import torch
from tests.training.evaluation.conftest import RUN

from dmix.training.evaluation.candidates import model_candidate, run_candidates
from dmix.training.model.models import load_model
from dmix.training.run.checkpoints import load_checkpoint
from dmix.training.run.resuming.checkpoint_files import fingerprint
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


WEIGHT = "network.model.embed_tokens.weight"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda found: found["model"].update({WEIGHT: found["model"][WEIGHT].half()}), "type torch.float16"),
        (lambda found: found["model"][WEIGHT].fill_(float("nan")), "weights are not finite"),
        (lambda found: found["model"][WEIGHT].view(-1)[3:4].fill_(1e38), "has the magnitude 1e.38"),
        (lambda found: found.update(run_name="other"), "belongs to run 'other'"),
    ],
)
def test_a_received_checkpoint_is_not_evaluated_as_something_else(judged_run, change, said):
    path, events = (judged_run.run(RUN) / name for name in ("checkpoints/step1-ba2.pt", "events.jsonl"))
    before = path.read_bytes(), events.read_text()
    content = load_checkpoint(path)
    written = fingerprint(path)
    change(content["state"])
    torch.save(content, path)
    events.write_text(before[1].replace(written, fingerprint(path)))
    try:
        (candidate,) = run_candidates(judged_run, RUN, ["1"])
        with pytest.raises(InputError, match=rf"step1-ba2\.pt .*{said}"):
            candidate.load()
    finally:
        path.write_bytes(before[0])
        events.write_text(before[1])


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
