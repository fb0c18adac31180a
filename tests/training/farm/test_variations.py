"""Varied proxies: which trajectories get one, and what it changes."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from dmix.mixing.space.domains import DomainSpace
from dmix.training.farm.variations import (
    FASTER,
    LESS_SOURCE,
    NARROWER,
    SLOWER,
    USUAL,
    possible_variations,
    starting_model,
    variation_of,
    varied_mixtures,
    varied_proxy,
)
from dmix.training.model.settings import ProxySettings
from dmix.warehouse_schema.errors import InputError

# source A, B, C and target A; target B and C are empty
SPACE = DomainSpace(("A", "B", "C"), np.array([10, 20, 30, 40, 0, 0]))
IDS = [f"inductive-1-{number:04d}" for number in range(4_000)]
ALL = (SLOWER, FASTER, LESS_SOURCE, NARROWER)


def test_a_share_of_the_trajectories_is_varied_in_equal_parts():
    counts = Counter(variation_of(name, share=0.25, seed=0, possible=ALL) for name in IDS)
    assert counts[USUAL] == pytest.approx(3_000, abs=120)
    assert all(counts[name] == pytest.approx(250, abs=60) for name in ALL)


def test_only_another_width_or_base_is_another_start():
    same = {starting_model(name) for name in (USUAL, SLOWER, FASTER, LESS_SOURCE)}
    assert same == {USUAL}
    assert [starting_model(name) for name in (NARROWER, "base=less")] == [NARROWER, "base=less"]


def test_variations_follow_from_id_and_seed_alone():
    def chosen(seed):
        return [variation_of(name, share=0.5, seed=seed, possible=ALL) for name in IDS[:50]]

    assert chosen(0) == chosen(0) != chosen(1)
    assert {variation_of(name, share=0.0, seed=0, possible=ALL) for name in IDS[:50]} == {USUAL}
    assert USUAL not in {variation_of(name, share=1.0, seed=0, possible=ALL) for name in IDS[:50]}


def test_what_is_possible_depends_on_init_width_bases_and_domains():
    scratch, base = ProxySettings(), ProxySettings(init="base")
    assert possible_variations(scratch, space=SPACE) == (SLOWER, FASTER, LESS_SOURCE, NARROWER)
    assert possible_variations(base, space=SPACE, other_bases=["wide", "short"]) == (
        SLOWER, FASTER, LESS_SOURCE, "base=wide", "base=short"
    )  # fmt: skip
    one_source = DomainSpace(("A", "B"), np.array([10, 0, 5, 5]))
    assert LESS_SOURCE not in possible_variations(scratch, space=one_source)
    odd = dataclasses.replace(scratch, config={"hidden_size": 63, "num_attention_heads": 3})
    assert NARROWER not in possible_variations(odd, space=SPACE)
    assert NARROWER not in possible_variations(dataclasses.replace(scratch, config={}), space=SPACE)


def test_rate_and_width_change_and_nothing_else():
    usual = ProxySettings()
    slower, faster = varied_proxy(usual, SLOWER), varied_proxy(usual, FASTER)
    assert (slower.training.learning_rate, faster.training.learning_rate) == (5e-4, 2e-3)
    assert dataclasses.replace(slower, training=usual.training) == usual
    narrow = varied_proxy(usual, NARROWER)
    assert narrow.config == {
        **usual.config,
        "hidden_size": 32,
        "intermediate_size": 88,
        "num_attention_heads": 2,
    }
    assert varied_proxy(usual, USUAL) == varied_proxy(usual, LESS_SOURCE) == usual


def test_withheld_source_domains_hand_their_weight_to_the_kept_ones():
    mixtures = np.array([[1 / 6, 1 / 3, 1 / 2, 0, 0, 0], [0.1, 0.1, 0.2, 0.6, 0, 0], [0, 0, 0, 1, 0, 0]])
    withheld_numbers = set()
    for name in IDS[:40]:
        found = varied_mixtures(mixtures, LESS_SOURCE, trajectory_id=name, seed=0, space=SPACE)
        assert found.sum(1) == pytest.approx(np.ones(3))
        np.testing.assert_array_equal(found[:, 3:], mixtures[:, 3:])
        kept = found[0, :3] > 0
        assert 1 <= kept.sum() <= 2
        assert (found[1, :3][~kept] == 0).all()
        # the kept ones keep their proportions
        wanted = mixtures[1, :3][kept] * 0.4 / mixtures[1, :3][kept].sum()
        assert found[1, :3][kept] == pytest.approx(wanted)
        withheld_numbers.add(3 - kept.sum())
    assert withheld_numbers == {1, 2}


def test_weight_of_the_withheld_goes_by_natural_shares_where_the_kept_have_none():
    found = varied_mixtures(np.eye(6)[:3], LESS_SOURCE, trajectory_id=IDS[0], seed=0, space=SPACE)
    assert found.sum(1) == pytest.approx(np.ones(3))
    kept = found.sum(0)[:3] > 0
    for row in np.flatnonzero(~kept):
        natural = np.array([10, 20, 30]) * kept
        assert found[row, :3] == pytest.approx(natural / natural.sum())


def test_usual_proxies_get_the_trajectory_itself():
    mixtures = np.eye(6)[:3]
    assert varied_mixtures(mixtures, USUAL, trajectory_id="a", seed=0, space=SPACE) is mixtures


@pytest.mark.parametrize("vary", [-0.1, 1.1])
def test_vary_is_a_share(vary):
    with pytest.raises(InputError, match=f"vary is {vary}, expected 0 to 1"):
        ProxySettings(vary=vary)
