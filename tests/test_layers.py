"""Arrows point one way, folders stay small, retired words stay gone, and `dmix --help` is light."""

import ast
import functools
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from graphlib import TopologicalSorter
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
# etl and training both ask for a GPU; torch is imported within the function, where nothing else tells.
EXCEPT = {"warehouse_schema/gpus.py": {"torch"}}


# Sub-packages of a folder: one imports those before it in its row, never one behind it.
ORDER = {
    "warehouse_schema": ("files", "catalog"),
    "etl": (
        *("spark", "text", "publishing", "templates", "reading", "classifiers", "quality", "screening"),
        *("distilling", "synthetic", "classify", "shard", "maintenance", "demo"),
    ),
    "mixing": (
        *("space", "delivery", "trajectories", "effects", "agent", "offline", "world_model"),
        *("regression", "learning", "controllers"),
    ),
    "training": ("model", "scoring", "run", "evaluation", "farm", "report", "comparison"),
    "training/report": ("queries", "figures", "page"),
    "training/comparison": ("data", "yardstick", "effects", "rivals", "units", "runs", "analysis", "pages"),
    "cli": ("show", "workflows", "commands"),
    "cli/workflows": ("data", "effects", "agents", "start", "runs", "quickstart", "bench"),
}
MOST_MODULES = 12
# Registries of like things, one module each, have as many as there are things.
REGISTRIES = {"mixing/controllers", "cli/commands", "warehouse_schema/catalog/migrations"}
# Words that code no longer uses, and the identifiers that keep one for a reason.
RETIRED: dict[str, set[str]] = {
    "bent": set(),
    "deviation": {"deviation"},  # a column of the comparison's tables
    "deviations": {"deviations_D3", "_final_deviations"},
    "doubt": set(),
    "dreamt": set(),
    "forgotten": set(),
    "fragment": set(),
    "goals": set(),
    "ground": set(),
    "grounds": set(),
    "imagine": set(),
    "imagined": {"imagined", "imagined_every", "imagined_runs"},  # settings, named as their flags
    "inductive": {"inductive", "inductive_paths"},  # a kind of stored trajectories
    "law": {"law", "_fit_law"},  # of data mixing, as its paper says
    "laws": {"MixingLaws", "ScalingLaws", "fit_laws", "laws"},
    "lesson": {"_LESSON_ROW_HEIGHT"},
    "lessons": set(),
    "needle": {"drop_needle"},  # an argument of Jinja2
    "needles": set(),
    "pace": {"pace"},  # of a run under way
    "paces": set(),
    "remark": set(),
    "remarks": {"remarks"},  # a field of stored events
    "sloped": set(),
    "slopes": set(),
    "usual": {"USUAL"},
    "wobble": set(),
    "wobbles": set(),
}
# What makes a module one with logic; a comprehension with a condition does, too.
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.Match)
RETIRED_NAMES = {
    *("FragmentBatch", "Goals", "LabelSplit", "Part", "SplitRecord", "TaughtSet"),
    *("encode_split", "gpu_turns", "label_splits", "made_ET", "plan_splits", "run_splits", "usual_E"),
}


