from dataclasses import dataclass

import click
import pytest
from click.testing import CliRunner

from dmix.cli.show.options import Count, FiniteFloat, settings_options
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


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
def test_numbers_of_flags_are_finite(value):
    @click.command()
    @click.option("--hours", type=FiniteFloat(min=0))
    def command(hours):
        click.echo(hours)

    assert CliRunner().invoke(command, ["--hours", "0.5"]).output == "0.5\n"
    refused = CliRunner().invoke(command, ["--hours", value])
    assert (refused.exit_code, "--hours" in refused.output) == (2, True)


def test_a_number_without_limits_shows_no_range():
    @click.command()
    @click.option("--hours", type=FiniteFloat(), default=1.0, show_default=True, help="Hours.")
    @click.option("--share", type=FiniteFloat(min=0), default=1.0, show_default=True, help="Share.")
    def command(hours, share):
        pass

    text = CliRunner().invoke(command, ["--help"]).output
    assert "[default: 1.0]" in text and "x<=None" not in text
    assert "x>=0" in text


def test_a_count_says_what_is_too_large_and_help_shows_its_least_value_alone():
    @click.command()
    @click.option("--groups", type=Count(min=2, most=9), help="Number of groups.")
    def command(groups):
        click.echo(groups)

    runner = CliRunner()
    assert runner.invoke(command, ["--groups", "9"]).output == "9\n"
    assert "x>=2" in runner.invoke(command, ["--help"]).output
    for given, said in (("10", "10 is too large, expected at most 9"), ("1", "not in the range x>=2")):
        refused = runner.invoke(command, ["--groups", given])
        assert refused.exit_code == 2 and said in refused.output
