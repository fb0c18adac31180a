"""What tests of several folders share: one Spark session, and the real corpora where there are any."""

import os
from pathlib import Path

import pytest

# processes share few cores: more threads than cores slow every one of them down
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from dmix.etl.session import spark_session
from dmix.warehouse_schema.manifests import DatasetManifest, StreamEntry, TokenizerFile
from dmix.warehouse_schema.taxonomy import FIELDS, Taxonomy


@pytest.fixture(scope="session")
def spark():
    """A session on two cores whose tasks are tried three times, as those of a cluster."""
    session = spark_session(master="local[2,3]", app="dmix tests")
    yield session
    session.stop()


@pytest.fixture(scope="session")
def test_data():
    """The folder of the real corpora and evaluation sets."""
    folder = os.environ.get("DMIX_TEST_DATA")
    if not folder or not Path(folder, "corpora").is_dir():
        pytest.skip("DMIX_TEST_DATA names no folder with corpora")
    return Path(folder)


@pytest.fixture(scope="session")
def make_manifest():
    """Makes the manifest of a dataset with these samples a domain (source first), without streams."""

    def make(samples, *, dataset="counts", seq_len=8):
        labels = tuple(f"domain-{index:02d}" for index in range(len(samples) // 2))
        names = [(field, label) for field in FIELDS for label in labels]
        streams = tuple(
            StreamEntry(
                field=field,
                domain=label,
                path=f"{field}/{label}",
                documents=int(count),
                samples=int(count),
                tokens=int(count) * seq_len,
                tail_tokens=0,
                files=(),
            )
            for (field, label), count in zip(names, samples, strict=True)
        )
        return DatasetManifest(
            dataset=dataset,
            name="",
            taxonomy=Taxonomy("numbered", labels),
            tokenizer=TokenizerFile(name="none", sha256="", vocab_size=10, eot_id=0),
            seq_len=seq_len,
            token_dtype="uint16",
            seed=0,
            corpora=(),
            streams=streams,
            created_at="2026-01-01T00:00:00+00:00",
        )

    return make
