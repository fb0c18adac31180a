"""What the docs say about files, commands and SQL is true."""

import ast
import re
import shlex
from importlib import util
from pathlib import Path

import click
import pytest
import yaml

from dmix.cli.main import dmix

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
EXAMPLES = ROOT / "docs" / "examples"


def module_at(path):
    spec = util.spec_from_file_location(path.stem, path)
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.S)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_the_way_of_one_document_names_files_that_exist():
    text = (ROOT / "docs/one-document.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:etl|mixing|training|warehouse_schema|cli)/[\w/.]*)`", text)
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_way_of_one_document_names_functions_that_are_in_their_files():
    text = (ROOT / "docs/one-document.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:etl|mixing|training)/[\w/]+\.py)` \(`(\w+)`\)", text)
    assert len(named) > 6
    assert [
        (file, name)
        for file, name in named
        if not re.search(rf"^\s*(def {name}\(|{name}\b.*=)", (ROOT / file).read_text(encoding="utf-8"), re.M)
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_that_pages_name_exist(page):
    text = page.read_text(encoding="utf-8")
    for file, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text):
        assert (ROOT / file).exists(), f"{page}: {file}"
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8") or not name, f"{page}: {name}"


def dmix_lines(page):
    for block in blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            for command in line.partition(" #")[0].split("&&"):
                words = shlex.split(command)
                if words[:1] == ["composer"] and "-c" in words:
                    words = words[words.index("-c") + 1 :]
                if words and Path(words[0]).name == "dmix":
                    yield words[1:]


def parse(words):
    """Parses a command line as `dmix` would, without running the command."""
    command: click.Command = dmix
    context = click.Context(dmix, info_name="dmix")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        following = command.get_command(context, words[0])
        assert following is not None, f"no command {words[0]!r}"
        command, words = following, words[1:]
    command.make_context("dmix", list(words), parent=context)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_pages_parse(page):
    for words in dmix_lines(page):
        parse(words)


def test_pages_show_every_command():
    """And so the test above has what it looks at."""
    shown = {word for page in PAGES for words in dmix_lines(page) for word in words[:1]}
    assert set(dmix.commands) <= shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_and_yaml_in_pages_is_valid(page):
    for code in blocks(page, "python"):
        ast.parse(code)
    for code in blocks(page, "yaml"):
        assert isinstance(yaml.safe_load(code), dict)


def test_files_that_the_guides_write_are_what_dmix_reads(tmp_path):
    from dmix.mixing.trajectories.objectives import load_environment
    from dmix.training.model.settings import ModelSettings, ProxySettings
    from dmix.warehouse_schema.settings import load_settings

    readers = {
        "environment.yaml": load_environment,
        "judging.yaml": load_environment,
        "model.yaml": lambda path: load_settings(ModelSettings, path),
        "proxy.yaml": lambda path: load_settings(ProxySettings, path),
    }
    pages = [ROOT / "docs" / name for name in ("tutorial.md", "guide/own-environment.md")]
    read = []
    for code in (code for page in pages for code in blocks(page, "yaml")):
        name = code.splitlines()[0].removeprefix("# ") if code.startswith("#") else "environment.yaml"
        (tmp_path / name).write_text(code)
        readers[name](tmp_path / name)
        read.append(name)
    assert read == ["environment.yaml", "judging.yaml", "model.yaml", "proxy.yaml", "environment.yaml"]


@pytest.mark.parametrize("name", ["llama-3b", "pythia-1.4b"])
def test_configurations_of_large_runs_have_the_names_of_flags(name, monkeypatch):
    from dmix.mixing.trajectories.objectives import load_environment

    monkeypatch.chdir(EXAMPLES / name)
    parse(["train", "--config", "run.yaml"])
    load_environment("environment.yaml")


def test_reference_is_what_the_code_generates():
    pages = module_at(ROOT / "docs" / "generate.py").pages()
    folder = ROOT / "docs" / "reference"
    stale = [name for name, text in pages.items() if (folder / name).read_text(encoding="utf-8") != text]
    assert stale == [], "run: python docs/generate.py"


def test_site_lists_pages_that_exist():
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))

    def pages(entry):
        found = entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else [entry]
        return [entry] if isinstance(entry, str) else [page for part in found for page in pages(part)]

    listed = pages(config["nav"])
    assert len(listed) > 20
    assert [name for name in listed if not (ROOT / "docs" / name).is_file()] == []


