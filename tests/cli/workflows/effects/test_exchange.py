"""Tables of scores that somebody's own trainer gave."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dmix.cli.workflows.effects.exchange import read_scores
from dmix.warehouse_schema.errors import InputError, NotFoundError

SCORES = {("probe-1", "math"): -1.5, ("probe-1", "chat"): 2.0}
ROWS = [{"probe": p, "objective": o, "score": score} for (p, o), score in SCORES.items()]


def csv(*lines):
    return "\n".join(["probe,objective,score", *lines, ""])


def test_the_same_scores_are_read_from_each_form(tmp_path):
    (tmp_path / "s.csv").write_text("\ufeff" + csv("probe-1,math,-1.5", "probe-1,chat,2"), encoding="utf-8")
    (tmp_path / "s.jsonl").write_text("\n\n".join(map(json.dumps, ROWS)))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "s.parquet")
    for name in ("s.csv", "s.jsonl", "s.parquet"):
        assert read_scores(tmp_path / name) == SCORES


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        (["probe-1,math,"], "row 1"),
        (["probe-1,math,1", "probe-1,math,2"], "row 2: probe-1 on math comes twice"),
        (["probe-1,math,nan"], "score nan"),
        (["probe-1,math,high"], "row 1"),
    ],
)
def test_a_row_that_has_not_one_finite_score_is_named(tmp_path, lines, match):
    (tmp_path / "s.csv").write_text(csv(*lines))
    with pytest.raises(InputError, match=match):
        read_scores(tmp_path / "s.csv")


def test_a_missing_column_other_endings_and_damage_are_refused(tmp_path):
    (tmp_path / "s.csv").write_text("probe,score\np,1\n")
    (tmp_path / "s.txt").write_text(csv())
    (tmp_path / "s.jsonl").write_text("{")
    (tmp_path / "s.parquet").write_text("no")
    for name in ("s.csv", "s.txt", "s.jsonl", "s.parquet"):
        with pytest.raises(InputError, match=name):
            read_scores(tmp_path / name)
    with pytest.raises(NotFoundError):
        read_scores(tmp_path / "none.csv")


@pytest.mark.parametrize(
    "content",
    [
        b"probe,objective,score\np,\0,1\n",
        b"probe,objective,score\n" + b"p" * 200_000 + b",o,1\n",
        b"probe,objective,score\np,caf\xe9,1\n",
        b'{"probe": "p", "objective": "\\ud800", "score": 1}',
        b'{"probe": "p", "objective": "o", "score": %d}' % 10**400,
        b"[" * 100_000,
    ],
    ids=["zero byte", "long field", "latin-1", "half a pair", "huge", "deep"],
)
def test_what_no_table_may_hold_is_one_sentence(tmp_path, content):
    path = tmp_path / ("s.csv" if content.startswith(b"probe") else "s.jsonl")
    path.write_bytes(content)
    with pytest.raises(InputError, match=path.name):
        read_scores(path)


def test_a_table_that_excel_saved_as_unicode_text_is_read(tmp_path):
    (tmp_path / "s.csv").write_text(csv("probe-1,math,-1.5", "probe-1,chat,2"), encoding="utf-16")
    assert read_scores(tmp_path / "s.csv") == SCORES
