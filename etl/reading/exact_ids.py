"""Ids as text that says exactly what was stored.

pandas makes 1.0 of whole numbers with a gap, databases write UUIDs as sixteen bytes and keys as
decimals, JSON has whole numbers of any length. None of them may become the hash of a place, or
lose a digit, without a word.
"""

import json
import math
from decimal import Decimal, InvalidOperation

import numpy as np


class Digits(str):
    """A JSON number, spelt as in the file."""

    __slots__ = ()


def id_of_number(value: object) -> object:
    """The text of a number without what says nothing (5.0 and 5.00 are 5); NaN and infinity are none.

    Text comes back as it is, and so does what is no number.
    """
    if isinstance(value, Digits):
        return _of_digits(value)
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, np.floating):
        value = float(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, Decimal):
        return _plain(value) if value.is_finite() else None
    return value


def id_of_bytes(value: bytes) -> str:
    """Text that is stored as bytes; hexadecimal digits of what is no UTF-8 or has control characters."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return value.hex()
    return value.hex() if any(char < " " or "\x7f" <= char <= "\x9f" for char in text) else text


def digits_of(line: bytes, column: str) -> object:
    """The value of a column of a JSON object, numbers spelt as in the file.

    Args:
        line: An object that JSON's own parser takes.
        column: The column.
    """
    try:
        record = json.loads(
            line.decode("utf-8", "surrogateescape").removeprefix("\ufeff"),
            parse_int=Digits,
            parse_float=Digits,
            parse_constant=lambda name: None,
        )
    except (ValueError, RecursionError):
        return None
    return record.get(column) if isinstance(record, dict) else None


def _of_digits(text: str) -> str:
    try:
        value = Decimal(text)
    except InvalidOperation:
        return str(text)
    # an exponent could stand for gigabytes of zeros
    return _plain(value) if abs(value.adjusted()) <= 400 else str(text)


def _plain(value: Decimal) -> str:
    text = f"{value:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
