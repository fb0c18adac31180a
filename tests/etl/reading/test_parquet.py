"""Parquet files whose other columns, names, types or sizes are what Arrow or Python cannot take."""

import uuid
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dmix.cli.workflows.preflight import check_id_column
from dmix.etl.publishing.rejects import Reject
from dmix.etl.reading.blocks import BrokenInputError
from dmix.etl.reading.documents import Columns
from dmix.etl.reading.inspection import inspect_file
from dmix.etl.reading.parquet import batches, damage, open_parquet, refuse_id_type
from dmix.etl.reading.records import read_documents
from dmix.etl.reading.sources import find_files
from dmix.etl.spark.tasks import Meter
from dmix.warehouse_schema.errors import InputError

PLAIN = Columns(text="text", id=None, others=())
WITH_ID = Columns(text="text", id="id", others=())


@pytest.fixture
def read(tmp_path):
    """Everything in a Parquet file of these columns."""

    def read_it(columns_or_table, *, columns=PLAIN, **options):
        table = columns_or_table if isinstance(columns_or_table, pa.Table) else pa.table(columns_or_table)
        pq.write_table(table, tmp_path / "a.parquet", **options)
        source = inspect_file(find_files([str(tmp_path / "a.parquet")]).files[0], columns=("text",))
        return list(read_documents(source, columns=columns, max_document_bytes=1 << 24, meter=Meter(None)))

    return read_it


def ids(entries):
    return [entry.reason if isinstance(entry, Reject) else entry.id for entry in entries]


@pytest.mark.parametrize(
    ("column", "first"),
    [
        (pa.array([uuid.UUID(int=5).bytes], pa.uuid()), str(uuid.UUID(int=5))),
        (pa.array([uuid.UUID(int=5).bytes], pa.binary(16)), uuid.UUID(int=5).hex),
        (pa.array([uuid.UUID(int=5).bytes], pa.binary()), uuid.UUID(int=5).hex),
        (pa.array([b"doc-5"], pa.binary()), "doc-5"),
        (pa.array([Decimal("5.00")], pa.decimal128(20, 2)), "5"),
        (pa.array([5.0]), "5"),
        (pa.array([2**64 - 1], pa.uint64()), str(2**64 - 1)),
        (pa.array(["five"]).dictionary_encode(), "five"),
    ],
)
def test_ids_of_every_type_are_exact_text(read, column, first):
    table = pa.Table.from_arrays([pa.array(["a"]), column], ["text", "id"])
    assert ids(read(table, columns=WITH_ID)) == [first]
    assert ids(read(table)) == [first]


@pytest.mark.parametrize("kind", [pa.timestamp("us"), pa.date32(), pa.bool_(), pa.list_(pa.int64())])
def test_a_column_without_exact_text_is_refused_as_ids(tmp_path, kind):
    with pytest.raises(InputError, match=r"a\.parquet: column 'id' contains .*--id-column"):
        refuse_id_type(kind, column="id", path="a.parquet")


def test_rows_whose_id_is_none_are_rejects_only_where_the_column_was_named(read):
    columns = {"text": ["a", "b"], "id": pa.array([True, None])}
    assert ids(read(columns, columns=WITH_ID))[0] == "id_not_text"
    assert [len(found) for found in ids(read(columns))] == [32, 32]


def test_two_columns_of_one_name_cost_the_file_only_where_they_are_read(read):
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array([1]), pa.array([2])], ["text", "id", "id"])
    [document] = read(twice)
    assert (document.text, len(document.id)) == ("a", 32)
    assert ids(read(twice, columns=WITH_ID)) == ["ambiguous_columns"]
    assert ids(read(twice.rename_columns(["text", "text", "id"]))) == ["ambiguous_columns"]