def test_method_names_code_that_exists():
    text = (ROOT / "docs/method.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:mixing|training)/[\w/.]*)`", text)
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert {f"Eq. {number}" for number in (1, 2, 3, 4, 7)} <= set(re.findall(r"Eq\. \d", text))


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """One of everything in a warehouse, scores on a benchmark too."""
    from dmix.warehouse_schema.catalog.sync import sync
    from dmix.warehouse_schema.files.layout import Warehouse, publish_json

    fixtures = module_at(ROOT / "tests" / "warehouse_schema" / "conftest.py")
    root = tmp_path_factory.mktemp("cookbook") / "warehouse"
    root.mkdir()
    warehouse = Warehouse.at(root)
    fixtures.full_warehouse.__wrapped__(warehouse)
    score = {"task": "sums", "metric": "acc", "value": 0.5, "stderr": 0.1, "items": 4}
    publish_json(warehouse.run("r1") / "evaluations" / "step1-sums.json", {"step": 1, "scores": [score]})
    sync(warehouse)
    return warehouse


def cookbook():
    text = (ROOT / "docs/cookbook.md").read_text(encoding="utf-8")
    found = re.findall(r"### (\d+)\. (.*?)\n.*?```sql\n(.*?)```\nColumns: (.*?)\n", text, re.S)
    return [pytest.param(sql, columns.split(", "), id=number) for number, _, sql, columns in found]


def test_cookbook_has_twenty_questions():
    assert [question.id for question in cookbook()] == [str(number) for number in range(1, 21)]


# what the small warehouse has none of
_UNANSWERED = {"5", "12"}


@pytest.mark.parametrize(("sql", "columns"), cookbook())
def test_question_of_the_cookbook_is_answered(answered, sql, columns, request):
    from dmix.warehouse_schema.catalog.catalog import Catalog

    with Catalog.open_reader(answered) as catalog:
        found, rows = catalog.query(sql, ["r1"] * sql.count("?"))
    assert found == columns
    assert rows or request.node.callspec.id in _UNANSWERED


def test_plain_duckdb_answers_as_the_cookbook_says(answered, monkeypatch):
    monkeypatch.chdir(answered.root.parent)
    (code,) = blocks(ROOT / "docs/cookbook.md", "python")
    names = {}
    exec(code, names)
    assert list(names["tokens"].columns) == ["field", "domain", "tokens"] and len(names["tokens"]) == 4


def test_readme_has_commands_to_parse():
    assert len(list(dmix_lines(ROOT / "README.md"))) >= 6


def test_sql_of_the_readme_runs_on_an_empty_warehouse(tmp_path):
    from dmix.warehouse_schema.catalog.catalog import Catalog
    from dmix.warehouse_schema.catalog.sync import sync
    from dmix.warehouse_schema.files.layout import Warehouse

    warehouse = Warehouse.at(tmp_path)
    sync(warehouse)
    (block,) = re.findall(r"```sql\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    statements = [s.strip() for s in re.sub(r"--.*", "", block).split(";") if s.strip()]
    assert len(statements) >= 4
    with Catalog.open_reader(warehouse) as catalog:
        for statement in statements:
            columns, _ = catalog.query(statement)
            assert columns


def test_page_of_controllers_lists_them_all():
    from dmix.mixing.controllers.registry import CONTROLLERS

    page = (ROOT / "docs/controllers.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(.*?)` \|", page, re.M) == list(CONTROLLERS)


def test_own_controller_of_the_docs_steers(tmp_path):
    import numpy as np

    from dmix.mixing.controllers.registry import make_controller
    from dmix.mixing.space.domains import DomainSpace
    from dmix.mixing.space.history import History
    from dmix.warehouse_schema.files.layout import Warehouse

    page = (ROOT / "docs/controllers.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(code.splitlines()) <= 30
    (tmp_path / "keep_general.py").write_text(code)
    space = DomainSpace(("A",), np.array([60, 40]))
    spec = f"python:{tmp_path}/keep_general.py:KeepGeneral"
    controller = make_controller(spec, warehouse=Warehouse.at(tmp_path), space=space)

    def asked(*scores, objectives=("general",)):
        history = History(
            space=space,
            mixtures_TN=np.array([space.start_N] * len(scores)),
            feedback_TD=np.array(scores)[:, None],
            objectives=objectives,
            weights_D=np.ones(1),
            scales_D=np.ones(1),
            steps=5,
            step_samples=10,
            remaining_samples_N=space.samples_N,
            seed=0,
        )
        return controller.propose(history)

    assert asked(-3.0).mixture_N == pytest.approx([0.2, 0.8])
    assert asked(-3.0, -3.2).mixture_N == pytest.approx([0.6, 0.4])  # 0.2 + 2 * 0.2
    assert "a score is missing" in asked(-3.0, np.nan).note
    assert "no objective 'general'" in asked(-3.0, objectives=("other",)).note


def test_the_readme_takes_three_minutes():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
