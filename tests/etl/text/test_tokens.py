"""Engines that agree, special tokens that raw text never becomes, and tokenizers of other make."""

import json
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Reference
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from dmix.etl.text import token_engines, tokens
from dmix.etl.text.token_engines import encoder_json, special_tokens
from dmix.etl.text.tokens import EMBEDDED_PATH, Tokenizer, load_tokenizer
from dmix.warehouse_schema.errors import InputError, NotFoundError

SENTENCES = ["the cat sat on the mat", "a dog barked at the cat", "cats and dogs, 12 of them"] * 20
ENGINES = {
    "gigatoken": token_engines.gigatoken_engine,
    "fastokens": token_engines.fastokens_engine,
    "tokenizers": token_engines.tokenizers_engine,
}
encodable = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
pieces = st.sampled_from(
    ["<|endoftext|>", "\r\n", "\t", "  ", "don't", "3.14", "中文", "😀", "Größe", "x=y;", "\u200d"]
)
texts = st.lists(st.one_of(encodable, st.lists(st.one_of(pieces, encodable), max_size=8).map("".join)))


@pytest.fixture(autouse=True)
def made_anew():
    """No test gets a tokenizer that another one made with an engine of its own."""
    tokens.kept_tokenizer.cache_clear()
    yield
    tokens.kept_tokenizer.cache_clear()


@pytest.fixture(scope="module")
def embedded():
    return load_tokenizer("embedded")


@pytest.fixture(scope="module")
def engines(embedded):
    document = json.loads(embedded.json_bytes)
    encoder = encoder_json(document, special_tokens(document))
    return {name: build(encoder) for name, build in ENGINES.items()}


def trained(model, trainer, *, pre_tokenizer=None, normalizer=None, decoder=None):
    tokenizer = Reference(model)
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    if decoder:
        tokenizer.decoder = decoder
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


def byte_level(specials):
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=specials,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return trained(models.BPE(), trainer, pre_tokenizer=split, decoder=decoders.ByteLevel())


def test_embedded_tokenizer_has_the_promised_form(embedded):
    assert (embedded.vocab_size, embedded.eot_id, embedded.eot_token) == (8192, 0, "<|endoftext|>")
    assert embedded.engine == "gigatoken"


def test_known_ids_are_those_of_the_reference(embedded, engines):
    reference = Reference.from_str(embedded.json_bytes.decode())
    specials = special_tokens(json.loads(embedded.json_bytes))
    expected = engines["tokenizers"](token_engines.probe_texts(specials))
    assert {embedded.sha256: token_engines.ids_digest(*expected)} == token_engines.KNOWN_IDS
    assert embedded.eot_id not in expected[0]
    vocabulary = tokens._own_vocabulary(json.loads(embedded.json_bytes))
    assert vocabulary == reference.get_vocab(with_added_tokens=True)


def test_a_shipped_tokenizer_with_another_end_of_text_is_held_to_the_reference():
    with pytest.raises(InputError, match="'the' as a special token"):  # which the probe holds as text
        Tokenizer.from_json_bytes("odd", EMBEDDED_PATH.read_bytes(), eot_token="the")


