"""Mixtures as the files of each trainer."""

import numpy as np
import pytest
import yaml
from tests.manifests import dataset_manifest

from dmix.cli.workflows.effects.mixture_files import mixture_file
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse

MIXTURE = np.array([0.75, 0.0, 0.25, 1e-9])


def file_of(form, tmp_path, passes_N=(2.3, 0, 1, 0), **more):
    return mixture_file(
        MIXTURE,
        form=form,
        warehouse=Warehouse.at(tmp_path / "w"),
        manifest=dataset_manifest([8, 8, 8, 8]),
        passes_N=np.array(passes_N),
        **more,
    )


def test_dmix_reads_shares_by_domain_below_a_comment(tmp_path):
    text = file_of("dmix", tmp_path, header=["probe-1"])
    assert text.startswith("# probe-1\n")
    assert yaml.safe_load(text) == {"source/domain-00": 0.75, "target/domain-00": 0.25}


def test_megatron_gets_weights_and_prefixes_and_no_comment(tmp_path):
    words = file_of("megatron", tmp_path, header=["probe-1"]).split()
    assert words == [
        "0.750000", "source/domain-00_text_document", "0.250000", "target/domain-00_text_document",
    ]  # fmt: skip


def test_streaming_gets_folders_and_proportions(tmp_path):
    first, second = yaml.safe_load(file_of("streaming", tmp_path))["streams"]
    assert first["local"].endswith("w/streams/counts/source/domain-00") and "remote" not in first
    assert (first["proportion"], second["proportion"]) == (0.75, 0.25)


def test_axolotl_gets_one_entry_per_pass(tmp_path):
    entries = yaml.safe_load(file_of("axolotl", tmp_path))["datasets"]
    assert [(entry["path"], entry["weight"]) for entry in entries] == [
        ("source/domain-00.jsonl", 1.0),
        ("source/domain-00.jsonl", 1.0),
        ("source/domain-00.jsonl", 0.3),
        ("target/domain-00.jsonl", 1.0),
    ]


def test_an_unknown_format_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(InputError, match=r"'nemo'.*megatron"):
        file_of("nemo", tmp_path)