def python_files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def nodes_of(path: Path, *, typing: bool) -> Iterator[ast.AST]:
    """The nodes of a file, functions' included; those for type checkers alone on request."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        yield node
        if typing or not (isinstance(node, ast.If) and _is_typing(node.test)):
            waiting += ast.iter_child_nodes(node)


def _is_typing(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


@functools.cache
def imported_modules(path: Path, *, typing: bool = True) -> set[str]:
    names = set()
    for node in nodes_of(path, typing=typing):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names if node.module == "dmix")
    return names


def arrows(folder: str, *, typing: bool = True) -> dict[str, set[tuple[str, Path]]]:
    """What each module or sub-package of a folder imports of its neighbours, lazily or not, and where."""
    prefix, found = f"dmix.{folder.replace('/', '.')}.", {}
    for path in python_files(folder):
        unit = path.relative_to(ROOT / folder).with_suffix("").parts[0]
        for name in imported_modules(path, typing=typing):
            other = name.removeprefix(prefix).split(".")[0]
            if name.startswith(prefix) and other != unit:
                found.setdefault(unit, set()).add((other, path))
    return found


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_folder_imports_only_the_layers_below_it(folder):
    for path in (ROOT / folder).rglob("*.py"):
        for name in imported_modules(path):
            head, _, rest = name.partition(".")
            assert head not in MAY_IMPORT, f"{path} imports {name}; write dmix.{name}"
            excepted = EXCEPT.get(path.relative_to(ROOT).as_posix(), set())
            assert head not in NEVER[folder] - excepted, f"{path} imports {name}"
            layer = rest.split(".")[0]
            if head == "dmix" and layer in MAY_IMPORT:
                assert layer in MAY_IMPORT[folder], f"{path} imports {name}"


def test_help_imports_no_heavy_library():
    heavy = {"torch", "pyspark", "transformers", "duckdb", "pyarrow", "numpy", "streaming", "composer"}
    code = f"import sys, dmix.cli.main as m; m.run(['--help']); print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("folder", ORDER)
def test_sub_packages_import_only_earlier_ones(folder):
    order = ORDER[folder]
    there = {
        path.parent.relative_to(ROOT / folder).parts[0] for path in (ROOT / folder).glob("*/__init__.py")
    }
    assert there <= set(order), f"{folder} has sub-packages without a place in ORDER: {there - set(order)}"
    for unit, others in arrows(folder).items():
        for other, path in others:
            if unit in order and other in order:
                assert order.index(other) < order.index(unit), f"{path} imports {folder}/{other}"


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_no_folder_has_neighbours_that_import_each_other(folder):
    for inner in sorted({path.parent for path in python_files(folder)}):
        name = str(inner.relative_to(ROOT))
        graph = {unit: {other for other, _ in others} for unit, others in arrows(name, typing=False).items()}
        TopologicalSorter(graph).prepare()  # raises CycleError with the modules of a cycle


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_holds_at_most_twelve_modules(folder):
    for inner in sorted({path.parent for path in python_files(folder)}):
        name = str(inner.relative_to(ROOT))
        number = sum(path.name != "__init__.py" for path in inner.glob("*.py"))
        if name not in REGISTRIES:
            assert number <= MOST_MODULES, f"{name} has {number} modules, expected at most {MOST_MODULES}"


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_an_init_holds_imports_and_exports_alone(folder):
    for path in (ROOT / folder).rglob("__init__.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            exports = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
            text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            plain = exports or text or isinstance(node, ast.Import | ast.ImportFrom)
            assert plain, f"{path}:{node.lineno} has logic; give it a module with a name"


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_module_with_branches_has_tests_at_its_place(folder):
    """Constants, plain records, options and what only passes on need none of their own."""
    for path in python_files(folder):
        if path.name != "__init__.py" and has_branches(path):
            place = path.relative_to(ROOT).parent / f"test_{path.name}"
            assert has_tests(path), f"{path} decides something; write tests/{place}, or a folder of its name"


def has_branches(path: Path) -> bool:
    """Whether a module decides anything: `if`, a loop, `try`, `match`, a comprehension with a condition."""
    return any(
        isinstance(node, BRANCHES) or (isinstance(node, ast.comprehension) and bool(node.ifs))
        for node in nodes_of(path, typing=False)
    )


def has_tests(path: Path) -> bool:
    """Whether tests mirror a module: as a file, or as a folder of its name."""
    place = ROOT / "tests" / path.relative_to(ROOT).parent
    return (place / f"test_{path.name}").is_file() or any((place / path.stem).glob("test_*.py"))


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_retired_words_are_in_no_identifier(folder):
    for path in python_files(folder):
        names = {
            token.string
            for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
            if token.type == tokenize.NAME
        }
        assert not names & RETIRED_NAMES, f"{path} uses {names & RETIRED_NAMES}"
        for name in sorted(names):
            for word in set(words_of(name)) & set(RETIRED):
                assert name in RETIRED[word], f"{path} uses {name}, which holds the retired word {word!r}"


def words_of(identifier: str) -> list[str]:
    """`_made_ET` is made, et; `SftDataset` is sft, dataset."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", identifier)
    return [word for word in spaced.lower().split("_") if word]
