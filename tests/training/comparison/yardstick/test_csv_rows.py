"""Tables as CSV: names first, floats to five decimals, everything else as it is."""

from dataclasses import dataclass

from dmix.training.comparison.yardstick.csv_rows import csv_rows


@dataclass
class Row:
    name: str
    value: float
    count: int
    admitted: bool


def test_a_line_for_each_row_below_the_names():
    rows = [Row("a,b", 1 / 3, 12, True), Row("c", 2.0, 0, False)]
    assert csv_rows(rows) == 'name,value,count,admitted\n"a,b",0.33333,12,True\nc,2.0,0,False\n'
