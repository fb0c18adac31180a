"""What the docs say about files, commands and SQL is true."""

import re
import shlex
from pathlib import Path

import click
import pytest

from dmix.cli.main import dmix

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_that_pages_name_exist(page):
    text = page.read_text(encoding="utf-8")
    for file, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text):
        assert (ROOT / file).exists(), f"{page}: {file}"
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8") or not name, f"{page}: {name}"


def dmix_lines(page):
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"```bash\n(.*?)```", text, re.S):
        for line in block.replace("\\\n", " ").splitlines():
            for command in line.partition("#")[0].split("&&"):
                words = shlex.split(command)
                if words[:1] == ["dmix"]:
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


def test_readme_has_commands_to_parse():
    assert len(list(dmix_lines(ROOT / "README.md"))) >= 6


def test_sql_of_the_readme_runs_on_an_empty_warehouse(tmp_path):
    from dmix.warehouse_schema.catalog import Catalog, sync
    from dmix.warehouse_schema.layout import Warehouse

    warehouse = Warehouse.at(tmp_path)
    sync(warehouse)
    (block,) = re.findall(r"```sql\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    statements = [s.strip() for s in re.sub(r"--.*", "", block).split(";") if s.strip()]
    assert len(statements) >= 5
    with Catalog.open_reader(warehouse) as catalog:
        for statement in statements:
            columns, _ = catalog.query(statement)
            assert columns


def test_page_of_controllers_lists_them_all():
    from dmix.mixing.controllers import CONTROLLERS

    page = (ROOT / "docs/controllers.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(.*?)` \|", page, re.M) == list(CONTROLLERS)


def test_own_controller_of_the_docs_steers(tmp_path):
    import numpy as np

    from dmix.mixing.controllers import make_controller
    from dmix.mixing.domains import DomainSpace
    from dmix.mixing.history import History
    from dmix.warehouse_schema.layout import Warehouse

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
