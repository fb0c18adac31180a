"""Which datasets a setting gets, and how long a model writes, with stand-ins for what makes them."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.manifests import dataset_manifest

from dmix.cli.workflows.data import comparison
from dmix.cli.workflows.data.comparison import REAL_SOURCE, DatasetBuilder, _has_dataset, _make_run_dataset
from dmix.training.comparison.data.study_paths import StudyPaths
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import write_dataset_manifest


class Steps:
    """Keeps the steps of a builder."""

    def __init__(self):
        self.said = []

    def classify(self, inputs, *, name, distilled=None):
        self.said.append(("classify", name, sorted(inputs), distilled))
        return [f"{name}-{field}" for field in sorted(inputs)]

    def shard(self, corpora, *, name):
        self.said.append(("shard", name, list(corpora)))

    def distil(self, source):
        self.said.append(("distil", source))

    def write(self, model, out, *, tokens):
        self.said.append(("write", model.name, tokens))


def steps_of(tmp_path, **changes):
    values = {
        "synthetic_source": False,
        "classifier": "column:origin",
        "source_supply": 1.5,
        "run_samples": 10,
        "seq_len": 4,
        "protocol": 2,
        "bases": 1,
    }
    builder, paths = Steps(), StudyPaths.of("s", work=tmp_path / "w", results=tmp_path / "r")
    _make_run_dataset(paths, SimpleNamespace(**values | changes), builder)
    return builder.said


def test_real_text_is_classified_in_one_call_and_sharded(tmp_path):
    assert steps_of(tmp_path) == [
        ("classify", "run", ["source", "target"], None),
        ("shard", "run", ["run-source", "run-target"]),
    ]


def test_written_text_under_a_classifier_needs_no_student(tmp_path):
    found = steps_of(tmp_path, synthetic_source=True, classifier="embedded")
    assert found[0] == ("write", "base-0", 60)
    assert [step[0] for step in found] == ["write", "classify", "shard"]


def test_written_text_gets_its_labels_from_a_student_of_the_real_source(tmp_path):
    found = steps_of(tmp_path, synthetic_source=True)
    assert [step[0] for step in found] == ["write", "classify", "distil", "classify", "shard"]
    assert found[2] == ("distil", "real-source") and found[3] == ("classify", "run", ["source"], REAL_SOURCE)
    assert found[4] == ("shard", "run", ["run-source", "real-target"])


def test_a_dataset_is_there_once_its_manifest_is(tmp_path):
    warehouse = Warehouse.at(tmp_path)
    assert not _has_dataset(warehouse, "run")
    write_dataset_manifest(warehouse, dataset_manifest([1, 1], name="run"))
    assert _has_dataset(warehouse, "run")


def test_a_model_writes_until_enough_is_kept(monkeypatch, tmp_path):
    budgets, lines = [], []

    def written(self, model, out, *, budget):
        budgets.append(budget)
        kept = budget // 2  # the filter drops half
        return SimpleNamespace(tokens=budget, tokens_kept=kept - 5, kept=5, generated=9)

    monkeypatch.setattr(DatasetBuilder, "_written", written)
    builder = DatasetBuilder(Warehouse.at(tmp_path), None, None, lines.append)
    builder.write(Path("base-0"), tmp_path, tokens=100)
    assert budgets == [100, 200] and len(lines) == 2


def test_a_filter_that_keeps_nothing_ends_the_writing(monkeypatch, tmp_path):
    nothing = SimpleNamespace(tokens=50, tokens_kept=0, kept=0, generated=9)
    monkeypatch.setattr(DatasetBuilder, "_written", lambda *_, **__: nothing)
    with pytest.raises(InputError, match="dropped all 9 documents by base-0"):
        DatasetBuilder(Warehouse.at(tmp_path), None, None, str).write(Path("base-0"), tmp_path, tokens=100)


def test_a_distilled_classifier_takes_the_place_of_the_settings():
    settings = SimpleNamespace(classifier="column:origin", taxonomy="from-data")
    builder = DatasetBuilder(None, settings, None, str)
    assert builder._classifier(None).classifier == "column:origin"
    assert builder._classifier("x").classifier == "distilled:x" and builder._classifier("x").taxonomy is None


def test_without_spark_only_the_workers_end(monkeypatch):
    closed = []
    monkeypatch.setattr(
        "dmix.etl.spark.pool.worker_pool", lambda: SimpleNamespace(close=lambda: closed.append(1))
    )
    monkeypatch.delitem(comparison.sys.modules, "pyspark", raising=False)
    comparison.stop_spark()
    assert closed == [1]