def test_gigatoken_needs_no_awkward_and_works_with_it(embedded):
    code = (
        "import sys\n"
        "from dmix.etl.text.tokens import load_tokenizer\n"
        "tokenizer, texts = load_tokenizer('embedded'), ['a text', '', 'and another']\n"
        "without = tokenizer.encode(texts)\n"
        "assert 'awkward' not in sys.modules\n"
        "import awkward\n"
        "found = tokenizer.encode(texts)\n"
        "assert isinstance(awkward.Array([1]), awkward.Array)\n"
        "assert all((a == b).all() and a.dtype == b.dtype for a, b in zip(found, without))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_gigatoken_that_asks_awkward_for_more_gets_awkward(engines, monkeypatch):
    monkeypatch.delitem(sys.modules, "awkward", raising=False)
    monkeypatch.delattr(token_engines._Unwrapped, "unflatten")
    ids, lengths = engines["gigatoken"](["a text", "b"])
    assert (ids == engines["tokenizers"](["a text", "b"])[0]).all() and lengths.tolist() == [2, 1]


def test_embedded_ids_are_the_known_ones(embedded):
    ids, lengths = embedded.encode(["Hello, world! 12+30=42", "", "\n\tdef f(x):"])
    assert ids.dtype == np.uint32
    assert lengths.dtype == np.int64
    assert lengths.tolist() == [14, 0, 6]
    assert ids.tolist() == [
        40,
        8061,
        12,
        1555,
        1,
        221,
        17,
        18,
        11,
        19,
        16,
        29,
        20,
        18,
        199,
        198,
        964,
        279,
        1407,
        1486,
    ]


@settings(deadline=None, max_examples=150)
@given(texts)
def test_engines_give_identical_ids_on_any_text(engines, batch):
    expected_ids, expected_lengths = engines["tokenizers"](batch)
    for name in ("gigatoken", "fastokens"):
        ids, lengths = engines[name](batch)
        assert np.array_equal(ids, expected_ids), name
        assert np.array_equal(lengths, expected_lengths), name


@settings(deadline=None, max_examples=100)
@given(texts)
def test_decoding_returns_the_text(embedded, batch):
    ids, lengths = embedded.encode(batch)
    ends = np.cumsum(lengths)
    assert [embedded.decode(ids[end - n : end]) for n, end in zip(lengths, ends, strict=True)] == batch


def test_no_text_gives_no_ids(embedded):
    for batch in ([], [""], ["", ""]):
        ids, lengths = embedded.encode(batch)
        assert ids.shape == (0,)
        assert lengths.tolist() == [0] * len(batch)


def test_literal_of_a_special_token_is_ordinary_text(engines):
    for name, encode in engines.items():
        ids, _ = encode(["a <|endoftext|> b<|endoftext|>"])
        assert 0 not in ids, name


def test_special_tokens_that_a_template_wrote_become_their_ids(tmp_path):
    path = tmp_path / "tokenizer.json"
    byte_level(["<|endoftext|>", "<start>", "<pad>"]).save(str(path))
    plain = load_tokenizer(str(path))
    tokenizer = plain.writing(["<start>"])
    text = "<start>a <pad> b<|endoftext|>"
    vocabulary = {token: i for i, token in enumerate(["<|endoftext|>", "<start>", "<pad>"])}
    ids = tokenizer.encode([text])[0].tolist()
    assert ids[0] == vocabulary["<start>"]
    assert not {vocabulary["<pad>"], vocabulary["<|endoftext|>"]} & set(ids)
    assert not set(vocabulary.values()) & set(plain.encode([text])[0].tolist())
    assert pickle.loads(pickle.dumps(tokenizer)).encode([text])[0].tolist() == ids
    assert tokenizer.decode(ids) == text
    with pytest.raises(InputError, match=r"no special token '<stop>' .*: <pad>, <start>"):
        plain.writing(["<stop>"])


def test_very_long_word_and_very_long_text_are_encoded(embedded):
    ids, lengths = embedded.encode(["x" * 200_000, "word " * 100_000])
    assert embedded.decode(ids[: lengths[0]]) == "x" * 200_000
    assert lengths.sum() == len(ids)


def test_pickling_keeps_ids_engine_and_end_of_text(embedded, tmp_path):
    path = tmp_path / "tokenizer.json"
    byte_level(["<stop>", "<|endoftext|>"]).save(str(path))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": {"content": "<stop>"}}')
    for tokenizer in (embedded, load_tokenizer(str(path))):
        copy = pickle.loads(pickle.dumps(tokenizer))
        assert (copy.eot_id, copy.eot_token) == (tokenizer.eot_id, tokenizer.eot_token)
        assert (copy.engine, copy.sha256) == (tokenizer.engine, tokenizer.sha256)
        assert np.array_equal(copy.encode(["some text"])[0], tokenizer.encode(["some text"])[0])


def test_saved_tokenizer_loads_with_the_same_end_of_text(tmp_path):
    json_text = byte_level(["<stop>", "<|endoftext|>"]).to_str().encode()
    Tokenizer.from_json_bytes("mine", json_text, eot_token="<stop>").save(tmp_path)
    loaded = load_tokenizer(str(tmp_path))
    assert loaded.eot_token == "<stop>"
    assert loaded.json_bytes == json_text


def test_usual_name_is_taken_where_no_config_names_the_end_of_text(tmp_path):
    path = tmp_path / "tokenizer.json"
    byte_level(["<pad>", "</s>"]).save(str(path))
    assert load_tokenizer(str(path)).eot_token == "</s>"


def test_tokenizer_without_end_of_text_is_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    byte_level(["<pad>"]).save(str(path))
    with pytest.raises(InputError, match=r"has no end-of-text token: .* add eos_token"):
        load_tokenizer(str(path))


def test_configured_end_of_text_that_is_no_token_is_refused(tmp_path):
    byte_level(["</s>"]).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<gone>"}')
    with pytest.raises(InputError, match=r"end-of-text token '<gone>' .* is not in its vocabulary"):
        load_tokenizer(str(tmp_path))


def test_missing_path_names_what_can_be_given():
    with pytest.raises(NotFoundError, match=r"/no/such/tokenizer.json' does not exist; give 'embedded'"):
        load_tokenizer("/no/such/tokenizer.json")


def test_unknown_hub_id_is_a_clear_error(monkeypatch):
    from transformers import AutoTokenizer

    def refuse(name, **options):
        raise OSError("nobody/nothing is not a valid model identifier\nmore lines")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", refuse)
    monkeypatch.setattr("dmix.warehouse_schema.hub.hub_is_known", lambda: True)
    with pytest.raises(NotFoundError, match=r"no folder nobody/nothing, .*\(nobody/nothing is not a val"):
        load_tokenizer("nobody/nothing")


def test_a_mistyped_folder_is_refused_at_once_where_the_hub_cannot_be_reached(monkeypatch, caplog):
    monkeypatch.setattr("dmix.warehouse_schema.hub.hub_is_known", lambda: False)
    started = time.monotonic()
    with pytest.raises(NotFoundError, match=r"no folder my-chekpoint, .*cannot reach the Hugging Face hub"):
        load_tokenizer("my-chekpoint")
    assert time.monotonic() - started < 30  # the hub's client alone tries for a minute
    assert not caplog.records


def test_folder_with_vocabulary_and_merges_is_converted(tmp_path):
    tokenizer = byte_level(["<|endoftext|>"])
    tokenizer.model.save(str(tmp_path))
    config = {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    loaded = load_tokenizer(str(tmp_path))
    assert loaded.eot_token == "<|endoftext|>"
    expected = tokenizer.encode("the cat sat on the mat").ids
    assert loaded.encode(["the cat sat on the mat"])[0].tolist() == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "no 'model' entry"),
        ('{"model": {"type": "Nonsense"}}', "cannot load tokenizer"),
    ],
)
def test_file_that_is_no_tokenizer_is_refused(tmp_path, content, message):
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        load_tokenizer(str(path))


