"""Arrows between folders point one way, nobody imports a folder bare, and `dmix --help` is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "warehouse_schema": {"warehouse_schema"},
    "etl": {"etl", "warehouse_schema"},
    "mixing": {"mixing", "warehouse_schema"},
    "training": {"training", "mixing", "warehouse_schema"},
    "cli": {"cli", "training", "mixing", "etl", "warehouse_schema"},
}
NEVER = {
    "warehouse_schema": {"pyspark", "streaming", "torch", "transformers", "composer", "d3rlpy"},
    "etl": {"composer", "d3rlpy"},
    "mixing": {"pyspark", "composer"},
    "training": set(),
    "cli": set(),
}


def imported_modules(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names if node.module == "dmix")
    return names


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_folder_imports_only_the_layers_below_it(folder):
    for path in (ROOT / folder).rglob("*.py"):
        for name in imported_modules(path):
            head, _, rest = name.partition(".")
            assert head not in MAY_IMPORT, f"{path} imports {name}; write dmix.{name}"
            assert head not in NEVER[folder], f"{path} imports {name}"
            layer = rest.split(".")[0]
            if head == "dmix" and layer in MAY_IMPORT:
                assert layer in MAY_IMPORT[folder], f"{path} imports {name}"


def test_help_imports_no_heavy_library():
    heavy = {"torch", "pyspark", "transformers", "duckdb", "pyarrow", "numpy", "streaming", "composer"}
    code = f"import sys, dmix.cli.main as m; m.run(['--help']); print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
