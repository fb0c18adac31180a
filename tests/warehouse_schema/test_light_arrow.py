"""What keeps imports out gives the same arrays and answers as what it stands in for."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from dmix.warehouse_schema.light_arrow import array_of, compute


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.uint8])
def test_numbers_become_the_array_that_arrow_makes(dtype):
    for numbers in (np.arange(5).astype(dtype), np.empty(0, dtype), np.arange(9).astype(dtype)[::2]):
        assert array_of(numbers).equals(pa.array(numbers))


def test_a_function_of_arrow_is_found_by_its_name():
    assert compute("sum", pa.array([1, 2, 4])).as_py() == 7


def test_neither_brings_masked_arrays_nor_the_wrappers_of_all_functions():
    code = (
        "import sys, numpy as np;"
        "from dmix.warehouse_schema.light_arrow import array_of, compute, keep_pandas_out;"
        "keep_pandas_out(); compute('sum', array_of(np.arange(3)));"
        "print([name for name in ('numpy.ma', 'pyarrow.compute', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