def test_lone_surrogate_is_named_by_text_and_position(embedded):
    with pytest.raises(InputError, match="text 1 has half a surrogate pair at character 3"):
        embedded.encode(["fine", "abc\ud800"])


def test_post_processor_adds_nothing(tmp_path):
    tokenizer = byte_level(["<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.enable_truncation(2)
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    loaded = load_tokenizer(str(path))
    ids, _ = loaded.encode(["the cat sat on the mat"])
    assert 0 not in ids
    assert loaded.decode(ids) == "the cat sat on the mat"


def test_added_token_that_is_not_special_stays_one_token(tmp_path):
    tokenizer = byte_level(["</s>"])
    tokenizer.add_tokens(["<<tool>>"])
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    loaded = load_tokenizer(str(path))
    ids, _ = loaded.encode(["the <<tool>> cat"])
    assert tokenizer.token_to_id("<<tool>>") in ids
    assert loaded.vocab_size == tokenizer.get_vocab_size()


def sentencepiece_like():
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256))],
        show_progress=False,
    )
    model = models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer = trained(model, trainer, normalizer=normalizer)
    document = json.loads(tokenizer.to_str())
    document["added_tokens"] = document["added_tokens"][:3]
    return json.dumps(document)


def unigram():
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    return trained(models.Unigram(), trainer, pre_tokenizer=pre_tokenizers.Metaspace()).to_str()


