"""The studies of the comparison, from stored rows; nothing is trained.

    python -m benchmarks.studies [--only NAME] [--settings FOLDER] [--results FOLDER] [--out FOLDER]

Four studies: failure-signatures, overfitting, order, fidelity. Each writes a page and CSV files.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.provenance import RESULTS, ROOT
from benchmarks.studies import pages
from benchmarks.studies.ended import EITHER, UTILITY, ended_runs
from benchmarks.studies.fidelity import all_agreements, real_model_effects, stored_effects, summaries
from benchmarks.studies.order import order_rows, pairs_rows
from benchmarks.studies.overfitting import class_rows, gaps, reader_rows
from benchmarks.studies.rows import StudySetting, first_rounds, third_round
from benchmarks.studies.signatures import alarm_rows, bad_by_controller, carried_rows

from dmix.training.comparison.yardstick.csv_rows import csv_rows
from dmix.warehouse_schema.files.layout import publish_bytes

FIDELITY_SETTINGS = ("math", "code", "mixed")
AQUA = "aqua"


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a study publishes.

    Attributes:
        title: Of its section in the list of studies.
        answer: In a few sentences.
        page: The whole page.
        tables: CSV rows by the ending of the file's name; the first has none.
    """

    title: str
    answer: str
    page: str
    tables: dict[str, Sequence[Any]]


@dataclass(frozen=True)
class Sources:
    """Where the rows are.

    Attributes:
        settings: Folder of setting files.
        results: Folder of all results.
    """

    settings: Path
    results: Path

    @property
    def third(self) -> Path:
        """Results of the third round."""
        return self.results / "quality" / "round-3"

    @cached_property
    def first_rounds(self) -> list[StudySetting]:
        """Settings of the first two rounds."""
        return first_rounds(self.results / "quality")

    @cached_property
    def all(self) -> list[StudySetting]:
        """Settings of all rounds."""
        return [*self.first_rounds, *third_round(self.settings, self.third)]


def signatures(sources: Sources) -> Study:
    """Failure signatures."""
    worlds = sources.settings / "worlds"
    found, left = ended_runs(sources.all, worlds=worlds, results=sources.third / "worlds")
    rows = alarm_rows(found)
    carried = [row for end in (UTILITY, EITHER) for row in carried_rows(found, end=end)]
    return Study(
        title="Failure signatures",
        answer=pages.signatures_answer(rows),
        page=pages.signatures_page(rows, carried, bad_by_controller(found), left),
        tables={"": rows, "-carried": carried},
    )


def overfitting(sources: Sources) -> Study:
    """Reward over-fitting."""
    found, _ = gaps(sources.all)
    classes, readers = class_rows(found), reader_rows(found)
    with_aqua = [setting for setting in sources.all if AQUA in setting.objectives]
    rest, _ = gaps(with_aqua, without=AQUA)
    name = f"without {AQUA}"
    less = reader_rows(rest, objectives=name)
    return Study(
        title="Reward over-fitting",
        answer=pages.overfitting_answer(readers),
        page=pages.overfitting_page(classes, readers, without=less),
        tables={"": [*readers, *less], "-classes": [*classes, *class_rows(rest, objectives=name)]},
    )


def order(sources: Sources) -> Study:
    """Order."""
    rows, pairs = order_rows(sources.first_rounds), pairs_rows(sources.first_rounds)
    return Study(
        title="Order",
        answer=pages.order_answer(rows),
        page=pages.order_page(rows, pairs),
        tables={"": rows, "-pairs": pairs},
    )


def fidelity(sources: Sources) -> Study:
    """Fidelity."""
    small = [
        effects
        for name in FIDELITY_SETTINGS
        for effects in stored_effects(name, sources.settings, sources.third)
    ]
    large = real_model_effects(sources.results / "real-model" / "table.jsonl")
    rows = all_agreements(small, large)
    found = summaries(rows)
    return Study(
        title="Fidelity",
        answer=pages.fidelity_answer(found),
        page=pages.fidelity_page(found, rows, small),
        tables={"": rows, "-summary": found},
    )


STUDIES = {
    "failure-signatures": signatures,
    "overfitting": overfitting,
    "order": order,
    "fidelity": fidelity,
}


def publish(name: str, study: Study, out: Path) -> None:
    """Writes the page and the CSV files of a study."""
    publish_bytes(out / f"{name}.md", study.page.encode())
    for ending, rows in study.tables.items():
        if rows:
            publish_bytes(out / f"{name}{ending}.csv", csv_rows(rows).encode())


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=STUDIES, help="one study; the list of all is left as it is")
    settings = ROOT / "benchmarks" / "quality"
    parser.add_argument("--settings", type=Path, default=settings, help="folder of setting files")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of all results")
    parser.add_argument("--out", type=Path, help="default: quality/round-3/studies of the results")
    given = parser.parse_args()
    sources = Sources(given.settings, given.results)
    out = given.out or sources.third / "studies"
    answers = {}
    for name in [given.only] if given.only else list(STUDIES):
        study = STUDIES[name](sources)
        publish(name, study, out)
        answers[f"{name}.md"] = (study.title, study.answer)
        print(f"{out / name}.md: {study.answer}\n")
    if not given.only:
        publish_bytes(out / "README.md", pages.index_page(answers).encode())


if __name__ == "__main__":
    main()
