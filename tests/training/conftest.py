"""A small published dataset and a small model; everything that training needs of a warehouse."""

import json
from hashlib import sha256

import numpy as np
import pytest
from tests.manifests import dataset_manifest, mds_writer, written_files
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from dmix.mixing.trajectories.objectives import load_environment
from dmix.training.model.settings import ModelSettings, TrainingSettings
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import TokenizerFile, write_dataset_manifest
from dmix.warehouse_schema.taxonomy import FIELDS, Taxonomy

SEQ_LEN = 16
SHARD_SAMPLES = 24
SAMPLES = {("source", "A"): 96, ("source", "B"): 40, ("target", "A"): 64, ("target", "B"): 16}
TAXONOMY = Taxonomy("abc", ("A", "B", "C"))
# what the samples of a domain say over and over: the model can learn each
TEXTS = {"source A": "abcd", "source B": "abdc", "target A": "wxyz", "target B": "wxzy"}


def byte_tokenizer():
    """A byte-level tokenizer of 257 ids: every byte is a token, id 0 ends a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|endoftext|>": 0} | {symbol: index for index, symbol in enumerate(alphabet, start=1)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return tokenizer


def publish_dataset(warehouse, *, samples=SAMPLES, seq_len=SEQ_LEN, name="tiny", taxonomy=TAXONOMY):
    """Writes streams and manifest as `dmix etl shard` would."""
    tokenizer = byte_tokenizer()
    folder = warehouse.stream(name)
    names = [(field, label) for field in FIELDS for label in taxonomy.labels]
    for index, (field, label) in enumerate(names):
        rng, count = np.random.default_rng(index), samples.get((field, label), 0)
        text = TEXTS.get(f"{field} {label}", TEXTS[f"{field} A"])
        tokens = np.array(tokenizer.encode(text * seq_len).ids, np.uint16)
        if count:
            columns = {"tokens": f"ndarray:uint16:{seq_len}"}
            limit = SHARD_SAMPLES * (seq_len * 2 + 4) + 200
            with mds_writer(folder / field / label, columns=columns, size_limit=limit) as writer:
                for _ in range(count):
                    start = rng.integers(0, 4)
                    writer.write({"tokens": tokens[start : start + seq_len]})
    folder.mkdir(parents=True, exist_ok=True)
    content = tokenizer.to_str()
    (folder / "tokenizer.json").write_text(content)
    sha256_of_tokenizer = sha256(content.encode()).hexdigest()
    manifest = dataset_manifest(
        [samples.get(pair, 0) for pair in names],
        taxonomy=taxonomy,
        seq_len=seq_len,
        files=[written_files(folder / field / label) for field, label in names],
        dataset=name,
        tokenizer=TokenizerFile(name="bytes", sha256=sha256_of_tokenizer, vocab_size=257, eot_id=0),
    )
    write_dataset_manifest(warehouse, manifest)
    return manifest


@pytest.fixture(scope="session")
def tiny_warehouse(tmp_path_factory):
    """A warehouse with one dataset; tests write runs of their own into it."""
    warehouse = Warehouse.at(tmp_path_factory.mktemp("training") / "warehouse")
    publish_dataset(warehouse)
    return warehouse


@pytest.fixture(scope="session")
def environment_file(tiny_warehouse):
    """Two objectives that the tiny dataset teaches."""
    folder = tiny_warehouse.root.parent / "items"
    folder.mkdir()
    (folder / "general.jsonl").write_text(
        "".join(json.dumps({"id": f"g{i}", "text": "abcd" * (2 + i)}) + "\n" for i in range(4))
    )
    (folder / "target.jsonl").write_text(
        "".join(
            json.dumps({"id": f"t{i}", "question": "wxyz" * (i + 1), "answer": "wxyz" * 2}) + "\n"
            for i in range(4)
        )
    )
    path = folder / "environment.yaml"
    path.write_text(
        "objectives:\n"
        "- {name: general, role: general, kind: continuation, path: general.jsonl}\n"
        "- {name: target, role: target, kind: qa, path: target.jsonl}\n"
    )
    return path


@pytest.fixture(scope="session")
def environment(environment_file):
    return load_environment(environment_file)


@pytest.fixture(scope="session")
def tiny_model():
    return ModelSettings(
        architecture="llama",
        config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 64,
        },
        seed=1,
    )


@pytest.fixture(scope="session")
def fast_training():
    return TrainingSettings(batch_size=8, learning_rate=3e-3, warmup=0.0, checkpoint_steps=2)
