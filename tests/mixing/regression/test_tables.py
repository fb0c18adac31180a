"""Tables of runs: what is read, and what is refused with which message."""

import numpy as np
import pytest
from tests.mixing.regression.known_tables import DOMAINS, LOSSES, known_tables, write

from dmix.mixing.regression.tables import load_tables
from dmix.warehouse_schema.errors import InputError, NotFoundError

folder = pytest.fixture(known_tables)


def test_tables_come_by_size_with_columns_in_one_order(folder):
    mixtures = load_tables(folder)[1][0].mixtures_RN
    write(folder / "test_mixture_1m.csv", DOMAINS[::-1], mixtures[:, ::-1])
    train, tests = load_tables(folder)
    assert (train.size, train.domains, train.losses) == ("1m", DOMAINS, LOSSES)
    assert [test.size for test in tests] == ["1m", "60m", "1B"]
    assert np.array_equal(tests[0].mixtures_RN, mixtures)


@pytest.mark.parametrize(
    ("file", "content", "error", "message"),
    [
        ("train_pile_loss_1m.csv", None, NotFoundError, "train_pile_loss_1m.csv does not exist"),
        ("test_pile_loss_60m.csv", None, NotFoundError, "test_pile_loss_60m.csv does not exist"),
        ("train_mixture_9m.csv", "index,a\n1,1\n", InputError, r"2 training tables \(1m, 9m\), expected one"),
        ("test_mixture_1m.csv", "index\n1\n", InputError, "has the columns index, expected 'index' and one"),
        ("test_mixture_1m.csv", "a,b\n1,0\n", InputError, "has the columns a, b, expected 'index'"),
        ("test_mixture_1m.csv", "index,train_a\n", InputError, "has no runs"),
        (
            "test_mixture_1m.csv",
            "index,train_a\n1,x\n",
            InputError,
            "line 2: train_a is 'x', expected a finite",
        ),
        ("test_mixture_1m.csv", "index,train_a,b\n1,1\n", InputError, "line 2: b is None, expected a finite"),
        ("test_mixture_1m.csv", "index,train_a\n7,1\n", InputError, "contain different runs"),
        ("train_mixture_1m.csv", "index,a\n1,0.4\n", InputError, "different runs"),
    ],
)
def test_damaged_tables_are_refused(folder, file, content, error, message):
    (folder / file).unlink(missing_ok=True)
    if content is not None:
        (folder / file).write_text(content)
    with pytest.raises(error, match=message):
        load_tables(folder)


def test_rows_that_are_no_mixture_are_refused(folder):
    write(folder / "test_mixture_1m.csv", DOMAINS, np.full((30, 3), 0.2))
    with pytest.raises(InputError, match=r"run 1 is not a mixture \(sum 0.600\)"):
        load_tables(folder)


def test_test_tables_with_other_columns_are_refused(folder):
    mixtures = load_tables(folder)[1][0].mixtures_RN
    write(folder / "test_mixture_1m.csv", ("train_a", "train_b", "train_z"), mixtures)
    with pytest.raises(InputError, match=r"other mixture columns \(train_c, train_z\)"):
        load_tables(folder)


def test_missing_folder_and_missing_tests(folder):
    with pytest.raises(NotFoundError, match="does not exist; give --data"):
        load_tables(folder / "none")
    for file in folder.glob("test_*"):
        file.unlink()
    with pytest.raises(NotFoundError, match="no test table"):
        load_tables(folder)
