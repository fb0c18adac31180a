"""The ETL benchmark: the functions that it puts clocks around, and its inputs."""

import gzip
import json
import pkgutil

from benchmarks.etl.stages import STAGES
from benchmarks.etl.texts import Texts, files_of


def test_every_stage_has_functions_that_exist():
    for targets in STAGES.values():
        assert all(callable(pkgutil.resolve_name(f"dmix.etl.{target}")) for target in targets)


def test_no_megabytes_are_two_documents(tmp_path):
    for field in ("source", "target_math"):
        folder = tmp_path / "corpora" / field
        folder.mkdir(parents=True)
        with gzip.open(folder / "origin.jsonl.gz", "wt") as file:
            file.write("".join(json.dumps({"text": f"{field} {i}"}) + "\n" for i in range(3)))
    inputs = Texts(tmp_path, tmp_path / "made").of_size(0)
    assert [path.parent.name for path in files_of(inputs)] == ["source", "target"]
    assert sum(path.read_bytes().count(b"\n") for path in files_of(inputs)) == 2
