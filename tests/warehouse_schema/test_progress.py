import importlib
import subprocess
import sys
import time

import pytest

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


def test_a_body_that_speaks_needs_no_sign(lines):
    with signs_of_life(lines.append, silence_seconds=30) as progress:
        progress("a line")
    assert lines == ["a line"]


def test_a_line_puts_the_next_sign_off(lines):
    with signs_of_life(lines.append, silence_seconds=0.5) as progress:
        for _ in range(4):
            time.sleep(0.2)
            progress("a line")
    assert set(lines) == {"a line"}


def test_a_display_needs_no_sign(lines):
    with without_signs(), signs_of_life(lines.append, silence_seconds=SILENCE):
        time.sleep(5 * SILENCE)
    assert lines == []


def test_other_ranks_are_silent(lines, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with signs_of_life(lines.append, silence_seconds=SILENCE) as progress:
        time.sleep(5 * SILENCE)
        progress("a line")
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
    (tmp_path / "slow_inner.py").write_text("import time\ntime.sleep(0.3)\n")
    (tmp_path / "slow_library.py").write_text("import slow_inner\n")
    monkeypatch.syspath_prepend(tmp_path)
    with signs_of_life(lines.append, silence_seconds=SILENCE):
        importlib.import_module("slow_library")
        assert lines[-1].endswith("s: loading slow_library")
        assert not wait_for(lines, len(lines) + 2)[-1].endswith("slow_library")
