"""Whether a model wrote the inputs of a corpus."""

from types import SimpleNamespace

import pytest

from dmix.etl.synthetic import inputs
from dmix.etl.synthetic.inputs import generation_of


def facts(model="m", quality="none", max_tokens=8, **counts):
    names = ("generated", "kept", "empty", "capped", "tokens", "tokens_kept")
    return SimpleNamespace(
        model=model, quality=quality, max_tokens=max_tokens, **dict.fromkeys(names, 0) | counts
    )


@pytest.fixture
def written(monkeypatch):
    """Makes files with these facts; a file that nobody may look at fails."""

    def make(**by_name):
        monkeypatch.setattr(inputs, "block_facts", lambda path: by_name[path.rsplit("/", 1)[-1]])
        return [SimpleNamespace(path=f"/data/{name}") for name in by_name]

    return make


def test_counts_of_several_blocks_add_up_and_names_are_listed_once(written):
    files = written(
        **{
            "block-00000000.parquet": facts("b", "embedded", 8, generated=3, kept=2, tokens=20),
            "block-00000001.parquet": facts("a", "none", 16, generated=4, kept=4, tokens=30),
            "block-00000002.parquet": facts("b", "embedded", 8, generated=1, capped=1),
        }
    )
    found = generation_of(files)
    assert found["models"] == ["a", "b"] and found["quality"] == "embedded, none"
    assert (found["max_tokens"], found["generated"], found["kept"], found["tokens"]) == (16, 8, 6, 50)
    assert found["capped"] == 1


@pytest.mark.parametrize(
    "name", ["block-1.parquet", "block-00000000.jsonl", "a.parquet", "xblock-00000000.parquet"]
)
def test_files_of_other_names_are_not_looked_at(name):
    assert generation_of([SimpleNamespace(path=f"/none/{name}")]) is None


def test_a_block_among_other_files_makes_a_corpus_synthetic(written):
    files = written(**{"block-00000000.parquet": facts(generated=1), "block-00000001.parquet": None})
    assert generation_of(files)["generated"] == 1
    assert generation_of([]) is None
