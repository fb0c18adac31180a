"""The chat template of a checkpoint, from records to samples, by the commands that are printed."""

import json
import shlex

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from dmix.cli.main import run
from dmix.etl.text.tokens import load_tokenizer
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import read_dataset_manifest

TEMPLATE = "{% for m in messages %}<|turn|>{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """A checkpoint with a byte-level tokenizer, in a folder whose name needs quotes; and 40 records."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my model"
    folder.mkdir()
    letters = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=letters, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|turn|>", "<|stop|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"eos_token": "<|stop|>", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    for field in ("source", "target"):
        lines = [
            {"prompt": f"{field} {i}?", "response": "It is so." if i else "<|stop|>", "topic": "News"}
            for i in range(20)
        ]
        (tmp_path / f"{field}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_what_the_template_writes_arrives_as_special_tokens(checkpoint, capsys):
    import numpy as np
    from streaming import StreamingDataset

    words = "etl classify --source source.jsonl --target target.jsonl --warehouse w"
    words += " --classifier column:topic --taxonomy from-data --template 'model:my model'"
    assert run(shlex.split(words)) == 0
    shown = capsys.readouterr()
    assert "special_token" in shown.out
    [line] = [line for line in shown.err.splitlines() if "special tokens" in line]
    printed = line.partition(": dmix ")[2]
    assert printed == (
        "etl shard --tokenizer 'my model' --special-token '<|stop|>' --special-token '<|turn|>'"
    )
    assert run([*shlex.split(printed), "--seq-len", "16", "--warehouse", "w", "--name", "d"]) == 0
    warehouse = Warehouse.at("w")
    manifest = read_dataset_manifest(warehouse, "d")
    assert manifest.settings["special_tokens"] == ["<|stop|>", "<|turn|>"]
    folder = warehouse.stream(manifest.dataset) / manifest.streams[0].path
    samples = StreamingDataset(local=str(folder), shuffle=False, batch_size=1)
    ids = np.concatenate([samples[i]["tokens"] for i in range(len(samples))])
    text = load_tokenizer(str(checkpoint)).decode(ids)
    assert text.startswith("<|turn|>user: source 1?<|stop|><|turn|>assistant: It is so.<|stop|><|stop|>")
    assert np.count_nonzero(ids == 256) == text.count("<|turn|>")
    assert np.count_nonzero(ids == 257) == text.count("<|stop|>")
    # without the flags it is another dataset, of characters
    assert run([*shlex.split("etl shard --seq-len 16 --warehouse w --name e --tokenizer"), "my model"]) == 0
    assert read_dataset_manifest(warehouse, "e").dataset != manifest.dataset
