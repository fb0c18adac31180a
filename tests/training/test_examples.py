"""The example files in docs/ load, show every field, and build what they describe."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import yaml

from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.mixtures import parse_mixture
from dmix.mixing.trajectories.objectives import Environment, Objective, load_environment
from dmix.training.model.models import load_model
from dmix.training.model.settings import (
    ModelSettings,
    ProxySettings,
    TrainingSettings,
    load_proxy,
    load_training,
)
from dmix.warehouse_schema.files.manifests import read_dataset_manifest
from dmix.warehouse_schema.settings import load_settings, read_yaml
from dmix.warehouse_schema.taxonomy import DEFAULT_TAXONOMY

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("training", TrainingSettings),
        ("model", ModelSettings),
        ("proxy", ProxySettings),
        ("environment", Environment),
    ],
)
def test_every_field_is_shown(name, settings):
    shown = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    assert set(shown) == {field.name for field in dataclasses.fields(settings)}


def test_every_field_of_an_objective_is_shown():
    first = yaml.safe_load((EXAMPLES / "environment.yaml").read_text())["objectives"][0]
    assert set(first) == {field.name for field in dataclasses.fields(Objective)}


def test_the_training_example_is_the_defaults():
    assert load_training(EXAMPLES / "training.yaml") == TrainingSettings()


def test_the_environment_example_weighs_its_objectives_alike():
    environment = load_environment(EXAMPLES / "environment.yaml")
    assert environment.weights_D.tolist() == [0.5, 0.5] and environment.scales_D.tolist() == [0.2, 1.0]


def test_the_model_and_proxy_examples_build_models(tiny_warehouse):
    manifest = read_dataset_manifest(tiny_warehouse)
    model = load_settings(ModelSettings, EXAMPLES / "model.yaml")
    proxy = load_proxy(EXAMPLES / "proxy.yaml")
    sizes = [
        load_model(dataclasses.replace(settings, tokenizer="bytes"), manifest).parameters_count
        for settings in (model, proxy.model())
    ]
    assert 800_000 < sizes[0] < 900_000 and 100_000 < sizes[1] < 130_000


def test_the_mixture_example_fits_the_default_taxonomy():
    space = DomainSpace(DEFAULT_TAXONOMY.labels, np.ones(52, np.int64))
    mixture = parse_mixture(
        read_yaml(EXAMPLES / "mixture.yaml", keep_names=True), space=space, where="mixture.yaml"
    )
    assert mixture.sum() == pytest.approx(1) and mixture[space.target_N].sum() == pytest.approx(0.4)
