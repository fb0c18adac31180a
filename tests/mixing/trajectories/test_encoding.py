import hashlib

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE

from dmix.mixing.trajectories.encoding import encode_item, load_tokenizer_file
from dmix.mixing.trajectories.objectives import Item
from dmix.warehouse_schema.errors import InputError, VerificationError
from dmix.warehouse_schema.files.manifests import TokenizerFile

END = "<|endoftext|>"


@pytest.fixture
def tokenizer(tmp_path):
    """One token a character, id 0 ends a text."""
    characters = sorted(set("abcdefgh" + END))
    made = Tokenizer(BPE(vocab={END: 0} | {c: i for i, c in enumerate(characters, 1)}, merges=[]))
    made.add_special_tokens([END])
    made.save(str(tmp_path / "tokenizer.json"))
    return load_tokenizer_file(tmp_path / "tokenizer.json")


def encoded(tokenizer, question, answer, *, max_length):
    item = encode_item(Item("i", question, answer), tokenizer=tokenizer, eot_id=0, max_length=max_length)
    return item, "".join(tokenizer.id_to_token(i) for i in item.ids[1:])


def test_long_questions_lose_their_beginning(tokenizer):
    item, text = encoded(tokenizer, "abcdef", "gh", max_length=6)
    assert text == "defgh"
    assert (item.answer_start, item.cut, item.ids[0]) == (4, False, 0)


def test_answers_that_are_too_long_lose_their_end(tokenizer):
    item, text = encoded(tokenizer, "ab", "cdefgh", max_length=4)
    assert (text, item.answer_start, item.cut) == ("cde", 1, True)


def test_names_of_special_tokens_in_items_stay_text(tokenizer):
    item, _ = encoded(tokenizer, "a", END, max_length=64)
    assert item.ids.count(0) == 1 and len(item.ids) == 2 + len(END)


@pytest.mark.parametrize("content", [b"{}", b"", b"\xff", None])
def test_a_damaged_tokenizer_is_named(content, tmp_path):
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"tokenizer\.json cannot be read .* run 'dmix etl shard' again"):
        load_tokenizer_file(path)


def test_a_file_that_cuts_fills_up_or_leaves_merges_to_chance_encodes_whole_texts(tmp_path):
    vocabulary = {END: 0, "a": 1, "b": 2, "ab": 3, "abab": 4}
    made = Tokenizer(BPE(vocab=vocabulary, merges=[("a", "b"), ("ab", "ab")], dropout=0.5))
    made.enable_truncation(2)
    made.enable_padding(length=12, pad_id=2)
    made.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer_file(tmp_path / "tokenizer.json")
    assert [tokenizer.encode("ab" * 8).ids for _ in range(20)] == [[4] * 4] * 20


def test_a_tokenizer_that_its_manifest_does_not_state_is_refused(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    stated = TokenizerFile(name="x", sha256=sha256, vocab_size=9, eot_id=0)
    assert load_tokenizer_file(path, stated).get_vocab() == tokenizer.get_vocab()
    path.write_text(path.read_text() + " ")
    with pytest.raises(VerificationError, match=rf"tokenizer\.json is not .*says {sha256[:16]}"):
        load_tokenizer_file(path, stated)
    path.unlink()
    with pytest.raises(InputError, match="tokenizer"):
        load_tokenizer_file(path, stated)
