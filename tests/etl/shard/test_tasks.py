"""The work of a shard task: ids within the vocabulary, the largest inputs first, times added up."""

from types import SimpleNamespace

import numpy as np
import pytest

from dmix.etl.shard import tasks
from dmix.etl.shard.tasks import StageSeconds, encode_documents, run_shard_inputs, stream_path
from dmix.warehouse_schema.errors import InputError


def tokenizer(*ids, lengths=(2,)):
    found = np.array(ids, np.uint32), np.array(lengths, np.int64)
    return SimpleNamespace(name="t", vocab_size=10, eot_id=0, encode=lambda texts: found)


def test_every_document_ends_with_the_end_of_text():
    assert encode_documents(tokenizer(5, 9, 3, lengths=(2, 1)), ["a", "b"], dtype="uint16").tolist() == [
        5,
        9,
        0,
        3,
        0,
    ]


def test_an_id_beyond_the_vocabulary_is_refused():
    with pytest.raises(InputError, match="returned id 10, but its vocabulary has only 10"):
        encode_documents(tokenizer(5, 10), ["a"], dtype="uint16")


def test_a_stream_lies_below_its_field_under_a_safe_name():
    assert stream_path("source", "News") == "source/News"
    assert "/" not in stream_path("source", "a/b").removeprefix("source/")


def test_times_of_stages_add_up_also_after_an_error(monkeypatch):
    clock = iter([0.0, 2.0, 5.0, 9.0])
    monkeypatch.setattr(tasks.time, "perf_counter", lambda: next(clock))
    seconds = StageSeconds(read=1.0)
    with seconds.measure("read"):
        pass
    with pytest.raises(ValueError, match="x"), seconds.measure("write"):
        raise ValueError("x")
    assert (seconds.read, seconds.encode, seconds.write) == (3.0, 0.0, 4.0)


def test_the_largest_inputs_are_begun_first_and_their_times_are_summed(tmp_path):
    begun = []

    def work(shard_input, job):
        begun.append(shard_input.text_bytes)
        return StageSeconds(read=1.0, write=0.5)

    inputs = [SimpleNamespace(text_bytes=size, fingerprint=str(size)) for size in (5, 90, 20)]
    spent = run_shard_inputs(None, inputs, job=SimpleNamespace(folder=tmp_path), progress=str, work=work)
    assert begun == [90, 20, 5] and spent == StageSeconds(read=3.0, write=1.5)
