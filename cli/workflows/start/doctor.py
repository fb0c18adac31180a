"""`dmix doctor`: what this machine has, what is missing, and how to get it."""

import importlib
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from dmix import __version__
from dmix.cli.show.result import Result
from dmix.etl.classifiers.loops import compiled
from dmix.etl.spark.session import JAVA_NEEDED, NO_USER_NAME, java_version, user_name
from dmix.training.model.estimate.processor import bf16_instructions
from dmix.training.model.settings import how_to_install
from dmix.warehouse_schema.errors import MissingDependencyError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.names import top_links
from dmix.warehouse_schema.files.processes import cores
from dmix.warehouse_schema.progress import Progress

DISK_WANTED_GB = 5
MEMORY_WANTED_GIB = 4
# Major compute capability from which NVIDIA's GPUs multiply bf16 (Ampere).
_BF16_CAPABILITY = 8
# package: extra of dmix that brings it, and what needs it
OPTIONAL = {
    "torch": ("train", "training"),
    "lm_eval": ("eval", "dmix eval"),
    "evalplus": ("code", "dmix eval --task code"),
}
JAVA_FIX = (
    f"install Java {JAVA_NEEDED} or newer, or set JAVA_HOME. Debian and Ubuntu: 'sudo apt-get install "
    "openjdk-17-jre-headless'. Other systems: https://adoptium.net"
)


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What it is.
        status: `ok`, `warning` (it works, less well), `missing` (commands will fail) or `optional`
            (one command will, which says so).
        found: What there is.
        fix: What to do about it; empty if nothing.
    """

    name: str
    status: str
    found: str
    fix: str = ""


def examine_machine(warehouse: Warehouse, *, progress: Progress) -> Result:
    """Versions, Java, cores, memory, GPU and disk, and how to get what is missing; the value has the checks.

    Where something essential is missing, the result has an `error`.

    Args:
        warehouse: Where the data is, or will be.
        progress: Receives a line for each thing to mend.
    """
    checks = [
        Check(name="dmix", status="ok", found=__version__),
        python_check(sys.version_info[:3]),
        *package_checks(metadata.requires("dmix") or []),
        *training_checks(metadata.requires("dmix") or []),
        *(optional_check(package) for package in OPTIONAL if package != "torch"),
        loops_check(compiled() is not None),
        java_check(java_version()),
        user_check(user_name()),
        Check(name="cores", status="ok", found=f"{cores()} usable"),
        memory_check(),
        gpu_check(),
        bf16_check(bf16_instructions()),
        disk_check(warehouse.root),
        *link_checks(warehouse.root),
    ]
    for check in checks:
        if check.fix:
            progress(f"{check.status}: {check.name}: {check.fix}")
    missing = ", ".join(check.name for check in checks if check.status == "missing")
    error = (
        MissingDependencyError(f"missing: {missing}; the lines above show how to fix this")
        if missing
        else None
    )
    facts = {"ok": not missing, "checks": [asdict(check) for check in checks]}
    result = Result(facts, checks, error=error)
    result.table(["check", "status", "found"], [(c.name, c.status, c.found) for c in checks])
    return result


def python_check(version: tuple[int, ...]) -> Check:
    """Whether the interpreter is one that the pinned torch has builds for."""
    found = f"{'.'.join(map(str, version))} ({platform.platform(terse=True)})"
    if (3, 11) <= version[:2] <= (3, 13):
        return Check(name="python", status="ok", found=found)
    return Check(name="python", status="missing", found=found, fix="use Python 3.11, 3.12 or 3.13")


def loops_check(there: bool) -> Check:
    """Whether the inner loops of the embedded classifier were compiled at the installation."""
    if there:
        return Check(name="compiled loops", status="ok", found="the embedded classifier uses them")
    return Check(
        name="compiled loops",
        status="warning",
        found="not there: dmix etl classify takes a third longer, with the same labels",
        fix="install a C compiler (Debian and Ubuntu: 'sudo apt-get install gcc'), then install dmix again",
    )


def training_checks(requirements: list[str]) -> Iterator[Check]:
    """Checks of the extra `train`: its packages if torch is installed, else one row that says what needs it.

    Args:
        requirements: As `importlib.metadata.requires` gives them.
    """
    try:
        metadata.version("torch")
    except metadata.PackageNotFoundError:
        yield optional_check("torch")
        return
    base = {check.name for check in package_checks(requirements)}
    yield from (check for check in package_checks(requirements, extra="train") if check.name not in base)
    yield import_check("torch")
    yield import_check("torchvision")


def package_checks(requirements: list[str], extra: str = "") -> Iterator[Check]:
    """One check for each requirement that applies here.

    Args:
        requirements: As `importlib.metadata.requires` gives them.
        extra: The extra of dmix whose packages count, too; none if empty.
    """
    from packaging.requirements import Requirement

    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        fix = f"run pip install '{requirement.name}{requirement.specifier}'"
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield Check(name=requirement.name, status="missing", found="not installed", fix=fix)
            continue
        if requirement.specifier.contains(version, prereleases=True):
            yield Check(name=requirement.name, status="ok", found=version)
        else:
            found = f"{version}, expected {requirement.specifier}"
            yield Check(name=requirement.name, status="missing", found=found, fix=fix)


def import_check(package: str) -> Check:
    """Whether a package with compiled parts can be imported, not just found."""
    try:
        importlib.import_module(package)
    except Exception as error:  # whatever a broken build raises
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        fix = (
            "install torch and torchvision together from one package index, in the versions that "
            "setup.cfg pins"
        )
        return Check(name=f"import {package}", status="missing", found=first_line[:200], fix=fix)
    return Check(name=f"import {package}", status="ok", found="works")


def optional_check(package: str) -> Check:
    """Whether a package of an extra is there, and what it would be good for."""
    extra, use = OPTIONAL[package]
    try:
        return Check(name=package, status="ok", found=metadata.version(package))
    except metadata.PackageNotFoundError:
        found = f"not installed; {use} needs it"
        return Check(name=package, status="optional", found=found, fix=how_to_install(extra))


def java_check(version: int | None) -> Check:
    """Whether Spark finds a Java that it can run on.

    Args:
        version: Major version; None if there is no Java.
    """
    if version is None:
        return Check(name="java", status="missing", found="not found", fix=JAVA_FIX)
    if version < JAVA_NEEDED:
        return Check(name="java", status="missing", found=f"version {version}", fix=JAVA_FIX)
    return Check(name="java", status="ok", found=f"version {version}")


def user_check(name: str | None) -> Check:
    """Whether the user has a name, without which Spark does not start."""
    if name is None:
        found = f"user id {os.getuid()} is not in /etc/passwd"
        return Check(name="user", status="warning", found=found, fix=NO_USER_NAME)
    return Check(name="user", status="ok", found=name)


def link_checks(root: Path) -> Iterator[Check]:
    """One check for each link that a warehouse is, or has as a folder."""
    for link, target in top_links(root):
        name, found = f"link {link.name}", f"is a link to {target}"
        if target.is_dir():
            yield Check(name=name, status="ok", found=found)
        else:
            fix = f"remove {link}, or mount the disk of its target"
            yield Check(name=name, status="missing", found=f"{found}: this is not a folder", fix=fix)


def memory_check() -> Check:
    """Memory of the machine, or of the container if that has less."""
    import psutil

    memory = psutil.virtual_memory()
    total, available = memory.total, memory.available
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        total = min(total, int(text))
        available = min(available, total)
    found = f"{available / 2**30:.1f} of {total / 2**30:.1f} GiB are free"
    if available < MEMORY_WANTED_GIB * 2**30:
        fix = f"close other programs: Spark and a small model together need about {MEMORY_WANTED_GIB} GiB"
        return Check(name="memory", status="warning", found=found, fix=fix)
    return Check(name="memory", status="ok", found=found)


def gpu_check() -> Check:
    """GPUs that torch can use; none is fine, training then runs on the CPU."""
    try:
        import torch

        devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    except ModuleNotFoundError:
        return Check(name="gpu", status="ok", found="unknown; torch is not installed")
    except Exception as error:  # a broken driver must not hide the other checks
        return Check(name="gpu", status="warning", found=f"unknown; torch failed ({error})")
    names = [f"{device.name} ({device.total_memory / 2**30:.0f} GiB)" for device in devices]
    if any(device.major < _BF16_CAPABILITY for device in devices):
        fix = "set precision: fp32 in the training file; this GPU has no bf16, which is the default on a GPU"
        return Check(name="gpu", status="warning", found=", ".join(names), fix=fix)
    return Check(name="gpu", status="ok", found=", ".join(names) or "none; training runs on the CPU")


def bf16_check(instructions: Sequence[str]) -> Check:
    """Whether training on this processor is fast in bf16; `dmix init` writes the training file by this.

    Args:
        instructions: Those that multiply bf16.
    """
    if instructions:
        found = f"fast on this processor ({', '.join(instructions)}): set precision: bf16"
    else:
        found = "slow on this processor, which has no instructions for it: leave precision at auto"
    return Check(name="bf16", status="ok", found=found)


def disk_check(folder: Path) -> Check:
    """Free space where the warehouse is, or will be."""
    while not folder.exists():
        folder = folder.parent
    free_gb = shutil.disk_usage(folder).free / 1e9
    found = f"{free_gb:.1f} GB free at {folder}"
    if free_gb < DISK_WANTED_GB:
        fix = (
            f"free some space, or choose a --warehouse on a disk with at least {DISK_WANTED_GB} GB "
            "of free space"
        )
        return Check(name="disk", status="warning", found=found, fix=fix)
    return Check(name="disk", status="ok", found=found)
