"""`unshare -rm python -m tests.etl.full_disk FOLDER`: a job on a disk that is full again and again.

The disk is one of memory, a little larger after each failure. FOLDER/outcome.json then holds the
messages of all failures, and whether the last run left what a run on an ample disk leaves.
"""

import json
import subprocess
import sys
from pathlib import Path

from tests.etl.forked_kills import finish
from tests.etl.killed_job import classify_and_shard
from tests.etl.soak_kills import write_raw

from dmix.warehouse_schema.errors import DmixError
from dmix.warehouse_schema.files.layout import Warehouse

FIRST_KB, STEP_KB = 64, 192


def main():
    folder = Path(sys.argv[1])
    raw, disk, ample = write_raw(folder, large=1_500, small=8), folder / "disk", folder / "ample"
    disk.mkdir()
    mount(disk, FIRST_KB, "size")
    warehouse, failures = Warehouse.at(disk / "warehouse"), []
    while True:
        try:
            classify_and_shard(None, warehouse, raw)
            break
        except DmixError as error:
            failures.append([type(error).__name__, str(error)])
            mount(disk, FIRST_KB + STEP_KB * len(failures), "remount,size")
    mount(disk, 100_000, "remount,size")  # for the catalog
    same = finish(warehouse, raw) == finish(Warehouse.at(ample), raw)
    (folder / "outcome.json").write_text(json.dumps({"failures": failures, "same": same}))


def mount(disk, kilobytes, option):
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"{option}={kilobytes}k", "tmpfs", str(disk)], check=True)


if __name__ == "__main__":
    main()
