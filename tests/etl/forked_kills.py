"""`python -m tests.etl.forked_kills FOLDER`: dies once at each commit step, and ends the job after each.

All runs are forks of this process, which has imported what they need, and do without Spark; so a
step costs less than a second. FOLDER/outcomes.json then says for each step what a reader saw after the
death, and what the second run left.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path

import gigatoken  # noqa: F401 - the engine of tokenizers, which each fork would import anew
from tests.etl.killed_job import STEPS, classify_and_shard
from tests.etl.soak_kills import digests, write_raw

from dmix.etl.maintenance.gc import collect_garbage
from dmix.etl.maintenance.verify import verify_warehouse
from dmix.warehouse_schema.catalog.sync import sync
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.light_arrow import keep_pandas_out


def main():
    folder = Path(sys.argv[1])
    keep_pandas_out()  # as the commands do; each fork would import it anew
    raw = write_raw(folder, large=800, small=8)
    unbroken = told(finish, Warehouse.at(folder / "unbroken"), raw)
    outcomes = {}
    for number, step in enumerate(STEPS):
        warehouse = Warehouse.at(folder / f"killed-{number}")
        killed_by = forked(begin, warehouse, raw, step)
        outcomes[step] = {
            "killed_by": killed_by,
            "problems_after_death": told(problems, warehouse),
            "after_second_run": told(finish, warehouse, raw),
            "unbroken": unbroken,
        }
    (folder / "outcomes.json").write_text(json.dumps(outcomes))


def begin(warehouse, raw, step):
    """The first run, which dies."""

    def die(*_args, **_kwargs):
        os.kill(os.getpid(), signal.SIGKILL)

    classify_and_shard(None, warehouse, raw, step=step, death=die)


def finish(warehouse, raw):
    """A run to the end; what it leaves."""
    manifest = classify_and_shard(None, warehouse, raw)
    sync(warehouse)
    return {
        "digests": digests(warehouse),
        "problems": problems(warehouse),
        "garbage": [str(garbage.path) for garbage in collect_garbage(warehouse, dry_run=True).found],
        "tokens": sum(stream.tokens + stream.tail_tokens for stream in manifest.streams),
    }


def problems(warehouse):
    """What `verify` finds."""
    report = verify_warehouse(warehouse, dataset=None, progress=lambda line: None)
    return [str(problem) for problem in report.problems]


def told(function, warehouse, *more):
    """What a function returns that runs in a fork."""
    path = warehouse.root.with_suffix(".json")

    def tell():
        path.write_text(json.dumps(function(warehouse, *more)))

    assert forked(tell) == 0
    return json.loads(path.read_text())


def forked(function, *arguments):
    """Runs a function in a child; 0, or the signal that ended it, or 1 if it raised."""
    pid = os.fork()
    if pid == 0:
        try:
            function(*arguments)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    return os.WTERMSIG(status) or os.WEXITSTATUS(status)


if __name__ == "__main__":
    main()
