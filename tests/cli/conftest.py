"""The small dataset and model of the training tests, and a way to run commands on a warehouse."""

import pytest
from tests.training import conftest as _training

from dmix.cli.main import run
from dmix.mixing.trajectories.sampling import sample_trajectories
from dmix.mixing.trajectories.settings import SampleSettings
from dmix.warehouse_schema.files.layout import Warehouse

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


@pytest.fixture
def warehouse_with_set(tmp_path, make_manifest):
    """Makes a warehouse with one small set of trajectories."""

    def make(set_name, *, paths):
        warehouse = Warehouse.at(tmp_path / "warehouse")
        sample_trajectories(
            warehouse,
            manifest=make_manifest((30, 20, 0, 40, 10, 25)),
            set_name=set_name,
            settings=SampleSettings(top_k=(1,), paths=paths, candidates=100, steps=4, batch_size=8),
            processes=1,
        )
        return warehouse

    return make
