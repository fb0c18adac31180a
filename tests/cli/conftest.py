"""The small dataset and model of the training tests, for the commands that train."""

from importlib import util
from pathlib import Path

# tests are no package, so that they cannot import the project's folders by their bare names
_spec = util.spec_from_file_location(
    "training_fixtures", Path(__file__).parents[1] / "training" / "conftest.py"
)
_training = util.module_from_spec(_spec)
_spec.loader.exec_module(_training)

tiny_warehouse = _training.tiny_warehouse
environment_file = _training.environment_file
tiny_model = _training.tiny_model
