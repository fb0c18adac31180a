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
