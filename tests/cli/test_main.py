import errno
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from dmix.cli import main as main_module
from dmix.cli.main import COMMANDS, LazyGroup, after_interrupt, run
from dmix.warehouse_schema import errors

HEAVY = {
    "torch",
    "pyspark",
    "streaming",
    "composer",
    "transformers",
    "duckdb",
    "pyarrow",
    "pandas",
    "d3rlpy",
    "numpy",
}


@pytest.fixture
def command_that(monkeypatch):
    """Makes `dmix fail` call the given function."""

    def install(body):
        monkeypatch.setattr(LazyGroup, "get_command", lambda *_: click.Command("fail", callback=body))

    return install


def raising(error):
    def body():
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (errors.DmixError("it broke"), 1, "Error: it broke\n"),
        (errors.InputError("bad value"), 2, "Error: bad value\n"),
        (errors.NotFoundError("no such"), 2, "Error: no such\n"),
        (errors.LockHeldError("held"), 3, "Error: held\n"),
        (errors.VerificationError("differs"), 4, "Error: differs\n"),
        (
            KeyboardInterrupt(),
            130,
            "interrupted; finished parts are kept. To run the command again: dmix fail\n",
        ),
        (click.Abort(), 130, "interrupted; finished parts are kept. To run the command again: dmix fail\n"),
        (SystemExit(130), 130, "interrupted; finished parts are kept. To run the command again: dmix fail\n"),
        (
            RuntimeError("first\nsecond"),
            1,
            "Error: RuntimeError: first\nThis is a defect of dmix. Add --debug",
        ),
        (RuntimeError(), 1, "Error: RuntimeError: no message\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "f"),
            1,
            "Error: cannot write a file: No space left on device (f)",
        ),
    ],
)
def test_errors_become_messages_and_exit_codes(command_that, capsys, error, code, message):
    command_that(raising(error))
    assert run(["fail"]) == code
    captured = capsys.readouterr()
    assert captured.err.lstrip().startswith(message)
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_a_dmix_error_under_another_one_is_what_people_see(command_that, capsys):
    def body():
        try:
            raise errors.StorageError("disk full")
        except errors.StorageError as error:
            raise RuntimeError("job aborted") from error

    command_that(body)
    assert run(["fail"]) == 1
    assert capsys.readouterr().err == "Error: disk full\n"


@pytest.mark.parametrize("arguments", [["--debug", "fail"], ["fail", "--debug"]])
def test_debug_shows_the_traceback_in_any_position(command_that, capsys, arguments):
    command_that(raising(errors.InputError("bad value")))
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert "Traceback (most recent call last)" in captured.err
    assert captured.err.endswith("Error: bad value\n")


def test_exit_codes_that_commands_choose_are_kept(command_that):
    command_that(raising(click.exceptions.Exit(1)))
    assert run(["fail"]) == 1
    command_that(lambda: None)
    assert run(["fail"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["--nonsense"], "No such option"),
        (["sql"], "Missing argument"),
    ],
)
def test_bad_usage_exits_2(capsys, arguments, message):
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_main_exits_with_the_code(command_that):
    command_that(raising(errors.LockHeldError("held")))
    with pytest.raises(SystemExit) as caught:
        main_module.main(["fail"])
    assert caught.value.code == 3


@pytest.mark.parametrize("module", ["dmix", "dmix.cli.main"])
def test_python_m_is_the_command(module):
    done = subprocess.run(
        [sys.executable, "-m", module, "trian"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "dmix train" in done.stderr


_INTERRUPTS = """\
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPT_AT"]:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
from dmix.__main__ import main
main()
"""


@pytest.mark.parametrize("module", ["dmix.cli.main", "click", "dmix.cli.commands.sql", "duckdb"])
def test_an_interrupt_while_modules_are_imported_ends_with_one_word(module, tmp_path):
    (tmp_path / "w").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTS, "sql", "select 1", "--warehouse", str(tmp_path / "w")],
        env={**os.environ, "INTERRUPT_AT": module},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130
    assert done.stderr.lstrip().startswith("interrupted") and "Traceback" not in done.stderr


_INTERRUPTED_TEXT = """\
from dmix.cli import main as command

def run(arguments):
    try:
        exec("raise KeyboardInterrupt")
    except KeyboardInterrupt:
        return 130

command.run = run
command.main([])
"""


def test_an_interrupt_within_a_text_that_python_runs_ends_with_the_code(tmp_path):
    (tmp_path / "interrupted_text.py").write_text(_INTERRUPTED_TEXT)
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-m", "interrupted_text"], env={**os.environ, "PYTHONPATH": path}, check=False
    )
    assert done.returncode == 130


def test_the_package_alone_imports_next_to_nothing():
    code = "import sys; before = set(sys.modules); import dmix; print(*sorted(set(sys.modules) - before))"
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    light = {"dmix", "importlib", "importlib._bootstrap", "importlib._bootstrap_external", "warnings"}
    assert set(done.stdout.split()) <= light


def test_what_a_library_makes_of_an_interrupt_is_an_interrupt(command_that, capsys, monkeypatch):
    monkeypatch.setattr(main_module, "_pressed", [2])
    command_that(raising(ImportError("C extensions failed")))
    assert run(["fail"]) == 130
    assert capsys.readouterr().err.startswith("interrupted")


def test_help_and_version_exit_0(capsys):
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    assert [name for name in COMMANDS if name not in out] == []
    assert run(["--version"]) == 0


