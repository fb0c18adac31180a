"""What a training would take is counted as the training itself counts it, without torch."""

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from dmix.mixing.learning.outline import (
    outline_of_clone,
    outline_of_evaluation,
    outline_of_rl,
    outline_of_sft,
)
from dmix.mixing.learning.settings.clone import CloneSettings
from dmix.mixing.learning.settings.evaluate import EvaluateSettings
from dmix.mixing.learning.settings.rl import RlSettings
from dmix.mixing.learning.settings.sft import SftSettings
from dmix.mixing.offline.farm import load_farm
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse

ARCHIVE = Path(__file__).parents[2] / "fixtures" / "warehouse-0.1.tar.gz"


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """A warehouse with a farm and agents of both architectures."""
    work = tmp_path_factory.mktemp("outline")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(work, filter="data")
    return Warehouse.at(work / "dmix-0.1" / "warehouse")


@pytest.mark.parametrize("start", [None, "sft", "set"])
@pytest.mark.parametrize("architecture", [None, "set"])
def test_a_training_by_cql_is_counted_as_it_is_prepared(old, start, architecture):
    from dmix.mixing.learning.rl import prepare

    settings = RlSettings(architecture=architecture, layers=3, hidden_size=32, feedforward=48)
    if (start, architecture) == ("sft", "set"):
        with pytest.raises(InputError, match="architecture"):
            outline_of_rl(old, set_name="farm", settings=settings, start=start)
        return
    farm, first, resolved = prepare(old, set_name="farm", settings=settings, start=start)
    found = outline_of_rl(old, set_name="farm", settings=settings, start=start)
    assert found["parameters"] == first.num_parameters()
    assert found["preset"] == resolved.preset
    assert found["trajectories"] == len(farm.episodes)
    assert found["steps"] == int(farm.episodes.valid_mask_ET.sum())
    batch = min(resolved.batch_episodes, len(farm.episodes))
    assert found["tokens"] == found["updates"] * batch * farm.episodes.tokens_ESX.shape[1]


def test_a_clone_is_counted_as_it_is_taught(old):
    settings = CloneSettings(best=0.3)
    taught = load_farm(old, "farm", preset=None).episodes.best(0.3)
    found = outline_of_clone(old, set_name="farm", settings=settings)
    assert (found["trajectories"], found["steps"]) == (len(taught), int(taught.valid_mask_ET.sum()))


def test_an_evaluation_is_of_an_agent_that_fits(old):
    settings = EvaluateSettings(repeats=2)
    found = outline_of_evaluation(old, set_name="farm", agent_name="sft", settings=settings)
    assert found["trainings"] == 4 and found["parameters"] > 0
    assert outline_of_sft(old, set_names=["farm"], settings=SftSettings())["trajectories"] > 0


def test_counting_needs_no_torch():
    code = "import sys, dmix.mixing.learning.outline\nprint({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
