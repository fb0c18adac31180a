"""How near is a start state that a model tells to the truth? The paper's Fig. 3 at small scale.

    python -m benchmarks.synthetic --data DIR [--work DIR] [--documents N] [--models K]

GPT-NeoX models of several sizes are pre-trained on text of a known domain mix; each writes 3,000
documents in each of five runs from its end-of-text token at temperature 1; the embedded
classifier labels training text and written text alike. Table, figure and samples go to
`benchmarks/results/synthetic/`, the table and the figure also to `docs/assets/`. Everything is a
unit that stays in `--work`: run it again to go on, with the same result.
"""

import argparse
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from benchmarks.provenance import RESULTS, ROOT
from benchmarks.synthetic.base_models import SIZES, Size, train_base_model
from benchmarks.synthetic.results import publish
from benchmarks.synthetic.runs import NUMBERS, curve, drawn_domains, written_domains
from benchmarks.synthetic.text import StudyText, study_text

RUNS = 5
TRAINING_TEXT = "training text"

logger = logging.getLogger(__name__)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the reference data")
    parser.add_argument("--work", type=Path, default=Path("synthetic-study"), help="folder of the units")
    parser.add_argument("--documents", type=int, default=16_000, help="documents of the training text")
    parser.add_argument("--models", type=int, default=len(SIZES), help="how many, the smallest first")
    parser.add_argument("--epochs", type=int, default=1, help="times that a model sees each of them")
    parser.add_argument("--out", type=Path, default=RESULTS / "synthetic", help="folder of the results")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "assets", help="folder for the docs")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    text = study_text(arguments.data, arguments.work, documents=arguments.documents)
    trained: list[dict] = []
    rows = list(_training_text_rows(text))
    for size in SIZES[: arguments.models]:
        for unit in _units(size, text, arguments.work, epochs=arguments.epochs, trained=trained):
            rows += unit
            # what is there so far is a result, with its number of runs
            publish(rows, trained, text=text, work=arguments.work, out=arguments.out, docs=arguments.docs)


def _training_text_rows(text: StudyText) -> Iterator[dict]:
    for seed in range(RUNS):
        domains = drawn_domains(text.counts, seed=seed, documents=max(NUMBERS))
        for row in curve(domains, text.counts):
            yield {"model": TRAINING_TEXT, "weights": 0, "run": seed, **row}


def _units(
    size: Size, text: StudyText, work: Path, *, epochs: int, trained: list[dict]
) -> Iterator[list[dict]]:
    folder = work / "models" / size.name
    trained.append(train_base_model(size, text, folder, epochs=epochs, progress=logger.info))
    for seed in range(RUNS):
        started = time.perf_counter()
        domains = written_domains(
            folder, work / "runs", seed=seed, documents=max(NUMBERS), progress=logger.info
        )
        found = curve(domains, text.counts)
        logger.info(
            "%s, seed %d: KL %s, %.0f s",
            size.name,
            seed,
            ", ".join(f"{row['kl']:.3f}" for row in found),
            time.perf_counter() - started,
        )
        yield [{"model": size.name, "weights": size.weights, "run": seed, **row} for row in found]


if __name__ == "__main__":
    main()
