import subprocess
import time

from dmix.etl.spark.jvm_output import quiet_start

NOISE = "WARNING: Using incubator modules: jdk.incubator.vector"


def test_a_program_loses_the_silenced_line_alone_and_goes_on_after_the_start(capfd):
    with quiet_start():
        program = subprocess.Popen(
            ["sh", "-c", f"echo '{NOISE}' >&2; echo first >&2; read go; echo last >&2"], stdin=subprocess.PIPE
        )
    program.communicate(b"go\n")
    said, end = "", time.monotonic() + 30
    while "last" not in said and time.monotonic() < end:
        said += capfd.readouterr().err
        time.sleep(0.01)
    assert said == "first\nlast\n"


def test_standard_error_is_as_before_afterwards(capfd):
    with quiet_start():
        pass
    subprocess.run(["sh", "-c", f"echo '{NOISE}' >&2"], check=True)
    assert capfd.readouterr().err == f"{NOISE}\n"
