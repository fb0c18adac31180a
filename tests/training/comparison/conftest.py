"""A toy setting: a few hundred demonstration documents, in files by domain, and a tiny model."""

import itertools
import json
from concurrent.futures import Executor, Future

import pytest
import yaml

from dmix.etl.demo.corpus import source_texts, target_texts
from dmix.training.comparison.units import queue

SETTING = {
    "name": "toy",
    "source": ["source/*.jsonl"],
    "target": ["target/*.jsonl"],
    "seq_len": 128,
    "base_tokens": 16_384,
    "steps": 3,
    "samples_per_step": 16,
    "target_supply": 0.5,
    "source_supply": 1.5,
    "small_pools": {"Games": 0.05},
    "items": 4,
    "objectives": [
        {"name": "essays", "role": "general", "corpora": ["essays_a", "essays_b"]},
        {"name": "problems", "role": "target", "path": "items/problems.jsonl"},
        {
            "name": "other_problems",
            "role": "target",
            "path": "items/problems.jsonl",
            "origin": "out",
            "layers": ["confirmation"],
            "weight": 0,
        },
    ],
}
MODEL = {
    "architecture": "llama",
    "config": {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "tie_word_embeddings": True,
        "max_position_embeddings": 128,
    },
}
TRAINING = {"batch_size": 8, "learning_rate": 5e-3, "warmup": 0.1}


def write_lines(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


class AtOnce(Executor):
    """Does what is submitted before `submit` returns."""

    def submit(self, work, /, *args, **kwargs):
        future = Future()
        try:
            future.set_result(work(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@pytest.fixture(scope="session", autouse=True)
def queues_here():
    """Queues run their units in this process: workers would import torch and Composer anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue, "ProcessPoolExecutor", lambda *_, **__: AtOnce())
        yield


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory):
    """A data folder as users have it: corpora by field, and a file of items."""
    folder = tmp_path_factory.mktemp("toy-data")
    essays = list(itertools.islice(source_texts(seed=0, stream=2), 400))
    for name, part in (("essays_a", essays[::2]), ("essays_b", essays[1::2])):
        write_lines(folder / "source" / f"{name}.jsonl", [{"text": text} for _, text in part])
    problems = list(itertools.islice(target_texts(seed=0, stream=3), 600))
    for domain in ("Games", "Food_and_Drink"):
        texts = [text for label, text in problems if label == domain]
        write_lines(
            folder / "target" / f"{domain}.jsonl",
            [{"id": f"{domain}-{i}", "text": text} for i, text in enumerate(texts)],
        )
    asked = itertools.islice(target_texts(seed=1, stream=4), 40)
    items = [dict(zip(("question", "answer"), text.split("\n", 1), strict=True)) for _, text in asked]
    write_lines(
        folder / "items" / "problems.jsonl", [{"id": f"q{i}", **item} for i, item in enumerate(items)]
    )
    return folder


@pytest.fixture(scope="session")
def toy_setting(tmp_path_factory):
    """The setting file, with model and training files beside it."""
    folder = tmp_path_factory.mktemp("toy-setting")
    for name, content in (
        ("toy", SETTING),
        ("model", MODEL),
        ("base-training", TRAINING),
        ("training", TRAINING),
    ):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return folder / "toy.yaml"
