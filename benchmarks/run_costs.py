"""Where the processor time of one run of the comparison goes, and the least that its arithmetic takes.

    python -m benchmarks.run_costs --data DIR [--setting math] [--work DIR] [--results DIR] [--out FILE.json]

Runs natural mixing once, as `dmix bench quality` does, on one thread. Each part is charged its own
processor time, without that of the parts inside it. The floor is the arithmetic of the matrix
products, 6 for each weight and token and 12 * layers * width * length for attention, at the speed at
which this core multiplies matrices of the output layer's shape. Nothing is added to the results: they
are copied, and the run is dropped.
"""

import time

_STARTED = time.process_time()

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import platform  # noqa: E402
import shutil  # noqa: E402
from collections import defaultdict  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import torch  # noqa: E402
from composer import Trainer  # noqa: E402
from composer.algorithms import GradientClipping  # noqa: E402
from composer.optim import DecoupledAdamW  # noqa: E402

from dmix.cli.workflows.data.comparison import prepare_comparison  # noqa: E402
from dmix.mixing.delivery.dataset import MixedDataset  # noqa: E402
from dmix.training.comparison.data.settings import load_setting  # noqa: E402
from dmix.training.comparison.runs.comparison import Request, study_of  # noqa: E402
from dmix.training.comparison.runs.stages import effect_units  # noqa: E402
from dmix.training.comparison.units import run_unit as units  # noqa: E402
from dmix.training.model.language_model import LanguageModel  # noqa: E402
from dmix.training.model.loss import CHUNK_TOKENS, MeanNextTokenLoss  # noqa: E402

IMPORTS = "imports, once a process"
REST = "model, streams, mixtures, events"


class Charge:
    """Processor seconds of parts, each without the parts inside it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inside = [REST]
        self._since = time.process_time()

    def _switch(self) -> None:
        now = time.process_time()
        self.seconds[self._inside[-1]] += now - self._since
        self._since = now

    def around(self, owner: Any, name: str, part: str) -> None:
        """Charges every call of a function to a part."""
        original: Callable[..., Any] = getattr(owner, name)

        def charged(*given: Any, **named: Any) -> Any:
            self._switch()
            self._inside.append(part)
            try:
                return original(*given, **named)
            finally:
                self._switch()
                self._inside.pop()

        setattr(owner, name, staticmethod(charged) if owner is MeanNextTokenLoss else charged)

    def end(self) -> None:
        """Charges what has passed since the last part."""
        self._switch()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--setting", default="math")
    parser.add_argument("--work", type=Path, default=Path("run-costs"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/quality/round-3"))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    imports = time.process_time() - _STARTED
    loaded = load_setting(given.setting)
    copied = given.work / "results"
    if not (copied / loaded.settings.name).is_dir():
        shutil.copytree(given.results / loaded.settings.name, copied / loaded.settings.name)
    request = Request(
        tier="small", stages=("effects",), data=given.data, work=given.work, results=copied, workers=1
    )
    study = study_of(loaded, request, print)
    prepare_comparison(study, master=None)
    unit = next(unit for unit in effect_units(study) if unit.part == "natural")
    charge = Charge()
    for owner, name, part in (
        (MeanNextTokenLoss, "forward", "output layer and loss, forward and backward"),
        (LanguageModel, "forward", "layers, forward"),
        (torch.Tensor, "backward", "layers, backward"),
        (DecoupledAdamW, "step", "optimiser"),
        (GradientClipping, "apply", "clipping of gradients"),
        (MixedDataset, "__getitem__", "reading samples"),
        (units, "_item_rows", "scoring of the end"),
        (Trainer, "fit", "Composer"),
    ):
        charge.around(owner, name, part)
    units.run_unit(unit, study.paths, loaded)
    charge.end()
    network = loaded.model["config"]
    figures = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "load": round(os.getloadavg()[0], 1),
        "tokens": loaded.settings.run_samples * loaded.settings.seq_len,
        "seconds": {IMPORTS: round(imports, 2)}
        | {part: round(spent, 2) for part, spent in charge.seconds.items()},
        "floor_seconds": floor(network, loaded.settings.run_samples, loaded.settings.seq_len),
    }
    print(json.dumps(figures, indent=1))
    if given.out:
        given.out.write_text(json.dumps(figures, indent=1) + "\n")


def floor(network: dict[str, int], samples: int, length: int, vocabulary: int = 8192) -> dict[str, float]:
    """Seconds of the matrix products of training at this core's speed, output layer and layers."""
    hidden, inner, layers = (network[k] for k in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    tokens = samples * length
    outer = 6 * vocabulary * hidden * tokens
    within = (6 * layers * (4 * hidden**2 + 3 * hidden * inner) + 12 * layers * hidden * length) * tokens
    rate = speed(CHUNK_TOKENS, hidden, vocabulary)
    best = speed(2048, 2048, 2048)
    return {
        "gflops_of_large_products": round(best / 1e9, 1),
        "gflops_of_the_output_layer": round(rate / 1e9, 1),
        "output_layer": round(outer / rate, 2),
        "layers": round(within / rate, 2),
        "all_at_the_speed_of_large_products": round((outer + within) / best, 2),
    }


def speed(rows: int, inner: int, columns: int, *, repeats: int = 20) -> float:
    """Operations per second of a matrix product, the best of some."""
    left, right, out = torch.randn(rows, inner), torch.randn(inner, columns), torch.empty(rows, columns)
    least = float("inf")
    for _ in range(repeats):
        started = time.process_time()
        torch.mm(left, right, out=out)
        least = min(least, time.process_time() - started)
    return 2 * rows * inner * columns / least


if __name__ == "__main__":
    main()
