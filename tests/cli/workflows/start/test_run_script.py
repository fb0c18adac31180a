"""`run.sh` has the commands of README, in order, and stops where one of them does."""

import shlex
import subprocess
from dataclasses import replace

import pytest
from tests.cli.workflows.start.projects import GIVEN, SCRATCH, SIZES, fields, text

from dmix.cli.workflows.start.run_script import more_text, run_script, suffix
from dmix.etl.templates.settings import TextSettings


def script(checkpoint=SCRATCH, *, of=None, reading=None, sizes=SIZES, number=1):
    return run_script(
        of or fields(), sizes, model=checkpoint.name, reading=reading or TextSettings(), number=number
    )


@pytest.fixture
def ran(tmp_path):
    """Exit code and commands of a script, with a dmix that only writes them down; one of these may fail."""

    def run(written, *, ends_in="nothing", code=0):
        (tmp_path / "dmix").write_text(
            '#!/usr/bin/env bash\n{ printf "%q " "$@"; echo "@$DMIX_WAREHOUSE"; } >> '
            f'"$0.log"\n[[ "$*" == *{ends_in}* ]] && exit {code}\nexit 0\n'
        )
        (tmp_path / "dmix").chmod(0o755)
        (tmp_path / "run.sh").write_text(written)
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        done = subprocess.run(["bash", str(tmp_path / "run.sh")], env=environment, check=False)
        log = (tmp_path / "dmix.log").read_text()
        return done.returncode, [shlex.split(line) for line in log.splitlines()]

    return run


def test_a_script_runs_each_command_once_with_the_same_settings(ran):
    code, commands = ran(script())
    assert code == 0
    assert [command[:2] for command in commands[:3]] == [
        ["etl", "classify"],
        ["etl", "shard"],
        ["train", "base"],
    ]
    trained = [command for command in commands if command[:2] == ["train", "--run"]]
    assert [command[2:5] for command in trained] == [
        ["natural", "--controller", "natural"],
        ["planned", "--agent", "dmix-base"],
    ]
    assert trained[0][5:] == trained[1][5:]
    judged = [command[1:3] for command in commands if command[0] == "eval"]
    assert judged == [["--run", "natural"], ["--run", "planned"]]
    assert commands[-1] == ["report", "--out", "report.html", "@warehouse"] and len(commands) == 10


def test_a_script_ends_where_a_command_does(ran):
    # 130 is the exit code after Ctrl-C
    code, commands = ran(script(GIVEN), ends_in="natural", code=130)
    assert code == 130 and commands[-1][:3] == ["train", "--run", "natural"]


def test_sizes_are_fixed_only_where_a_run_reads_a_part_of_the_text():
    part, whole = script(), script(sizes=replace(SIZES, steps=16, reads_all=True))
    assert "--steps 4 --samples-per-step 16" in part and "--samples 64" in part
    assert "--steps" not in whole and "--samples" not in whole
    assert "time unknown" in script(sizes=replace(SIZES, tokens_per_second=None))


def test_later_sizes_have_files_of_their_own():
    assert (suffix(1), suffix(2)) == ("", "-2")
    later = script(number=2)
    assert all(name in later for name in ("=warehouse-2\n", "--out mixture-2.yaml", "--out report-2.html"))


def test_paths_are_quoted():
    assert "--model 'org/a model'" in script(GIVEN) and "--tokenizer 'org/a model'" in script(GIVEN)
    assert "--model base " in script() and "--tokenizer embedded" in script()


def test_inputs_are_quoted_in_one_command_unless_one_field_was_copied():
    reading = TextSettings(text_column="body")
    (command,) = [line for line in script(reading=reading).splitlines() if "etl classify" in line]
    assert "--source '/data/a b.jsonl' --target '/data/a b.jsonl'" in command and "body" in command
    copied = script(of=fields(source=text(copied=True)), reading=reading).splitlines()
    first, second = [line for line in copied if "etl classify" in line]
    assert "--source" in first and "body" not in first and "--target" in second and "body" in second


def test_text_in_other_columns_is_proposed_in_one_flag():
    assert more_text(fields(), TextSettings()) == ""
    both = fields(target=text(other_columns=(("body",), ("content",), ("messages",), ("other",))))
    assert more_text(both, TextSettings()).endswith("with --template chat,first:text,body,content")
    assert more_text(both, TextSettings(template="chat")).endswith("with --template chat,first:body,content")
    assert more_text(both, TextSettings(template="{a}")) == ""
    assert more_text(fields(target=text(other_columns=(("other",),))), TextSettings()) == ""
