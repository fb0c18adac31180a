"""Pages of Parquet files that ask for much more memory than they are stored in."""

import io
import resource

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dmix.etl.publishing.rejects import Reject
from dmix.etl.reading import parquet, parquet_pages
from dmix.etl.reading.blocks import BrokenInputError
from dmix.etl.reading.documents import Columns
from dmix.etl.reading.inspection import inspect_file
from dmix.etl.reading.parquet_pages import Page, check_page, pages
from dmix.etl.reading.records import read_documents
from dmix.etl.reading.sources import find_files
from dmix.etl.spark.in_child import in_child
from dmix.etl.spark.tasks import Meter

LISTS = {"repeated": True}
FLAT = {"repeated": False}


def written(columns, **options):
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, **options)
    return buffer


def read(path):
    source = inspect_file(find_files([str(path)]).files[0], columns=("text",))
    columns = Columns(text="text", id=None, others=())
    return list(read_documents(source, columns=columns, max_document_bytes=1 << 24, meter=Meter(None)))


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False])
@pytest.mark.parametrize("codec", ["zstd", "none", "snappy"])
def test_headers_say_what_the_footer_says(version, dictionary, codec):
    texts = [f"text {number}" for number in range(5000)]
    buffer = written(
        {"text": texts},
        data_page_version=version,
        use_dictionary=dictionary,
        compression=codec,
        data_page_size=4096,
    )
    column = pq.ParquetFile(buffer).metadata.row_group(0).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    found = list(pages(buffer, start, column.total_compressed_size, values=column.num_values))
    assert len(found) >= 3
    assert [page.dictionary for page in found] == [dictionary] + [False] * (len(found) - 1)
    assert sum(page.values for page in found if not page.dictionary) == len(texts)
    assert sum(page.stored_bytes for page in found) < column.total_compressed_size
    headers = column.total_compressed_size - sum(page.stored_bytes for page in found)
    assert sum(page.decoded_bytes for page in found) + headers == column.total_uncompressed_size


def test_a_long_header_is_read_whole():
    buffer = written({"text": ["x" * 3000]}, use_dictionary=False, write_page_index=False)
    column = pq.ParquetFile(buffer).metadata.row_group(0).column(0)
    (page,) = pages(buffer, column.data_page_offset, column.total_compressed_size, values=column.num_values)
    assert page.decoded_bytes >= 3000 and page.values == 1


@pytest.mark.parametrize("content", [b"", b"\x15", b"\xff" * 40, b"\x1c" * 40, b"\x15" + b"\xff" * 20, b"\0"])
def test_what_is_no_header_is_damage(content):
    with pytest.raises(BrokenInputError):
        list(pages(io.BytesIO(content), 0, 10, values=1))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", [1, 2, 3, 5, 8, 9, 12])
def test_a_list_that_claims_very_many_elements_ends_with_the_header(kind):
    # field 1 is a list of 2^62 elements of that kind; true and false must not be free of bytes
    content = b"\x19" + bytes([0xF0 | kind]) + b"\xff" * 8 + b"\x3f" + b"\0" * 64
    with pytest.raises(BrokenInputError):
        list(pages(io.BytesIO(content), 0, 200, values=1))


@pytest.mark.parametrize(("start", "stored_bytes"), [(-4, 10), (4, -10), (1 << 62, 10), (1 << 70, 10)])
def test_a_chunk_outside_of_the_file_is_damage(start, stored_bytes, tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    with (tmp_path / "a").open("rb", buffering=0) as handle, pytest.raises(BrokenInputError):
        list(pages(handle, start, stored_bytes, values=1))


def test_a_row_group_without_rows_is_none(tmp_path):
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "a.parquet")
    assert pq.read_metadata(tmp_path / "a.parquet").num_row_groups == 1
    assert read(tmp_path / "a.parquet") == []


def test_pages_behind_the_last_value_are_not_looked_at():
    buffer = written({"text": ["a", "b"]}, use_dictionary=False)
    column = pq.ParquetFile(buffer).metadata.row_group(0).column(0)
    assert len(list(pages(buffer, column.data_page_offset, 1 << 40, values=2))) == 1
    assert list(pages(buffer, column.data_page_offset, 1 << 40, values=0)) == []


def test_a_page_may_be_large_where_it_is_stored_large():
    check_page(Page(decoded_bytes=64 << 20, stored_bytes=10, values=1), **FLAT)
    check_page(Page(decoded_bytes=2 << 30, stored_bytes=30 << 20, values=1), **FLAT)
    check_page(Page(decoded_bytes=10, stored_bytes=10, values=1 << 30), **FLAT)  # nulls, read in batches
    with pytest.raises(BrokenInputError, match="a page of 10 bytes claims 67,108,865"):
        check_page(Page(decoded_bytes=(64 << 20) + 1, stored_bytes=10, values=1), **FLAT)
    with pytest.raises(BrokenInputError, match="a page of lists claims 1,073,741,824 values"):
        check_page(Page(decoded_bytes=10, stored_bytes=10, values=1 << 30), **LISTS)


def test_a_page_that_inflates_to_much_more_is_one_reject_and_takes_no_memory(tmp_path):
    def make():
        table = pa.table({"text": ["first", "\0" * (128 << 20)]})
        pq.write_table(
            table, tmp_path / "a.parquet", compression="zstd", use_dictionary=False, row_group_size=1
        )

    def peak():
        resource.setrlimit(resource.RLIMIT_AS, (_address_space() + (80 << 20),) * 2)
        return [
            (type(entry).__name__, getattr(entry, "reason", "")) for entry in read(tmp_path / "a.parquet")
        ]

    assert in_child(make).error is None
    assert (tmp_path / "a.parquet").stat().st_size < 100_000
    found = in_child(peak)
    assert found.value == [("Document", ""), ("Reject", "damaged_input")], found


def test_values_that_share_a_long_prefix_are_decoded_a_few_at_a_time(tmp_path, monkeypatch):
    texts = ["x" * (1 << 16) + str(number) for number in range(100)]
    pq.write_table(
        pa.table({"text": texts}),
        tmp_path / "a.parquet",
        use_dictionary=False,
        column_encoding={"text": "DELTA_BYTE_ARRAY"},
    )
    assert (tmp_path / "a.parquet").stat().st_size < 200_000
    monkeypatch.setattr(parquet, "_DECODED_BYTES", 1 << 20)
    with (tmp_path / "a.parquet").open("rb") as handle:
        file = parquet.open_parquet(handle, "a.parquet")
        counts = [
            rows for rows, _ in parquet.batches(file, handle, "a.parquet", columns=["text"], groups=[0])
        ]
    assert sum(counts) == 100 and max(counts) <= 16
    assert [entry.text for entry in read(tmp_path / "a.parquet")] == texts


def test_lists_of_very_many_values_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_pages, "MOST_VALUES", 50)
    pq.write_table(pa.table({"text": [[None] * 100]}), tmp_path / "a.parquet")
    (reject,) = read(tmp_path / "a.parquet")
    assert isinstance(reject, Reject) and reject.reason == "damaged_input"


def _address_space():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
