"""The small dataset and model of the training tests, and a way to run commands on a warehouse."""

import pytest
from tests.training import conftest as _training

from dmix.cli.main import run

tiny_warehouse = _training.tiny_warehouse
environment_file = _training.environment_file
tiny_model = _training.tiny_model


@pytest.fixture
def on_warehouse(capsys):
    """Makes a function that runs a command on a warehouse: (exit code, stdout, stderr)."""

    def bound(warehouse):
        def call(*arguments):
            code = run([*arguments, "--warehouse", str(warehouse.root)])
            output = capsys.readouterr()
            return code, output.out, output.err

        call.warehouse = warehouse
        return call

    return bound