def test_help_imports_no_heavy_library_and_is_quick():
    code = (
        "import json, sys, time; from dmix.cli.main import run; code = run(['--help']);"
        "print(json.dumps([code, time.process_time(), list(sys.modules)]), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    exit_code, cpu_seconds, modules = json.loads(done.stderr)
    assert exit_code == 0
    assert HEAVY & set(modules) == set()
    assert cpu_seconds < 0.3


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_has_an_example(name):
    command = main_module.dmix.get_command(click.Context(main_module.dmix), name)
    leaves = command.commands.values() if isinstance(command, click.Group) else [command]
    assert [leaf.name for leaf in leaves if "Example: dmix " not in (leaf.help or "")] == []


def leaves(command=main_module.dmix, words=()):
    if isinstance(command, click.Group):
        names = command.list_commands(click.Context(command))
        for name in names:
            yield from leaves(command.get_command(click.Context(command), name), (*words, name))
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield " ".join(words), command


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_lists_of_commands_cut_no_sentence(name):
    command = main_module.dmix
    if name:
        command = command.get_command(click.Context(command), name)
    shown = command.get_help(click.Context(command, terminal_width=80))
    commands = shown.partition("Commands:")[2]
    assert [line for line in commands.splitlines() if line.endswith("...")] == []


def test_every_command_takes_json_and_a_configuration_file():
    flags = {words: {flag for p in command.params for flag in p.opts} for words, command in leaves()}
    assert len(flags) > 20
    assert [words for words, found in flags.items() if not {"--json", "--config"} <= found] == []


def test_every_command_ends_its_help_with_an_example_that_parses():
    for words, command in leaves():
        example = (command.help or "").strip().splitlines()[-1].strip()
        assert example.startswith(f"Example: dmix {words}"), words
        given = shlex.split(example.removeprefix("Example: dmix "))[len(words.split()) :]
        assert command.make_context("dmix", given) is not None


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("dmix ca", {"catalog"}), ("dmix catalog ", {"export", "rebuild"}), ("dmix sql --form", {"--format"})],
)
def test_shell_completion_knows_commands_and_flags(typed, completed):
    from click.shell_completion import BashComplete

    words = typed.split(" ")
    complete = BashComplete(main_module.dmix, {}, "dmix", "_DMIX_COMPLETE")
    found = {item.value for item in complete.get_completions(words[1:-1], words[-1])}
    assert found == completed


def test_completion_script_names_the_program():
    done = subprocess.run(
        [Path(sys.executable).parent / "dmix"],
        env={**os.environ, "_DMIX_COMPLETE": "zsh_source"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "#compdef dmix" in done.stdout


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["trian"], "Did you mean 'dmix train'?"),
        (["mix", "porbe"], "Did you mean 'dmix mix probe'?"),
        (["catalog", "xyzzy"], "The commands are: "),
        (["sql", "--wearhouse", "x", "select 1"], "--warehouse"),
        (["train", "--run", "a", "--resume", "--back", "1"], "--back takes no value"),
    ],
)
def test_a_slip_gets_a_suggestion(typed, said, capsys):
    assert run(typed) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (["sql", "SELECT 1"], "nothing was changed. To run the command again: dmix sql 'SELECT 1'"),
        (
            ["etl", "verify", "--warehouse", "a b"],
            "nothing was changed. To run the command again: dmix etl verify --warehouse 'a b'",
        ),
        (["etl", "shard"], "finished parts are kept. To run the command again: dmix etl shard"),
        (
            ["agent", "sft", "--set", "f"],
            "no agent was written; the command starts again",
        ),
        (
            ["agent", "rl"],
            "the last saved state of the training is kept. To run the command again: dmix agent rl",
        ),
        (
            ["train", "base", "--name", "b"],
            "the last checkpoint is kept. To run the command again: dmix train base --name b",
        ),
        (["--debug", "train", "--model", "base"], "without --run NAME, the command starts a new run"),
        (["train", "--run", "a"], "the run resumes from its last checkpoint"),
        (["train", "--model=m", "--run=a"], "the run resumes from its last checkpoint"),
        ([], "finished parts are kept"),
    ],
)
def test_after_ctrl_c_the_words_fit_the_command_and_can_be_pasted(arguments, left):
    assert after_interrupt(arguments).startswith(left)


@pytest.mark.parametrize(
    "arguments",
    [
        ["etl", "classify", "--source", "s3://KEY:SE/CRET@b/x", "--target", "b"],
        ["sql", "select 1", "--warehouse", "s3://KEY:SECRET@b/x"],
        ["etl", "verify", "--warehouse", "https://user:SECRET@host/x"],
        ["train", "--model", "https://user:SECRET@host/m", "--controller", "natural"],
        ["etl", "shard", "--tokenizer", "https://SECRET@host/t"],
        ["catalog", "https://user:SECRET@host/x"],
    ],
)
def test_no_message_repeats_credentials(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    shown = capsys.readouterr()
    assert shown.err and "SECRET" not in shown.err + shown.out and "CRET" not in shown.err + shown.out
    assert not any(b"CRET" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_an_interrupted_run_is_no_error(monkeypatch, capsys):
    def stopped(*_, **__):
        raise errors.InterruptedRunError("run a stopped after 3 of 4 steps")

    monkeypatch.setattr("dmix.cli.main.dmix.main", stopped)
    assert run(["train"]) == 130
    assert capsys.readouterr().err == "run a stopped after 3 of 4 steps\n"