def word_piece():
    trainer = trainers.WordPieceTrainer(
        vocab_size=120, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False
    )
    split = pre_tokenizers.BertPreTokenizer()
    normalizer = normalizers.BertNormalizer()
    model = models.WordPiece(unk_token="[UNK]")
    return trained(model, trainer, pre_tokenizer=split, normalizer=normalizer).to_str()


@pytest.mark.parametrize("make", [sentencepiece_like, unigram, word_piece])
def test_other_kinds_of_tokenizer_load_and_never_give_end_of_text(make):
    tokenizer = Tokenizer.from_json_bytes("other", make().encode())
    ids, lengths = tokenizer.encode(["the cat </s> [SEP] sat</s>", "dogs"])
    assert tokenizer.eot_id not in ids
    assert lengths.sum() == len(ids) > 0


def test_engine_that_differs_is_passed_over_with_a_warning(monkeypatch, caplog):
    def wrong(encoder):
        encode = token_engines.tokenizers_engine(encoder)
        return lambda batch: (encode(batch)[0] + 1, encode(batch)[1])

    monkeypatch.setattr(token_engines, "gigatoken_engine", wrong)
    tokenizer = load_tokenizer("embedded")
    assert tokenizer.engine == "fastokens"
    assert "gigatoken and tokenizers differ" in caplog.text


def test_a_tokenizer_with_digits_apart_runs_on_the_second_engine():
    split = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    document = json.loads(byte_level(["<|endoftext|>"]).to_str())
    document["pre_tokenizer"] = json.loads(split.__getstate__())
    assert Tokenizer.from_json_bytes("digits", json.dumps(document).encode()).engine == "fastokens"


def test_engines_that_cannot_load_leave_tokenizers(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "gigatoken", None)
    monkeypatch.setitem(sys.modules, "fastokens", None)
    tokenizer = load_tokenizer("embedded")
    assert tokenizer.engine == "tokenizers"
    assert "gigatoken cannot run" in caplog.text
    assert "fastokens cannot run" in caplog.text
    fast = Tokenizer.from_json_bytes("again", EMBEDDED_PATH.read_bytes())
    assert np.array_equal(fast.encode(SENTENCES)[0], tokenizer.encode(SENTENCES)[0])


def test_an_engine_that_cannot_load_needs_no_warning_where_the_next_one_can(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "gigatoken", None)
    with caplog.at_level("INFO", logger=token_engines.logger.name):
        assert load_tokenizer("embedded").engine == "fastokens"
    (record,) = [record for record in caplog.records if "gigatoken" in record.getMessage()]
    assert record.levelname == "INFO" and "\n" not in record.getMessage()


