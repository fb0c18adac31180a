import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dmix.etl.publishing import labels as labels_module
from dmix.etl.publishing.labels import SCHEMA, LabelWriter


def batch(*documents):
    """Rows of (label, text) with positions from 1."""
    return pa.table(
        {
            "id": [f"id-{i}" for i in range(len(documents))],
            "text": [text for _, text in documents],
            "path": ["a.jsonl"] * len(documents),
            "position": range(1, len(documents) + 1),
            "label": [label for label, _ in documents],
            "probability": pa.array([0.5] * len(documents), pa.float32()),
            "margin": pa.array([0.25] * len(documents), pa.float32()),
        },
        schema=SCHEMA,
    )


DOCUMENTS = batch(("News", "one"), ("Games", "two"), ("News", "thrée"), ("Games", "four"))


def test_file_is_sorted_by_the_taxonomy_and_stable_within_a_domain(tmp_path):
    writer = LabelWriter(tmp_path, labels=("News", "Adult", "Games"))
    writer.add(DOCUMENTS)
    (file,) = writer.close()
    table = pq.read_table(tmp_path / file.name)
    assert table.column("text").to_pylist() == ["one", "thrée", "two", "four"]
    assert table.column("position").to_pylist() == [1, 3, 2, 4]
    assert [(rows.label, rows.documents, rows.text_bytes) for rows in file.domains] == [
        ("News", 2, 9),
        ("Games", 2, 7),
    ]
    assert file.size_bytes == (tmp_path / file.name).stat().st_size


def test_without_a_taxonomy_domains_stand_in_alphabetical_order(tmp_path):
    writer = LabelWriter(tmp_path, labels=None)
    writer.add(DOCUMENTS)
    (file,) = writer.close()
    assert [rows.label for rows in file.domains] == ["Games", "News"]


def test_row_group_holds_one_domain_and_bounded_text(tmp_path, monkeypatch):
    monkeypatch.setattr(labels_module, "ROW_GROUP_BYTES", 100)
    writer = LabelWriter(tmp_path, labels=None)
    writer.add(batch(*[("A", "x" * 30)] * 10, ("B", "y" * 500), ("C", "z")))
    (file,) = writer.close()
    parquet = pq.ParquetFile(tmp_path / file.name)
    groups = [parquet.read_row_group(i).column("label").to_pylist() for i in range(parquet.num_row_groups)]
    assert all(len(set(group)) == 1 for group in groups)
    assert [len(group) for group in groups if group[0] == "A"] == [3, 3, 3, 1]


def test_chunk_is_closed_before_it_grows_too_large(tmp_path):
    writer = LabelWriter(tmp_path, labels=None, chunk_bytes=20)
    for _ in range(5):
        writer.add(DOCUMENTS)  # 16 bytes of text
    files = writer.close()
    assert [file.name for file in files] == [f"{i:05}.parquet" for i in range(5)]


def test_nothing_gives_no_file(tmp_path):
    assert LabelWriter(tmp_path, labels=None).close() == ()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("pieces", [1, 2, 4])
def test_bytes_depend_on_the_documents_alone(tmp_path, pieces):
    writer = LabelWriter(tmp_path, labels=None)
    size = 4 // pieces
    for start in range(0, 4, size):
        writer.add(DOCUMENTS.slice(start, size))
    (file,) = writer.close()
    other = tmp_path / "other"
    other.mkdir()
    whole = LabelWriter(other, labels=None)
    whole.add(DOCUMENTS)
    assert whole.close() == (file,)


def test_a_part_whose_documents_were_all_rejected_has_no_label_file(tmp_path):
    writer = LabelWriter(tmp_path, labels=None)
    writer.add(SCHEMA.empty_table())
    assert writer.close() == () and not list(tmp_path.iterdir())
