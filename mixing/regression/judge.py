"""How well a regressor ranks runs that it has not seen (RegMix, arXiv 2407.01492).

Judged by Spearman's rank correlation for each loss, since larger models have other losses in the
same order; by squared error too where the models have the size of the training runs.
Shapes: R runs, V losses.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from dmix.mixing.regression.regressors import regressor
from dmix.mixing.regression.tables import RunTable
from dmix.mixing.space.domains import Array
from dmix.warehouse_schema.sizes import num_text


def judge(
    name: str, *, train: RunTable, tests: Sequence[RunTable], progress: Callable[[str], None]
) -> dict[str, Any]:
    """Fits a regressor on the training runs and judges it on each test table.

    Args:
        name: Of the regressor.
        train: All that the fit sees.
        tests: Tables with the same columns.
        progress: Gets a line for the fit and one a table.

    Returns:
        Plain values: `fit` (runs, seconds, processor seconds) and, by size under `tests`, runs,
        `mean_spearman` and `spearman` by loss (both times 100), `squared_error` by loss or None.

    Raises:
        InputError: If there is no such regressor.
    """
    fit = regressor(name)
    began, worked = time.perf_counter(), time.process_time()
    fitted = fit(train.mixtures_RN, train.values_RV)
    seconds = {
        "seconds": round(time.perf_counter() - began, 2),
        "processor_seconds": round(time.process_time() - worked, 2),
    }
    runs = num_text(len(train.values_RV), "run")
    progress(f"{name}: fitted on {runs} of {train.size} in {seconds['seconds']:.1f} s")
    judged = {}
    for test in tests:
        began = time.perf_counter()
        predicted_RV = fitted.predict(test.mixtures_RN)
        spearman_V = rank_correlation(predicted_RV, test.values_RV)
        judged[test.size] = {
            "runs": len(test.values_RV),
            "mean_spearman": float(spearman_V.mean()),
            "spearman": dict(zip(test.losses, spearman_V.tolist(), strict=True)),
            "squared_error": _squared_error(predicted_RV, test) if test.size == train.size else None,
            "seconds": round(time.perf_counter() - began, 3),
        }
        progress(f"{name}: {test.size}: mean Spearman {judged[test.size]['mean_spearman']:.2f}")
    return {"fit": {"runs": len(train.values_RV), "size": train.size, **seconds}, "tests": judged}


def rank_correlation(predicted_RV: Array, found_RV: Array) -> Array:
    """Spearman's correlation times 100 by column; 0 where a column has one value alone."""
    pairs = zip(predicted_RV.T, found_RV.T, strict=True)
    return np.array(
        [
            100.0 * float(spearmanr(predicted_R, found_R).statistic)
            if np.ptp(predicted_R) > 0 and np.ptp(found_R) > 0
            else 0.0
            for predicted_R, found_R in pairs
        ]
    )


def _squared_error(predicted_RV: Array, test: RunTable) -> dict[str, float]:
    error_V = ((predicted_RV - test.values_RV) ** 2).mean(0)
    return dict(zip(test.losses, error_V.tolist(), strict=True))