def test_real_corpora_have_the_same_ids_under_all_engines(test_data, engines):
    import gzip

    for origin in ("source/newsgroups20", "target_math/mathqa", "target_code/networkx"):
        with gzip.open(test_data / "corpora" / f"{origin}.jsonl.gz", "rt") as lines:
            batch = [json.loads(line)["text"] for line, _ in zip(lines, range(150), strict=False)]
        expected, _ = engines["tokenizers"](batch)
        assert np.array_equal(engines["gigatoken"](batch)[0], expected)
        assert np.array_equal(engines["fastokens"](batch)[0], expected)


def test_end_of_text_of_an_older_tokenizer_is_named_by_its_special_tokens_map(tmp_path):
    byte_level(["<stop>", "<|endoftext|>", "</s>"]).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "special_tokens_map.json").write_bytes(b'\xef\xbb\xbf{"eos_token": {"content": "<stop>"}}')
    assert load_tokenizer(str(tmp_path)).eot_token == "<stop>"
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": null}', encoding="utf-16")
    assert load_tokenizer(str(tmp_path)).eot_token == "<stop>"
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>"}', encoding="utf-16")
    assert load_tokenizer(str(tmp_path)).eot_token == "</s>"
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": 3}')
    with pytest.raises(InputError, match=r"tokenizer_config\.json: eos_token is 3"):
        load_tokenizer(str(tmp_path))


def test_an_engine_that_fails_on_a_text_leaves_that_one_to_the_reference(monkeypatch, caplog):
    def fragile(encoder):
        encode = token_engines.tokenizers_engine(encoder)

        def run(batch):
            if any("break" in text for text in batch):
                raise ValueError("Max stack size exceeded")
            taken.extend(batch)
            return encode(batch)

        return run

    taken = []
    monkeypatch.setattr(token_engines, "gigatoken_engine", fragile)
    tokenizer = load_tokenizer("embedded")
    assert tokenizer.engine == "gigatoken"
    taken.clear()
    texts = ["one", "please break here", "", "two words"]
    ids, lengths = tokenizer.encode(texts)
    expected = token_engines.tokenizers_engine(
        encoder_json(json.loads(tokenizer.json_bytes), {tokenizer.eot_token})
    )(texts)
    assert np.array_equal(ids, expected[0])
    assert np.array_equal(lengths, expected[1])
    assert taken == ["one", "", "two words"]
    assert "17 characters (Max stack size exceeded)" in caplog.text


def test_marks_that_are_newer_than_an_engines_tables_are_in_the_probe(embedded):
    document = json.loads(embedded.json_bytes) | {"normalizer": {"type": "NFC"}}
    tokenizer = Tokenizer.from_json_bytes("composed", json.dumps(document).encode())
    texts = [f"a\u0315{mark}\u0301\u0323" for mark in map(chr, (0x7FD, 0x8D3, 0x898, 0x1ACF, 0x897, 0xC3C))]
    reference = token_engines.tokenizers_engine(encoder_json(document, special_tokens(document)))
    assert np.array_equal(tokenizer.encode(texts)[0], reference(texts)[0])


@pytest.mark.parametrize(("ends", "warned"), [(2, True), ([2, 3], True), ([1, 2], False), (None, False)])
def test_a_tokenizer_that_ends_with_what_begins_the_models_texts_is_warned_of(tmp_path, caplog, ends, warned):
    byte_level(["<unk>", "<|im_start|>", "<|im_end|>"]).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<|im_start|>"}')
    (tmp_path / "config.json").write_text(json.dumps({"bos_token_id": 1, "eos_token_id": ends}))
    assert load_tokenizer(str(tmp_path)).eot_id == 1
    said = "config.json starts texts with this token and ends them with '<|im_end|>'"
    assert (said in caplog.text) == warned


def test_merges_are_never_left_to_chance(embedded):
    document = json.loads(embedded.json_bytes)
    document["model"]["dropout"] = 0.5
    tokenizer = Tokenizer.from_json_bytes("dropout", json.dumps(document).encode())
    texts = ["international understanding"] * 5
    assert tokenizer.encode(texts)[0].tolist() == embedded.encode(texts)[0].tolist()
