"""The small dataset and model of the training tests, and a way to run commands on a warehouse."""

from importlib import util
from pathlib import Path

import pytest

from dmix.cli.main import run

# tests are no package, so that they cannot import the project's folders by their bare names
_spec = util.spec_from_file_location(
    "training_fixtures", Path(__file__).parents[1] / "training" / "conftest.py"
)
_training = util.module_from_spec(_spec)
_spec.loader.exec_module(_training)

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
