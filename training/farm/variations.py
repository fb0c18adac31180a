"""Proxies that depart from the usual one, so that a farm shows what feedback alone can reveal.

An agent whose whole farm was trained alike needs no feedback: the step and the mixtures tell it
everything. So in `default` a quarter of the trajectories get a proxy with another learning rate,
width, amount of pre-training or subset of the source (method §3), one departure per proxy. Which one
follows from the id of the trajectory, so it is the same on every machine and after every restart.

Other amounts of pre-training, and other widths under `init: base`, are further base models, which
the user names; without them those departures are left out.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.space.domains import DomainSpace
from dmix.training.model.settings import ProxySettings

USUAL = ""
SLOWER, FASTER = "learning_rate*0.5", "learning_rate*2"
NARROWER = "width*0.5"
LESS_SOURCE = "source_subset"
OTHER_BASE = "base="

_FACTORS = {SLOWER: 0.5, FASTER: 2.0}
_HALVED = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")


def possible_variations(
    proxy: ProxySettings, *, space: DomainSpace, other_bases: Sequence[str] = ()
) -> tuple[str, ...]:
    """Names of the departures that a farm can make.

    Args:
        proxy: The usual proxy.
        space: Of the dataset; a subset of the source needs two active source domains.
        other_bases: Names of base models beside the usual one.
    """
    names = [SLOWER, FASTER]
    if int((space.active_N & ~space.target_N).sum()) > 1:
        names.append(LESS_SOURCE)
    if proxy.init == "scratch" and _half_width(proxy.config) is not None:
        names.append(NARROWER)
    return (*names, *(f"{OTHER_BASE}{name}" for name in other_bases))


def variation_of(trajectory_id: str, *, share: float, seed: int, possible: Sequence[str]) -> str:
    """The departure of one trajectory's proxy; `USUAL` for about 1 - share of them.

    Args:
        trajectory_id: The trajectory.
        share: Probability of a departure, from 0 to 1.
        seed: Seed of the proxies.
        possible: The departures, all equally likely.
    """
    rng = _rng("variation", trajectory_id, seed=seed)
    if rng.random() >= share:
        return USUAL
    return possible[int(rng.integers(len(possible)))]


def varied_proxy(proxy: ProxySettings, variation: str) -> ProxySettings:
    """The proxy under a departure: another learning rate or width, everything else the same."""
    if variation in _FACTORS:
        rate = proxy.training.peak_rate * _FACTORS[variation]
        return replace(proxy, training=replace(proxy.training, learning_rate=rate))
    if variation == NARROWER:
        config = _half_width(proxy.config)
        assert config is not None
        return replace(proxy, config=config)
    return proxy


def starting_model(variation: str) -> str:
    """The departures that share a start: all but those of another width or base share the usual model.

    Args:
        variation: From `variation_of`.

    Returns:
        The departure itself if it decides the model, else `USUAL`.
    """
    return variation if variation == NARROWER or variation.startswith(OTHER_BASE) else USUAL


def varied_mixtures(
    mixtures_TN: NDArray[np.float64], variation: str, *, trajectory_id: str, seed: int, space: DomainSpace
) -> NDArray[np.float64]:
    """What the proxy is trained on: the trajectory itself, or without some source domains.

    Under `LESS_SOURCE` each active source domain is withheld with probability 1/2, at least one
    withheld and one kept. Their weight goes to the kept ones in proportion to the weights there, or
    to natural shares where those are all 0, so that the share of the source stays as it is.

    Args:
        mixtures_TN: The trajectory, row 0 the start state.
        variation: From `variation_of`.
        trajectory_id: The trajectory.
        seed: Seed of the proxies.
        space: Of the dataset.
    """
    if variation != LESS_SOURCE:
        return mixtures_TN
    source = np.flatnonzero(space.active_N & ~space.target_N)
    order = _rng("source", trajectory_id, seed=seed).permutation(source)
    number = int(_rng("withheld", trajectory_id, seed=seed).binomial(len(source), 0.5))
    withheld, kept = np.split(order, [min(max(number, 1), len(source) - 1)])
    found = mixtures_TN.copy()
    moved_T1 = found[:, withheld].sum(1, keepdims=True)
    found[:, withheld] = 0.0
    weights_TK = found[:, kept]
    total_T1 = weights_TK.sum(1, keepdims=True)
    natural_K = space.samples_N[kept] / space.samples_N[kept].sum()
    shares_TK = np.where(total_T1 > 0, weights_TK / np.where(total_T1 > 0, total_T1, 1.0), natural_K)
    found[:, kept] += moved_T1 * shares_TK
    return found


def _half_width(config: dict[str, Any]) -> dict[str, Any] | None:
    """The configuration with half of its heads, and all widths with them; None if they are odd."""
    given = {name: config[name] for name in _HALVED if name in config}
    if "hidden_size" not in given or "num_attention_heads" not in given:
        return None
    if any(value % 2 for value in given.values()):
        return None
    return {**config, **{name: value // 2 for name, value in given.items()}}


def _rng(what: str, trajectory_id: str, *, seed: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{what}/{seed}/{trajectory_id}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))
