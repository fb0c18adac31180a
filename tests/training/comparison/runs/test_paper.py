"""The runs of the stage `paper`, planned without any."""

from dataclasses import replace

import pytest

from dmix.training.comparison.data.tiers import SCREENING_SEED
from dmix.training.comparison.runs import paper


def test_paths_follow_the_papers_preset_without_random_ones(study):
    settings = paper.paper_settings(study.loaded, study.tier)
    assert (settings.preset, settings.paths, settings.random_paths) == ("paper", study.tier.paper_paths, 0)


def test_runs_are_a_path_for_each_k_and_three_controllers_per_seed(study):
    tier = replace(study.tier, paper_paths=2, top_k=(1, 100, 200), screening_seeds=4)
    study = replace(study, tier=tier)
    assert paper.paper_runs(study) == 2 * 3 + 3 * 4
    units = paper.paper_controllers(study)
    assert [unit.controller for unit in units] == ["natural", "paper-sft", "paper-rl"] * 4
    assert [unit.spec for unit in units[:3]] == ["natural", "agent:paper-sft", "agent:paper-rl"]
    assert [unit.seed - SCREENING_SEED for unit in units[::3]] == [0, 1, 2, 3]


def test_the_proxy_starts_from_random_weights_and_never_varies(study):
    proxy = paper.paper_proxy(study)
    assert (proxy.init, proxy.vary) == ("scratch", 0.0)


@pytest.mark.parametrize("wanted", [[], ["natural"]])
def test_no_agent_is_trained_for_runs_that_need_none(study, wanted, monkeypatch):
    monkeypatch.setattr(paper, "publish_farm", pytest.fail)
    paper.make_paper_agents(study, [u for u in paper.paper_controllers(study) if u.spec in wanted])


def test_the_agent_of_cql_starts_from_that_of_sft(study, monkeypatch):
    made = []
    monkeypatch.setattr(paper, "publish_farm", lambda _, **given: made.append(given["base"]))
    for name in ("rl.train_rl", "sft.train_sft"):
        monkeypatch.setattr(
            f"dmix.mixing.learning.{name}",
            lambda _, **given: made.append((given["agent_name"], given.get("start"))),
        )
    paper.make_paper_agents(study, paper.paper_controllers(study))
    assert made == [None, ("paper-sft", None), ("paper-rl", "paper-sft")]
