"""A model's own tokenizer has to be the dataset's; then it is kept with all its settings."""

import json
import shutil
from contextlib import suppress

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from dmix.training.model import own_tokenizer as own_tokenizer_module
from dmix.training.model.models import load_model
from dmix.training.model.own_tokenizer import check_tokenizer, own_tokenizer
from dmix.training.model.saving import save_model
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.manifests import read_dataset_manifest

TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


@pytest.fixture
def manifest(tiny_warehouse):
    return read_dataset_manifest(tiny_warehouse)


@pytest.fixture
def dataset_file(tiny_warehouse):
    return tiny_warehouse.stream("tiny") / "tokenizer.json"


@pytest.fixture
def checkpoint(tiny_model, manifest, tiny_warehouse, tmp_path):
    """A folder of weights whose tokenizer the test writes."""
    folder = tmp_path / "model"
    model = load_model(
        tiny_model.__class__(**{**vars(tiny_model), "config": {**tiny_model.config, "vocab_size": 300}}),
        manifest,
    )
    save_model(model, folder, streams=tiny_warehouse.stream("tiny"), manifest=manifest)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "dmix.json"):
        (folder / name).unlink(missing_ok=True)
    return folder


def save_tokenizer(folder, tokenizer, **settings):
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **settings).save_pretrained(folder)


def facts(folder):
    loaded = AutoTokenizer.from_pretrained(folder)
    return loaded.chat_template, loaded.pad_token, loaded.bos_token, loaded.model_max_length


def test_settings_of_the_very_tokenizer_survive(checkpoint, dataset_file, manifest, tiny_warehouse, tmp_path):
    # written anew by transformers, and with a token more than the dataset's: the ids are the same
    same = Tokenizer.from_file(str(dataset_file))
    same.add_special_tokens(["<|pad|>"])
    save_tokenizer(
        checkpoint,
        same,
        eos_token="<|endoftext|>",
        pad_token="<|pad|>",
        model_max_length=64,
        chat_template=TEMPLATE,
    )
    model = load_model(str(checkpoint), manifest, tokenizer_file=dataset_file)
    save_model(model, tmp_path / "out", streams=tiny_warehouse.stream("tiny"), manifest=manifest)
    assert facts(tmp_path / "out") == facts(checkpoint) == (TEMPLATE, "<|pad|>", None, 64)


def test_a_model_without_a_tokenizer_takes_the_dataset_s(
    checkpoint, dataset_file, manifest, tiny_warehouse, tmp_path
):
    assert own_tokenizer(str(checkpoint)) is None
    model = load_model(str(checkpoint), manifest, tokenizer_file=dataset_file)
    save_model(model, tmp_path / "out", streams=tiny_warehouse.stream("tiny"), manifest=manifest)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").eos_token == "<|endoftext|>"


def other_ids(content):
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]


def other_end(content):
    content["model"]["vocab"] = {
        ("<end>" if token == "<|endoftext|>" else token): index
        for token, index in content["model"]["vocab"].items()
    }
    content["added_tokens"][0]["content"] = "<end>"


@pytest.mark.parametrize(("change", "said"), [(other_ids, "in the data, and"), (other_end, "end of text is")])
def test_a_tokenizer_of_other_ids_is_refused_unless_it_is_allowed(
    checkpoint, dataset_file, manifest, change, said
):
    content = json.loads(dataset_file.read_text())
    change(content)
    save_tokenizer(checkpoint, Tokenizer.from_str(json.dumps(content)))
    with pytest.raises(InputError, match=f"another tokenizer.*{said}.*--allow-other-tokenizer"):
        load_model(str(checkpoint), manifest, tokenizer_file=dataset_file)
    model = load_model(str(checkpoint), manifest, tokenizer_file=dataset_file, allow_other_tokenizer=True)
    assert model.tokenizer is None


def test_other_ids_in_the_files_are_refused_without_transformers(
    checkpoint, dataset_file, manifest, monkeypatch
):
    content = json.loads(dataset_file.read_text())
    (first, one), (second, two), *_ = content["model"]["vocab"].items()
    content["model"]["vocab"] |= {first: two, second: one}
    (checkpoint / "tokenizer.json").write_text(json.dumps(content))
    (checkpoint / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    asked = []
    monkeypatch.setattr(own_tokenizer_module, "fitting_tokenizer", lambda *a, **k: asked.append(k))
    with pytest.raises(
        InputError, match=rf"another tokenizer .* has id {min(one, two)} in the data.*--tokenizer"
    ):
        check_tokenizer(str(checkpoint), manifest, tokenizer_file=dataset_file)
    assert not asked
    check_tokenizer(str(checkpoint), manifest, tokenizer_file=dataset_file, allow_other=True)
    assert asked[0]["allow_other"]


def test_a_damaged_tokenizer_is_named(checkpoint, dataset_file, manifest):
    shutil.copy(dataset_file, checkpoint / "tokenizer.json")
    (checkpoint / "tokenizer.json").write_bytes(b"{")
    with pytest.raises(InputError, match=r"cannot load the tokenizer of model"):
        load_model(str(checkpoint), manifest, tokenizer_file=dataset_file)


def another_word(content):
    token = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    content["added_tokens"].append({"id": 257, "content": "hello", **token})


def swapped_rare_ids(content):
    vocabulary = content["model"]["vocab"]
    vocabulary["Ģ"], vocabulary["ģ"] = vocabulary["ģ"], vocabulary["Ģ"]


@pytest.mark.parametrize("change", [swapped_rare_ids, another_word])
def test_a_difference_that_no_usual_text_shows_is_found(checkpoint, dataset_file, manifest, change):
    content = json.loads(dataset_file.read_text())
    change(content)
    save_tokenizer(checkpoint, Tokenizer.from_str(json.dumps(content)), eos_token="<|endoftext|>")
    with pytest.raises(InputError, match="another tokenizer"):
        load_model(str(checkpoint), manifest, tokenizer_file=dataset_file)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["[" * 200_000, "[]", '{"add_prefix_space": []}'])
def test_odd_json_beside_a_model_is_no_defect(checkpoint, dataset_file, manifest, name, content):
    save_tokenizer(checkpoint, Tokenizer.from_file(str(dataset_file)), eos_token="<|endoftext|>")
    (checkpoint / name).write_text(content)
    with suppress(InputError):
        check_tokenizer(str(checkpoint), manifest, tokenizer_file=dataset_file)
