"""Base models that are kept with results are found by recipe and tokens, not by the id of a dataset."""

import dataclasses
import json
from types import SimpleNamespace

import pytest
from tests.manifests import dataset_manifest

from dmix.training.comparison.data.prepare import _kept_base, text_digest
from dmix.training.comparison.data.study_paths import StudyPaths
from dmix.warehouse_schema.files.manifests import StreamFile

RECIPE = SimpleNamespace(digest="recipe", base_of=None)


@pytest.fixture
def keep(tmp_path):
    """Keeps a base model that says this of itself, and looks for one of the recipe and text."""
    paths = StudyPaths.of("toy", work=tmp_path / "work", results=tmp_path / "round" / "small")

    def look(made_from, *, text):
        folder = paths.kept_base("base-0")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "quality.json").write_text(json.dumps(made_from))
        return _kept_base(paths, RECIPE, "base-0", text=text) == folder

    return look


def test_same_recipe_and_tokens_are_taken_and_others_are_not(keep):
    assert keep({"setting": "recipe", "text": "tokens"}, text="tokens")
    assert not keep({"setting": "recipe", "text": "tokens"}, text="other tokens")
    assert not keep({"setting": "other recipe", "text": "tokens"}, text="tokens")


def test_a_base_model_of_the_first_rounds_is_taken_by_its_recipe(keep):
    assert keep({"setting": "recipe", "dataset": "0123456789abcdef"}, text="tokens")
    assert not keep({"setting": "other recipe", "dataset": "0123456789abcdef"}, text="tokens")


def test_the_digest_of_a_text_is_that_of_its_shards_alone():
    shard = StreamFile(name="shard.00000.mds", size_bytes=8, sha256="a" * 64, samples=1)
    manifest = dataset_manifest([4, 4])
    streams = tuple(dataclasses.replace(stream, files=(shard,)) for stream in manifest.streams)
    one = dataclasses.replace(manifest, streams=streams)
    renamed = dataclasses.replace(one, dataset="f" * 16, created_at="2020-01-01T00:00:00Z")
    changed = dataclasses.replace(shard, sha256="b" * 64)
    other = dataclasses.replace(one, streams=(streams[0], dataclasses.replace(streams[1], files=(changed,))))
    assert text_digest(one) == text_digest(renamed) != text_digest(other)
