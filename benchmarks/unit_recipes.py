"""Names of today of the published runs, once named by hashes of weights: `recipes.json` beside each table.

    python -m benchmarks.unit_recipes --data DIR benchmarks/results/quality/small

The data have to be those of the published rounds (`SHA256SUMS` beside them). Nothing is trained.
"""

import argparse
from pathlib import Path

from dmix.training.comparison.data.settings import load_setting
from dmix.training.comparison.data.study_paths import StudyPaths
from dmix.training.comparison.data.tiers import tier_named
from dmix.training.comparison.units.recipes import renamed_units, study_inputs
from dmix.training.comparison.units.store import read_runs
from dmix.training.comparison.units.units import FORMAT
from dmix.warehouse_schema.files.layout import publish_json, read_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", nargs="+", type=Path, help="Folders of results, one a round.")
    parser.add_argument("--data", type=Path, required=True, help="Folder of corpora and items.")
    given = parser.parse_args()
    for folder in given.rounds:
        for facts in sorted(folder.glob("*/setting.json")):
            loaded = load_setting(facts.parent.name)
            if read_json(facts)["digest"] != loaded.digest:
                print(f"{facts.parent}: its setting was changed since, so its runs are no longer of use")
                continue
            paths, inputs = StudyPaths(Path("no-work-folder"), facts.parent), study_inputs(loaded, given.data)
            found = renamed_units(
                read_runs(paths),
                loaded=loaded,
                tier=tier_named(read_json(facts)["tier"]),
                inputs=inputs,
                warehouse=paths.warehouse,
            )
            changed = {old: new for old, new in found.items() if old != new}
            publish_json(paths.recipes, {"format": FORMAT, "inputs": inputs, "units": changed})
            print(f"{facts.parent}: {len(found)} runs")


if __name__ == "__main__":
    main()
