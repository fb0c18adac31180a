"""A stage that is interrupted at the keyboard ends with words, not with tracebacks of Spark or of workers."""

import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


def test_ctrl_c_in_a_stage_says_so_and_the_same_command_goes_on(toy_data, toy_setting, tmp_path):
    command = [
        *(sys.executable, "-c", "import sys; from dmix.cli.main import main; sys.exit(main())"),
        *("bench", "quality", "--data", str(toy_data), "--setting", str(toy_setting), "--tier", "smoke"),
        *("--stage", "headroom", "--workers", "1", "--master", "local[1]"),
        *("--work", str(tmp_path / "work"), "--results", str(tmp_path / "results")),
    ]
    log = tmp_path / "log.txt"
    with log.open("w") as file:
        # of a session of its own, as a terminal's: the interrupt goes to every process of it
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True, text=True
        )
        try:
            deadline = time.monotonic() + 600
            while "unit 1/" not in log.read_text():
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            os.killpg(process.pid, signal.SIGINT)
            code = process.wait(120)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    said = log.read_text()
    assert code == 130, said
    assert "Traceback" not in said and "Exception" not in said, said
    done = list((tmp_path / "work" / "toy" / "units").glob("*.parquet"))
    assert done
