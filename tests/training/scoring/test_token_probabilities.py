import numpy as np
import pytest

from dmix.mixing.trajectories.encoding import encode_item, load_tokenizer_file
from dmix.mixing.trajectories.objectives import read_items
from dmix.training.model.models import load_model
from dmix.training.scoring.environment import Scorer
from dmix.training.scoring.token_probabilities import token_probabilities
from dmix.warehouse_schema.files.manifests import read_dataset_manifest


def test_mean_log_probabilities_of_an_item_are_its_score(tiny_warehouse, environment, tiny_model):
    manifest = read_dataset_manifest(tiny_warehouse)
    tokenizer = load_tokenizer_file(tiny_warehouse.stream("tiny") / "tokenizer.json")
    model = load_model(tiny_model, manifest).eval()
    items = [
        encode_item(item, tokenizer=tokenizer, eot_id=manifest.tokenizer.eot_id, max_length=64)
        for objective in environment.objectives
        for item in read_items(objective, environment.folder)
    ]
    found = token_probabilities(model, items)
    counts = [len(item.ids) - item.answer_start for item in items]
    assert len(found) == sum(counts) and (found > 0).all() and (found < 1).all()
    by_item = [float(np.log(part).mean()) for part in np.split(found, np.cumsum(counts)[:-1])]
    scorer = Scorer(environment, tokenizer=tokenizer, tokenizer_file=manifest.tokenizer, max_length=64)
    assert by_item == pytest.approx(scorer.item_scores(model).tolist(), abs=1e-5)