def test_times_beyond_what_python_knows_cost_nothing_but_their_value(read):
    far = pa.array([0, 2**62], pa.timestamp("us"))
    assert [entry.text for entry in read({"text": ["a", "b"], "when": far})] == ["a", "b"]
    columns = Columns(text="text", id=None, others=("when",))
    assert [entry.text for entry in read({"text": ["a", "b"], "when": far}, columns=columns)] == ["a", "b"]
    assert ids(read({"text": far})) == ["text_not_string", "text_not_string"]


@pytest.mark.parametrize("zone", ["Mars/Phobos", "+99:99", "America", "x" * 5000])
def test_times_of_a_zone_that_is_not_known_cost_nothing_but_their_value(read, zone):
    when = pa.array([0, None], pa.timestamp("us", tz=zone))
    columns = Columns(text="text", id=None, others=("id",))
    for found in (
        read({"text": ["a", "b"], "id": when}),
        read({"text": ["a", "b"], "id": when}, columns=columns),
    ):
        assert [(entry.text, len(entry.id)) for entry in found] == [("a", 32), ("b", 32)]


@pytest.mark.parametrize("footer", ["plain", "encrypted"])
def test_an_encrypted_file_is_refused_and_ends_no_process(tmp_path, footer):
    from pyarrow.parquet import encryption

    class Keys(encryption.KmsClient):
        def wrap_key(self, key_bytes, master_key_identifier):
            return key_bytes.hex()

    settings = encryption.EncryptionConfiguration(
        footer_key="k", column_keys={"k": ["text"]}, plaintext_footer=footer == "plain"
    )
    factory = encryption.CryptoFactory(lambda config: Keys())
    properties = factory.file_encryption_properties(encryption.KmsConnectionConfig(), settings)
    table = pa.table({"text": ["a"], "n": [1]})
    with pq.ParquetWriter(tmp_path / "a.parquet", table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)
    [found] = find_files([str(tmp_path / "a.parquet")]).files
    with pytest.raises(InputError, match=r"a\.parquet is an encrypted Parquet file.*without encryption"):
        inspect_file(found, columns=("text",))


@pytest.mark.parametrize(
    ("column", "most_rows"),
    [
        ("x" * (1 << 18), 255),  # of a quarter of a megabyte each, at most 64 MB
        ([{"role": "user", "content": "x" * (1 << 18)}] * 2, 127),
    ],
)
def test_a_dictionary_of_long_values_is_not_decoded_at_once(tmp_path, column, most_rows):
    table = pa.table({"text": [column] * 500})
    pq.write_table(table, tmp_path / "a.parquet", dictionary_pagesize_limit=1 << 22)
    with (tmp_path / "a.parquet").open("rb") as handle:
        file = open_parquet(handle, "a.parquet")
        most = total = 0
        for rows, _ in batches(file, handle, "a.parquet", columns=["text"], groups=[0]):
            most, total = max(most, rows), total + rows
    assert (most, total) == (most_rows, 500)


def test_what_arrow_raises_is_damage_and_what_a_disk_raises_is_not():
    for error in (KeyError("a"), UnicodeDecodeError("utf-8", b"", 0, 1, "x"), OSError("Corrupt snappy")):
        with pytest.raises(BrokenInputError), damage():
            raise error
    with pytest.raises(BrokenInputError), damage():
        raise pa.ArrowMemoryError(f"malloc of size {1 << 50} failed")
    for error in (
        OSError(5, "Input/output error"),
        MemoryError(),
        pa.ArrowMemoryError("malloc of size 64 failed"),
    ):
        with pytest.raises(type(error)), damage():
            raise error


def test_ids_without_exact_text_are_refused_before_anything_starts(tmp_path):
    pq.write_table(pa.table({"text": ["a"], "day": pa.array([1], pa.date32())}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 damaged PAR1")
    check_id_column([str(tmp_path)], "text")
    with pytest.raises(InputError, match=r"a\.parquet: column 'day' contains date32"):
        check_id_column([str(tmp_path)], "day")
