from dataclasses import dataclass

import click
import pytest

from dmix.cli.show.options import settings_options
from dmix.warehouse_schema.settings import setting


@dataclass(frozen=True, kw_only=True)
class Switches:
    fast: bool = setting(False, help="A switch.")
    careful: bool = setting(True, help="Another one.")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], Switches()),
        (["--fast", "--no-careful"], Switches(fast=True, careful=False)),
        (["--no-fast", "--careful"], Switches()),
    ],
)
def test_switches_are_flags_with_an_opposite(arguments, expected):
    found = []

    @click.command()
    @settings_options(Switches)
    def command(settings):
        found.append(settings)

    command.main(arguments, standalone_mode=False)
    assert found == [expected]
