"""`dmix bench quality`: help, a dry run before anything is there, and errors in the user's words."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dmix.cli.main import run

SHIPPED = Path(__file__).parents[3] / "benchmarks" / "quality"


def quality(*arguments, data):
    return run(["bench", "quality", "--data", str(data), "--work", str(data / "work"), *arguments])


def test_a_dry_run_tells_runs_and_tokens_of_both_settings(tmp_path, capsys):
    files = [
        argument for name in ("origin", "field") for argument in ("--setting", str(SHIPPED / f"{name}.yaml"))
    ]
    assert quality(*files, "--results", str(tmp_path / "r"), "--dry-run", "--json", data=tmp_path) == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["setting"] for entry in found["settings"]] == ["origin", "field"]
    stages = {stage["stage"]: stage for stage in found["settings"][0]["stages"]}
    # 16 + 16 draws, 8 runs of natural mixing, 2 x 3 best ones on 4 seeds; 64 trajectories less the draws
    assert {name: stage["planned"] for name, stage in stages.items()} == {
        "headroom": 64,
        "farm": 32,
        "screening": 27,
        "paper": 73,
        "confirmation": 10,
    }
    # R x M x sequence length
    assert stages["farm"]["tokens_left"] == 32 * 160 * 16 * 256
    assert stages["farm"]["core_hours_left"] is None
    assert not list(tmp_path.iterdir())


def test_the_example_of_the_help_works(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(SHIPPED.parents[1])
    example = ["--setting", "origin", "--stage", "headroom", "--hours", "2", "--dry-run"]
    assert quality(*example, "--results", str(tmp_path / "r"), data=tmp_path) == 0
    shown = capsys.readouterr()
    assert "headroom" in shown.out and "nan" not in shown.out.lower()
    assert "unknown" in shown.out and "nothing says how long a run takes" in shown.err


def test_a_dry_run_needs_no_torch(tmp_path):
    line = ["bench", "quality", "--data", str(tmp_path), "--work", str(tmp_path / "work")]
    line += ["--results", str(tmp_path / "r"), "--setting", str(SHIPPED / "origin.yaml"), "--dry-run"]
    heavy = {"composer", "torch", "transformers", "pyspark", "streaming"}
    code = (
        "import sys, dmix.cli.main as m\n"
        f"code = m.run({line!r})\n"
        f"print('found', code, sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "found 0 []"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--setting", "nowhere"), "'nowhere' does not exist"),
        (("--setting", str(SHIPPED / "origin.yaml")), "no file matches"),
    ],
)
def test_what_is_missing_is_named(tmp_path, capsys, arguments, message):
    assert quality(*arguments, "--results", str(tmp_path / "r"), data=tmp_path) in (1, 2)
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_folder_that_is_not_there_is_named(tmp_path, capsys):
    assert quality("--dry-run", data=tmp_path / "missing") == 2
    assert "is not a folder" in capsys.readouterr().err
