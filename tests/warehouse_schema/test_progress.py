import builtins
import importlib
import subprocess
import sys
import time

import pytest

from dmix.warehouse_schema import progress
from dmix.warehouse_schema.progress import counted, counts, doing, during, signs_of_life, without_signs

SILENCE = 0.02


@pytest.fixture
def lines():
    return []


def wait_for(lines, number):
    end = time.monotonic() + 5
    while len(lines) < number and time.monotonic() < end:
        time.sleep(SILENCE / 4)
    return lines


def test_a_silent_body_gets_signs_of_life_with_the_newest_note(lines):
    with signs_of_life(lines.append, silence_seconds=SILENCE):
        doing("step 3 of 16, batch 2 of 12")
        assert "step 3 of 16, batch 2 of 12" in wait_for(lines, 2)[-1]


def test_what_is_counted_comes_before_what_is_noted_within(lines):
    with signs_of_life(lines.append, silence_seconds=SILENCE):
        doing("outside")
        for _ in counted(["a"], "model"):
            for _ in counted(["x", "y"], "scoring batch"):
                doing("within")
                before = len(lines)
                wait_for(lines, before + 2)
        assert "model 1 of 1, scoring batch 2 of 2, within" in lines[-1]
        assert counts() == ""
        wait_for(lines, len(lines) + 2)
    assert lines[-1].endswith(": outside")


def test_an_end_in_the_middle_of_a_count_ends_it():
    for item in counted([1, 2, 3], "task"):
        assert counts() == f"task {item} of 3"
        if item == 2:
            break
    assert counts() == ""


def test_threads_that_end_in_another_order_leave_no_note():
    before = progress.now()
    first, second = during("first"), during("second")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert progress.now() == "second"
    second.__exit__(None, None, None)
    assert progress.now() == before


def test_a_count_that_is_closed_after_the_work_around_it_leaves_no_note():
    before = progress.now()
    with during("around"):
        count = counted([1, 2], "task")
        next(count)
    count.close()  # as where an error keeps it alive
    assert progress.now() == before


def test_a_note_ends_with_the_work_that_it_belongs_to():
    before = progress.now()

    @during("")
    def work():
        doing("step 20 of 20, batch 37 of 37")
        assert progress.now() == "step 20 of 20, batch 37 of 37"

    with during("base models"):
        work()
        assert progress.now() == "base models"
    assert progress.now() == before


def test_a_body_that_speaks_needs_no_sign(lines):
    with signs_of_life(lines.append, silence_seconds=30) as say:
        say("a line")
    assert lines == ["a line"]


@pytest.fixture
def signs(lines, monkeypatch):
    """Signs of life after 30 s, whose clock says 0 s; nothing but the test looks whether one is due."""
    monkeypatch.setattr(progress.time, "monotonic", lambda: 0.0)
    found = progress._Signs(lines.append, 30.0)
    found.start = lambda: None
    return found


def test_a_sign_is_due_after_a_silence_and_again_after_the_next(lines, signs):
    assert (signs.look(29.0), lines) == (1.0, [])
    assert (signs.look(30.0), len(lines)) == (30.0, 1)
    assert (signs.look(59.0), len(lines)) == (1.0, 1)
    signs.look(90.0)
    assert lines[1].startswith("still running after 1 min 30 s")


def test_a_line_puts_the_next_sign_off(lines, signs, monkeypatch):
    monkeypatch.setattr(progress.time, "monotonic", lambda: 20.0)
    signs.line("a line")
    assert (signs.look(30.0), lines) == (20.0, ["a line"])
    signs.look(50.0)
    assert len(lines) == 2


def test_a_display_needs_no_sign(lines, signs):
    with without_signs():
        assert (signs.look(30.0), lines) == (30.0, [])
    signs.look(60.0)
    assert len(lines) == 1


def test_other_ranks_are_silent(lines, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with signs_of_life(lines.append, silence_seconds=SILENCE) as say:
        time.sleep(5 * SILENCE)
        say("a line")
    assert lines == ["a line"]


def test_a_note_that_fails_ends_nothing(lines):
    with signs_of_life(lines.append, silence_seconds=SILENCE), during(lambda: str(1 // 0)):
        assert wait_for(lines, 1)[0].startswith("still running after")


def test_a_note_may_be_asked_for(lines):
    done = [0]
    with signs_of_life(lines.append, silence_seconds=SILENCE), during(lambda: f"{done[0]} of 9 are done"):
        done[0] = 4
        before = len(lines)
        assert "4 of 9 are done" in wait_for(lines, before + 2)[-1]


def test_a_command_may_fork_until_its_first_line():
    code = (
        "from dmix.warehouse_schema.files.processes import allow_forks, may_fork\n"
        "from dmix.warehouse_schema.progress import signs_of_life\n"
        "allow_forks()\n"
        "with signs_of_life(lambda line: None) as progress:\n"
        "    found = [may_fork()]\n"
        "    progress('a line')\n"
        "    found.append(may_fork())\n"
        "print(*found, may_fork())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "True"]


def test_a_sign_of_life_during_an_import_names_the_library(lines, tmp_path, monkeypatch):
    (tmp_path / "slow_inner.py").write_text("wait_of_a_test()\n")
    (tmp_path / "slow_library.py").write_text("import slow_inner\n")
    monkeypatch.syspath_prepend(tmp_path)
    seen = []

    def wait():
        seen.append(wait_for(lines, len(lines) + 2)[-1])

    monkeypatch.setattr(builtins, "wait_of_a_test", wait, raising=False)
    with signs_of_life(lines.append, silence_seconds=SILENCE):
        importlib.import_module("slow_library")
        assert seen[0].endswith("s: loading slow_library")
        assert not wait_for(lines, len(lines) + 2)[-1].endswith("slow_library")
