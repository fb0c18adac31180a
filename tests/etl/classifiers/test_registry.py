"""Classifiers by name: what is refused, and what a fallback needs."""

import numpy as np
import pytest

from dmix.etl.classifiers.column import ColumnClassifier
from dmix.etl.classifiers.features import NUM_FEATURES
from dmix.etl.classifiers.linear import LinearModel
from dmix.etl.classifiers.registry import FROM_DATA, WEIGHTS_NAME, classifier_spec, make_classifier
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.taxonomy import DEFAULT_TAXONOMY, Taxonomy

TWO = Taxonomy("two", ("a", "b"))


@pytest.fixture(scope="module")
def distilled(tmp_path_factory):
    """Folder of distilled classifiers that holds `mine`, of two labels."""
    folder = tmp_path_factory.mktemp("classifiers")
    (folder / "mine").mkdir()
    model = LinearModel(
        taxonomy=TWO,
        weight=np.zeros((NUM_FEATURES, 2), np.float16),
        mass=np.zeros(NUM_FEATURES, np.float16),
        bias=np.zeros(2, np.float32),
        prior_mass=1.0,
    )
    model.save(folder / "mine" / WEIGHTS_NAME)
    return folder


@pytest.mark.parametrize("name", ["", "unknown", "embedded:x", "column", "column:", "distilled:"])
def test_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(InputError, match=r"is unknown; use embedded, nvidia, .*distilled:NAME"):
        classifier_spec(name, taxonomy=None)


@pytest.mark.parametrize(
    ("name", "taxonomy", "said"),
    [
        ("embedded", "weborganizer-topics", "has only the 26 labels"),
        ("nvidia", FROM_DATA, "needs --classifier column:NAME, not 'nvidia'"),
    ],
)
def test_a_taxonomy_that_does_not_go_with_the_classifier_is_refused(name, taxonomy, said):
    with pytest.raises(InputError, match=said):
        classifier_spec(name, taxonomy=taxonomy)


def test_labels_come_from_the_data_from_a_taxonomy_or_are_the_default():
    assert classifier_spec("column:x", taxonomy=FROM_DATA).taxonomy is None
    assert classifier_spec("column:x", taxonomy=None).taxonomy == DEFAULT_TAXONOMY
    chosen = classifier_spec("column:x", taxonomy="weborganizer-topics")
    assert chosen.taxonomy.name == "weborganizer-topics"
    made = make_classifier(chosen)
    assert isinstance(made, ColumnClassifier) and make_classifier(chosen) is made


def test_a_distilled_classifier_brings_its_labels(distilled, tmp_path):
    spec = classifier_spec("distilled:mine", taxonomy=None, distilled=distilled)
    assert spec.taxonomy == TWO and make_classifier(spec).name == "distilled:mine"
    with pytest.raises(NotFoundError, match=r"'other' is not in .*available: mine.*--name other"):
        classifier_spec("distilled:other", taxonomy=None, distilled=distilled)
    with pytest.raises(NotFoundError, match="available: none yet"):
        classifier_spec("distilled:mine", taxonomy=None, distilled=tmp_path)
    with pytest.raises(InputError, match="needs a warehouse"):
        classifier_spec("distilled:mine", taxonomy=None)
    with pytest.raises(InputError, match=r"has the 2 labels of 'two', not .* 'weborganizer-topics'"):
        classifier_spec("distilled:mine", taxonomy="weborganizer-topics", distilled=distilled)


def test_a_fallback_has_the_labels_of_the_first(distilled):
    spec = classifier_spec("embedded", taxonomy=None, fallback="nvidia", margin=0.2)
    assert (spec.fallback.name, spec.fallback.taxonomy, spec.margin) == ("nvidia", DEFAULT_TAXONOMY, 0.2)
    with pytest.raises(InputError, match="have different labels"):
        classifier_spec("embedded", taxonomy=None, fallback="distilled:mine", distilled=distilled)
    with pytest.raises(InputError, match=f"{FROM_DATA}.*--fallback embedded"):
        classifier_spec("column:x", taxonomy=FROM_DATA, fallback="embedded")
