"""What is refused before a weight is read, and how much memory is thought to be needed."""

import json
import os

import pytest

from dmix.etl.synthetic.generation_settings import GenerationSettings
from dmix.etl.synthetic.source_models import fetched, load_network, model_digest, source_model
from dmix.warehouse_schema.errors import InputError, NotFoundError

SETTINGS = GenerationSettings()


def without_weights(folder):
    (folder / "model.safetensors").unlink()
    return str(folder)


def test_start_and_end_are_the_end_of_text_where_bos_and_eos_are_one(writer):
    model = source_model(str(writer), SETTINGS)
    assert (model.start_id, model.end_id) == (0, 0)
    assert model.max_tokens == 63


def test_a_named_start_token_is_taken(writer):
    assert source_model(str(writer), GenerationSettings(start_token="court")).start_id == 16
    with pytest.raises(InputError, match=r"'quux' is not in the vocabulary.*--start-token"):
        source_model(str(writer), GenerationSettings(start_token="quux"))


def test_a_model_without_a_start_token_is_refused_before_its_weights_are_read(make_writer, tmp_path):
    folder = without_weights(make_writer(tmp_path / "none", specials=False))
    with pytest.raises(InputError, match=r"has no start token.*--start-token"):
        source_model(folder, SETTINGS)


def with_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


@pytest.mark.parametrize("ids", [30, 80])
def test_a_tokenizer_of_another_model_is_refused(make_writer, tmp_path, ids):
    folder = with_config(make_writer(tmp_path / "model"), vocab_size=ids)
    with pytest.raises(
        InputError, match=f"vocabulary of {ids} ids, but its tokenizer has 46.*tokenizer files"
    ):
        source_model(without_weights(folder), SETTINGS)


def test_a_tokenizer_of_the_same_size_with_other_ends_of_a_document_is_refused(make_writer, tmp_path):
    folder = with_config(make_writer(tmp_path / "model"), bos_token_id=5, eos_token_id=[6, 7])
    with pytest.raises(
        InputError, match=r"names \[5, 6, 7\] as ids of BOS and EOS, but its tokenizer names \[0\]"
    ):
        source_model(without_weights(folder), SETTINGS)
    named = source_model(str(folder), GenerationSettings(start_token="<|endoftext|>"))
    assert named.start_id == 0


def test_ids_that_only_the_class_of_a_model_gives_refuse_no_tokenizer(make_writer, tmp_path):
    folder = make_writer(tmp_path / "model")
    config = {"model_type": "llama", "vocab_size": len(source_model(str(folder), SETTINGS).tokenizer)}
    # LLaMA's class says 1 and 2
    (folder / "config.json").write_text(json.dumps(config))
    assert source_model(without_weights(folder), SETTINGS).start_id == 0


def test_a_length_cap_beyond_the_positions_is_refused(writer):
    with pytest.raises(InputError, match=r"room for only 63 tokens.*--max-tokens 63"):
        source_model(str(writer), GenerationSettings(max_tokens=64))


@pytest.mark.parametrize("name", ["./nowhere", "nowhere", "/nowhere/at/all"])
def test_a_model_that_is_not_there_is_not_found(name):
    with pytest.raises(NotFoundError, match="does not exist; give the folder"):
        source_model(name, SETTINGS)


def test_a_folder_without_a_model_is_not_found(tmp_path):
    with pytest.raises(NotFoundError, match="has no configuration"):
        source_model(str(tmp_path), SETTINGS)


def test_damaged_weights_are_named(make_writer, tmp_path):
    folder = make_writer(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"is damaged .*download the model again"):
        load_network(folder, SETTINGS, device="cpu")


def test_the_digest_of_a_model_changes_with_a_byte_of_its_weights(make_writer, tmp_path):
    one, other = make_writer(tmp_path / "a"), make_writer(tmp_path / "b")
    assert model_digest(one) == model_digest(other)
    with open(other / "model.safetensors", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    assert model_digest(one) != model_digest(other)


def test_a_folder_is_its_own_download(writer):
    assert fetched(source_model(str(writer), SETTINGS)) == writer


def with_tokenizer(folder, **changes):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def test_a_tokenizer_that_ends_with_what_begins_is_corrected_by_the_configuration(
    make_writer, tmp_path, caplog
):
    folder = with_config(make_writer(tmp_path / "model"), bos_token_id=0, eos_token_id=16)
    model = source_model(without_weights(folder), SETTINGS)
    assert (model.start_id, model.end_id) == (0, 16)
    assert "'<|endoftext|>', its start token; dmix ends documents with 'court'" in caplog.text
    with_config(folder, bos_token_id=0, eos_token_id=[0, 16])
    assert source_model(str(folder), SETTINGS).end_id == 0


@pytest.mark.parametrize(
    ("template", "warned"),
    [
        ("{{ '<|endoftext|>' + message['role'] }}", True),
        ("{{ '<|endoftext|>' }}{{ '<|turn|>' + message['role'] }}", False),
    ],
)
def test_a_start_token_that_begins_a_turn_of_a_chat_is_warned_of(
    make_writer, tmp_path, caplog, template, warned
):
    folder = with_tokenizer(make_writer(tmp_path / "model"), chat_template=template)
    source_model(without_weights(folder), SETTINGS)
    assert ("start of a chat turn" in caplog.text) == warned
    caplog.clear()
    source_model(str(folder), GenerationSettings(start_token="court"))
    assert "chat turn" not in caplog.text
