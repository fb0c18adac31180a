"""What stops an estimation before it starts."""

from types import SimpleNamespace

import pytest

from dmix.etl.synthetic.generation_settings import GenerationSettings
from dmix.etl.synthetic.start_state.plan import plan_start_state
from dmix.etl.synthetic.start_state.settings import StartStateSettings
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.taxonomy import Taxonomy


def plan(tmp_path, manifest=None, **settings):
    return plan_start_state(
        Warehouse.at(tmp_path),
        str(tmp_path / "no model"),
        name="m",
        settings=StartStateSettings(**settings),
        generation=GenerationSettings(),
        manifest=manifest,
    )


@pytest.mark.parametrize("classifier", ["column:topic", "column"])
def test_labels_in_a_column_cannot_be_read_from_written_text(tmp_path, classifier):
    with pytest.raises(InputError, match="a model writes no labels"):
        plan(tmp_path, classifier=classifier)


def test_a_dataset_of_another_taxonomy_is_refused_before_the_model_is_looked_for(tmp_path):
    manifest = SimpleNamespace(dataset="d", taxonomy=Taxonomy("two", ("A", "B")))
    with pytest.raises(InputError, match="dataset d has taxonomy 'two', but classifier 'embedded'"):
        plan(tmp_path, manifest)
