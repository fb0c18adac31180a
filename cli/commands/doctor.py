"""`dmix doctor`: what this machine has, what is missing, and how to get it."""

import click

from dmix.cli.show.options import warehouse_options
from dmix.cli.show.workflow import Workflow, calls_workflow


@click.command()
@warehouse_options
@calls_workflow(dry_run=False)
def doctor() -> Workflow:
    """Check this machine: versions, Java, cores, memory, GPU and disk.

    The command shows how to install missing parts. The exit code is 1 if an essential part is missing. The
    command uses no network.

    Example: dmix doctor --json
    """
    from dmix.cli.workflows.start.doctor import examine_machine

    return examine_machine
