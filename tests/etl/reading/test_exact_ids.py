from decimal import Decimal

import pytest

from dmix.etl.reading.documents import document_id
from dmix.etl.reading.exact_ids import digits_of, id_of_bytes, id_of_number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        (5.0, "5"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1e20, "100000000000000000000"),
        (2**64 + 1, "18446744073709551617"),
        (Decimal("5.00"), "5"),
        (Decimal("5.10"), "5.1"),
        (Decimal("100"), "100"),
        (Decimal("1E+3"), "1000"),
        (float("nan"), None),
        (float("inf"), None),
        ("5.0", "5.0"),
        (None, None),
    ],
)
def test_numbers_become_exact_text(value, text):
    assert id_of_number(value) == text


def test_bytes_are_text_or_hexadecimal_digits():
    assert id_of_bytes("añb".encode()) == "añb"
    assert id_of_bytes(bytes(15) + b"\x05") == "00" * 15 + "05"
    assert id_of_bytes(b"\xff\xfe") == "fffe"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b'{"id": 123456789012345678901234567890}', "123456789012345678901234567890"),
        (b'{"id": 5.0}', "5"),
        (b'{"id": 0.10000000000000000000001}', "0.10000000000000000000001"),
        (b'{"id": 1e3}', "1000"),
        (b'{"id": 1e999999999}', "1e999999999"),
        (b'{"id": NaN}', None),
    ],
)
def test_numbers_of_json_keep_every_digit(line, text):
    assert id_of_number(digits_of(line, "id")) == text


@pytest.mark.parametrize("value", [None, True, [], {}, "", "\ud800"])
def test_what_is_no_id_is_the_hash_of_the_place(value):
    assert len(document_id(value, "a.jsonl", 3)) == 32
    assert document_id(value, "a.jsonl", 3) == document_id(None, "a.jsonl", 3)
