"""Runs of a module of tests in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Sequence

from tests.soak import ROOT


def run_apart(module: str, *arguments: str, under: Sequence[str] = ()) -> None:
    """`python -m MODULE ARGUMENTS`, behind the words of `under`; fails with the end of what it says."""
    done = subprocess.run(
        [*under, sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
