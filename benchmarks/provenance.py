"""Where and on what a figure was measured, for the rows of benchmarks and of the soak."""

import hashlib
import os
import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def machine_name() -> str:
    """Processor type and number of cores, such as `x86_64-2cores`."""
    return f"{platform.machine()}-{os.cpu_count()}cores"


def commit_of(root: Path = ROOT) -> str:
    """The commit of the working tree; changes since then add a hash of their own."""

    def git(*arguments: str) -> bytes:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True)
        return done.stdout

    everything_else = ("--", ".", ":(exclude)benchmarks/results")
    commit = git("rev-parse", "--short=12", "HEAD").decode().strip()
    changes = hashlib.sha256(git("diff", "HEAD", *everything_else))
    for name in git("ls-files", "--others", "--exclude-standard", "-z", *everything_else).split(b"\0"):
        path = root / os.fsdecode(name)
        if name:  # a link to a folder, such as an environment shared by checkouts, counts by its name
            changes.update(name + (path.read_bytes() if path.is_file() else b""))
    clean = changes.digest() == hashlib.sha256().digest()
    return commit if clean else f"{commit}+{changes.hexdigest()[:8]}"
