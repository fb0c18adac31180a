"""Stages of the quickstart that find out by themselves what is done."""

from types import SimpleNamespace

import pytest

from dmix.cli.workflows.quickstart import sizes
from dmix.cli.workflows.quickstart.stages import make_agent, make_dataset
from dmix.warehouse_schema.files.layout import Warehouse, publish_json


def test_an_agent_that_is_there_is_not_trained_again(tmp_path, monkeypatch):
    made, lines = [], []
    monkeypatch.setattr(
        "dmix.cli.workflows.agents.learn.train_agent", lambda *_, **given: made.append(given["method"])
    )
    warehouse = Warehouse.at(tmp_path)
    make_agent(warehouse, progress=lines.append)
    assert made == ["sft"]
    publish_json(warehouse.agent(sizes.NAME) / "config.json", {})
    make_agent(warehouse, progress=lines.append)
    assert made == ["sft"] and lines == [f"agent {sizes.NAME} exists already"]


@pytest.mark.parametrize("judging", [True, False])
def test_items_that_judge_are_kept_out_of_the_text_where_there_are_any(tmp_path, monkeypatch, judging):
    asked = []
    monkeypatch.setattr("dmix.cli.workflows.data.classify.classify_text", lambda *_, **__: None)
    monkeypatch.setattr(
        "dmix.cli.workflows.data.shard.shard_corpora", lambda *_, **given: asked.append(given["environment"])
    )
    files = SimpleNamespace(
        data=tmp_path, environment=tmp_path / "environment.yaml", judging=tmp_path / "judging.yaml"
    )
    if judging:
        files.judging.touch()
    make_dataset(None, Warehouse.at(tmp_path), files, progress=str)
    assert asked == [(files.environment, files.judging) if judging else (files.environment,)]
