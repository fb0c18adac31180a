"""The `dmix` command: finds sub-commands, turns errors into messages and exit codes.

A sub-command's module is imported when it is called, and heavy libraries inside the commands,
so that `dmix --help` stays fast.
"""

import atexit
import difflib
import gc
import importlib
import itertools
import logging
import os
import re
import shlex
import signal
import sys
import traceback
from typing import Any

import click

from dmix import __version__
from dmix.__main__ import INTERRUPTED, end_now
from dmix.cli.show.failures import explained
from dmix.warehouse_schema.errors import DmixError, InterruptedRunError, MissingDependencyError
from dmix.warehouse_schema.files.layout import storage_errors
from dmix.warehouse_schema.files.names import printable, without_credentials

# name: (module, attribute, help line shown by `dmix --help`)
COMMANDS = {
    "init": ("dmix.cli.commands.init", "init", "Make a project folder for a first run on your own text."),
    "quickstart": (
        "dmix.cli.commands.quickstart",
        "quickstart",
        "Try dmix: run every step at small size, in minutes.",
    ),
    "doctor": (
        "dmix.cli.commands.doctor",
        "doctor",
        "Check this machine, and show how to install missing parts.",
    ),
    "etl": ("dmix.cli.commands.etl", "etl", "Label text with domains, and make datasets."),
    "mix": (
        "dmix.cli.commands.mix",
        "mix",
        "Measure how each domain changes each objective, and plan mixtures.",
    ),
    "agent": ("dmix.cli.commands.agent", "agent", "Train an agent that chooses mixtures."),
    "train": (
        "dmix.cli.commands.train",
        "train",
        "Train a model; an agent or another controller chooses its mixtures.",
    ),
    "eval": ("dmix.cli.commands.eval", "evaluate", "Score models on benchmarks or objectives."),
    "bench": (
        "dmix.cli.commands.bench",
        "bench",
        "Compare controllers, or test regressors.",
    ),
    "report": (
        "dmix.cli.commands.report",
        "report",
        "Write a report about runs and their data: one HTML file.",
    ),
    "sql": ("dmix.cli.commands.sql", "sql", "Query the catalog in SQL."),
    "catalog": ("dmix.cli.commands.catalog", "catalog", "Rebuild or export the catalog."),
}


NO_DATA_FRAMES = frozenset({"etl", "catalog"})
"""Commands that need Arrow and never pandas, which Arrow would import for them."""


COLLECTED_AFTER = 50_000
"""New objects after which such a command looks for garbage: every 700, it takes a tenth of its start."""

OF_TRAIN = frozenset(
    {
        "composer",
        "d3rlpy",
        "lightgbm",
        "matplotlib",
        "plotly",
        "streaming",
        "torch",
        "torchvision",
        "transformers",
    }
)
"""Packages of the extra `train`, which ETL, SQL and catalog do without."""


class LazyGroup(click.Group):
    """A group whose sub-commands are imported when they are called."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except BrokenPipeError:
            # `dmix sql … | head` is no failure; click itself would leave with code 1
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, _, summary) in COMMANDS.items()])


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="dmix")
@click.option("--debug", is_flag=True, help="Show tracebacks and debug messages.")
@click.option("-v", "--verbose", is_flag=True, help="Show log messages on stderr.")
@click.pass_context
def dmix(context: click.Context, debug: bool, verbose: bool) -> None:
    """Train a language model on new text while a controller chooses the data mixture.

    Example: dmix quickstart --out demo
    """
    level = logging.DEBUG if debug else logging.INFO if verbose else logging.WARNING
    logging.basicConfig(
        level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(_spelled)
    logging.getLogger("dmix").setLevel(level)
    context.obj = {"debug": debug}


def _spelled(record: logging.LogRecord) -> bool:
    """Replaces control characters in a log record, which may quote a stranger's file, and credentials of
    URLs; keeps the record."""
    record.msg, record.args = printable(without_credentials(record.getMessage())), None
    return True


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the console script; exits with the code that the README documents."""
    arguments = sys.argv[1:] if arguments is None else arguments
    handled = signal.getsignal(signal.SIGINT) in (signal.default_int_handler, end_now)
    if handled:
        signal.signal(signal.SIGINT, _interrupt)
        # the last thing that runs; then Python gives handlers back, and the signal would end the process
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    try:
        _prepare(arguments)
        code = run(arguments)
    except KeyboardInterrupt:
        code = _interrupted(arguments)
    if handled:  # what is left to do takes a moment, and nothing is written in it
        signal.signal(signal.SIGINT, end_now)
    # after an interrupt within `exec` of a text, as of dataclasses, 'python -m' ends by SIGINT whatever the
    # code is; Python forgets it at the next text
    exec("")
    sys.exit(code)


def _prepare(arguments: list[str]) -> None:
    """Keeps out what a command imports for nothing."""
    if arguments[:1] == ["sql"]:
        from dmix.warehouse_schema.light_arrow import hide_pandas

        hide_pandas()
    elif NO_DATA_FRAMES.intersection(arguments[:1]) and "--help" not in arguments:
        from dmix.warehouse_schema.light_arrow import keep_pandas_out

        gc.set_threshold(COLLECTED_AFTER)
        if arguments[1:2] in (["classify"], ["shard"]):
            from dmix.warehouse_schema.files.processes import allow_forks

            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # with more threads, workers cannot be forks
            allow_forks()
        if arguments[1:2] in (["start-state"], ["synthesize"]):
            from dmix.etl.synthetic import without_torch

            without_torch.allow()
        keep_pandas_out()


