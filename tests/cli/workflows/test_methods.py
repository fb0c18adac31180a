"""Methods of a session take flags' names, paths as text and one value in place of a sequence."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from dmix.cli.show.result import Result
from dmix.cli.workflows.methods import method_of
from dmix.training.run.request import RunRequest


def workflow(
    warehouse,
    *,
    set_name: str,
    model: str | None = None,
    out: Path | None = None,
    items: Sequence[Path] = (),
    steps: Sequence[str] = (),
    request: RunRequest,
    progress,
) -> Result:
    """Does something.

    Args:
        warehouse: Where.
        set_name: Name of the set.
        items: Files of items,
            several of them.
        progress: Receives lines.

    Raises:
        InputError: If it cannot.
    """
    return Result({"warehouse": warehouse, **{k: v for k, v in locals().items() if k != "progress"}})


method = method_of(workflow, command="dmix do", settings={"request": RunRequest})
session = SimpleNamespace(warehouse="w")


def test_values_are_converted_to_what_the_workflow_takes(tmp_path):
    found = method(session, set="farm", model=tmp_path, out="a.html", items="i.jsonl", step=3, seed=5)
    assert found["set_name"] == "farm"
    assert found["model"] == str(tmp_path)
    assert found["out"] == Path("a.html")
    assert found["items"] == (Path("i.jsonl"),)
    assert found["steps"] == ("3",)
    assert found["request"] == RunRequest(seed=5)


def test_an_argument_that_no_flag_has_is_refused():
    with pytest.raises(TypeError, match="set_name"):
        method(session, set="farm", set_name="farm")


def test_help_names_flags_and_settings_and_leaves_out_what_the_session_gives():
    assert "    set: Name of the set." in method.__doc__
    assert "        several of them." in method.__doc__
    assert "    seed: " in method.__doc__
    assert "warehouse:" not in method.__doc__
    assert method.__doc__.rstrip().endswith("InputError: If it cannot.")
