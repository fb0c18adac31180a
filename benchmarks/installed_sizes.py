"""What each extra of dmix takes on disk: `python -m benchmarks.installed_sizes [EXTRA…]`.

Walks the requirements of the installed packages, as pip does, and adds up their files. One JSON
line: megabytes and packages of dmix alone, and of what each extra adds to it.
"""

import json
import sys
from collections.abc import Iterable
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def packages_of(name: str, extras: Iterable[str] = ()) -> set[str]:
    """Names of the installed packages that one needs, itself included."""
    waiting = [(canonicalize_name(name), frozenset(extras))]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        package, wanted = pair = waiting.pop()
        if pair in seen:
            continue
        seen.add(pair)
        for line in metadata.distribution(package).requires or ():
            requirement = Requirement(line)
            asked = [{"extra": extra} for extra in (*wanted, "")]
            if requirement.marker and not any(requirement.marker.evaluate(one) for one in asked):
                continue
            try:
                metadata.distribution(requirement.name)
            except metadata.PackageNotFoundError:  # not installed here
                continue
            waiting.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return {package for package, _ in seen}


def size_of(packages: Iterable[str]) -> int:
    """Bytes of their files on disk."""
    total = 0
    for package in packages:
        for file in metadata.distribution(package).files or ():
            path = file.locate()
            total += path.stat().st_size if path.is_file() else 0
    return total


def main() -> None:
    alone = packages_of("dmix")
    found = {"dmix": {"packages": len(alone), "megabytes": round(size_of(alone) / 1e6)}}
    for extra in sys.argv[1:] or ["train"]:
        more = packages_of("dmix", [extra]) - alone
        found[f"dmix[{extra}] adds"] = {"packages": len(more), "megabytes": round(size_of(more) / 1e6)}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