_pressed: list[int] = []
"""Interrupts so far. A library that is interrupted while it is imported may raise something else."""


def _interrupt(number: int, frame: object) -> None:
    _pressed.append(number)
    raise KeyboardInterrupt


def _interrupted(arguments: list[str]) -> int:
    click.echo(f"interrupted; {after_interrupt(arguments)}", err=True)
    return INTERRUPTED


def run(arguments: list[str]) -> int:
    """Runs one command and returns its exit code; messages for people go to stderr."""
    # --debug works in any position, as people add it to the end of the failing line
    debug = "--debug" in arguments
    arguments = (["--debug"] if debug else []) + [a for a in arguments if a != "--debug"]
    try:
        with storage_errors("a file"):
            # what commands leave by `click.exceptions.Exit` comes back as a number
            code = dmix.main(arguments, prog_name="dmix", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except (click.Abort, KeyboardInterrupt):
        return _interrupted(arguments)
    except SystemExit as error:
        if error.code != INTERRUPTED:  # some libraries make that of Ctrl-C
            raise
        return _interrupted(arguments)
    except InterruptedRunError as error:  # somebody asked for it
        return _report(error, error.message, error.exit_code, debug, start="")
    except Exception as error:
        if _pressed:
            return _interrupted(arguments)
        return _failed(error, arguments, debug=debug)


def _failed(error: Exception, arguments: list[str], *, debug: bool) -> int:
    """Says what went wrong; the exit code."""
    if isinstance(error, click.ClickException):
        if isinstance(error, click.UsageError) and (flag := _flag_before(error, arguments)):
            error = click.UsageError(f"{flag} takes no value; leave out what follows it", error.ctx)
        elif isinstance(error, click.UsageError) and (meant := suggestion(error)):
            error = click.UsageError(f"{error.message}{meant}", error.ctx)
        said = printable(without_credentials(error.format_message()))
        click.UsageError(said, getattr(error, "ctx", None)).show()
        return 2
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package in OF_TRAIN:
            message = f"the package {package} is not installed; run pip install 'dmix[train]'"
            return _report(error, message, MissingDependencyError.exit_code, debug)
    if isinstance(error, DmixError):
        return _report(error, error.message, error.exit_code, debug)
    failure = explained(error, command=next((a for a in arguments if not a.startswith("-")), ""))
    return _report(error, failure.message, failure.exit_code, debug)


# What a command that was interrupted leaves, by its first words; the longest that fits counts.
_LEFT = {
    "sql": "nothing was changed",
    "doctor": "nothing was changed",
    "report": "no report was written",
    "etl verify": "nothing was changed",
    "etl gc": "some files were removed; nothing else was changed",
    "catalog": "the catalog was not changed",
    "agent": "no agent was written; the command starts again from the beginning",
    "agent rl": "the last saved state of the training is kept",
    "init": "the files written so far are kept",
    "train": "without --run NAME, the command starts a new run",
    "train --run": "the run resumes from its last checkpoint. If it has none yet, it starts again",
    "train plan": "nothing was changed",
    "train base": "the last checkpoint is kept",
    "mix plan": "nothing was written",
}


def after_interrupt(arguments: list[str]) -> str:
    """What an interrupted command leaves, and the command that resumes it, quoted for a shell."""
    asked = [argument for argument in arguments if argument != "--debug"]
    words = list(itertools.takewhile(lambda argument: not argument.startswith("-"), asked))
    named = any(argument.partition("=")[0] in ("--run", "--resume") for argument in asked)
    known = [
        *(["train --run"] if words == ["train"] and named else []),
        *(" ".join(words[:size]) for size in (2, 1)),
    ]
    left = next((_LEFT[name] for name in known if name in _LEFT), "finished parts are kept")
    return f"{left}. To run the command again: {shlex.join(['dmix', *asked])}"


def _flag_before(error: click.UsageError, arguments: list[str]) -> str:
    """The flag without a value, behind which an unknown command was given as its value; else empty."""
    found = re.fullmatch(r"No such command '(.*)'\.", error.message)
    if found is None or error.ctx is None:
        return ""
    before = dict(zip(arguments[1:], arguments, strict=False)).get(found[1], "")
    flags = [option for option in error.ctx.command.params if getattr(option, "is_flag", False)]
    return before if any(before in option.opts for option in flags) else ""


def suggestion(error: click.UsageError) -> str:
    """The command that was probably meant, as the end of a message; click itself does so for options."""
    context = error.ctx
    if context is None or not isinstance(context.command, click.Group):
        return ""
    found = re.fullmatch(r"No such command '(.*)'\.", error.message)
    if found is None:
        return ""
    known = context.command.list_commands(context)
    near = difflib.get_close_matches(found.group(1), known, n=1, cutoff=0.5)
    if near:
        return f" Did you mean '{context.command_path} {near[0]}'?"
    return f" The commands are: {', '.join(known)}."


def _report(error: BaseException, message: str, code: int, debug: bool, *, start: str = "Error: ") -> int:
    if debug:
        traceback.print_exception(error)
    click.echo(f"{start}{printable(without_credentials(message))}", err=True)
    return code


if __name__ == "__main__":
    main()
