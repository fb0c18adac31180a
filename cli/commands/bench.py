"""`dmix bench`: the group of benchmarks; each command has a module of its own."""

import click

from dmix.cli.commands.bench_quality import quality
from dmix.cli.commands.bench_regmix import regmix


@click.group()
def bench() -> None:
    """Compare controllers, or test regressors."""


bench.add_command(quality)
bench.add_command(regmix)
