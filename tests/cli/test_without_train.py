"""ETL, SQL and catalog do without the packages of the extra `train`; other commands name it."""

import configparser
import json
import subprocess
import sys
from pathlib import Path

from dmix.cli.main import OF_TRAIN

WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, fullname, path, target=None):
        if fullname.partition(".")[0] in {missing}:
            raise ModuleNotFoundError(f"No module named {{fullname!r}}", name=fullname)

sys.meta_path.insert(0, Missing())
from dmix.cli.main import run
for arguments in {commands}:
    print(run(arguments), flush=True)
"""


def codes(*commands):
    """Exit codes of commands in a process without those packages, and what they said."""
    code = WITHOUT.format(missing=set(OF_TRAIN), commands=list(commands))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return [int(line) for line in done.stdout.splitlines() if line.isdigit()], done.stderr


def test_etl_sql_and_catalog_run_without_the_extra(tmp_path):
    for field in ("source", "target"):
        lines = (json.dumps({"text": f"the court ruled on case {i} of {field}"}) + "\n" for i in range(50))
        (tmp_path / f"{field}.jsonl").write_text("".join(lines))
    of = ["--warehouse", str(tmp_path / "w")]
    inputs = [part for f in ("source", "target") for part in (f"--{f}", str(tmp_path / f"{f}.jsonl"))]
    found, said = codes(
        ["etl", "classify", *inputs, *of],
        ["etl", "duplicates", *of],
        ["etl", "shard", "--seq-len", "16", *of],
        ["etl", "verify", *of],
        ["sql", "select count(*) as n from domain_tokens", "--format", "jsonl", *of],
        ["catalog", "rebuild", *of],
    )
    assert found == [0, 0, 0, 0, 0, 0], said


def test_other_commands_name_the_extra(tmp_path):
    (tmp_path / "w").mkdir()
    found, said = codes(["report", "--out", str(tmp_path / "r.html"), "--warehouse", str(tmp_path / "w")])
    assert found == [1]
    assert "pip install 'dmix[train]'" in said


def test_the_list_is_that_of_the_extra():
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[2] / "setup.cfg")
    named = {line.split()[0] for line in setup["options.extras_require"]["train"].split("\n") if line}
    imported = {"mosaicml": "composer", "mosaicml-streaming": "streaming"}
    assert {imported.get(name, name) for name in named} == OF_TRAIN
