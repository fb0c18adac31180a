"""The shipped split keeps its own rule; worlds follow from it, each by itself."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.worlds import settings as module
from benchmarks.worlds.settings import (
    BASES,
    KINDS,
    draw_world,
    draw_worlds,
    load_split,
    world_setting,
    write_worlds,
)

from dmix.training.comparison.data.settings import load_setting
from dmix.warehouse_schema.errors import InputError, NotFoundError

SHIPPED = Path(__file__).parents[3] / "benchmarks" / "quality"
SPLIT = load_split(SHIPPED / "worlds.yaml")
FILES = {name: f"corpora/{name}.jsonl.gz" for name in SPLIT.kilobytes}


def by_hash(names, *, prefix):
    """Names in the order of the SHA-256 of `PREFIX/NAME`, the rule by which the shipped split was made."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{prefix}/{name}".encode()).hexdigest())


def test_the_shipped_split_keeps_the_rule_that_it_states():
    sets = [name for name in SPLIT.targets if name not in SPLIT.sources]
    assert tuple(by_hash(sets, prefix="worlds")[:12]) == SPLIT.held_out_targets
    own = by_hash(sets, prefix="worlds")[12:] + by_hash(SPLIT.sources, prefix="worlds/target")[:6]
    assert tuple(own) == SPLIT.fitting_targets
    assert SPLIT.sealed[:3] == ("medquad", "masc", "bbc_news") and len(SPLIT.sealed) == 9
    rest = [*SPLIT.sealed[3:], *SPLIT.sources]
    assert tuple(by_hash(rest, prefix="worlds")[:6]) == SPLIT.sealed[3:]


def test_held_out_worlds_share_nothing_that_decides_with_fitting_ones():
    fitting, judging = (draw_worlds(SPLIT, kind) for kind in KINDS)
    assert len(fitting) == len(judging) == 12
    targets = [set(world.targets) for world in judging]
    assert sum(map(len, targets)) == len(set.union(*targets))
    seen = {name for world in fitting for name in (*world.targets, *world.sources, world.outside)}
    assert not seen & set.union(*targets)
    assert {world.base for world in fitting} <= set(BASES["fitting"])
    assert not set(BASES["fitting"]) & set(BASES["held-out"])
    used = seen | {name for world in judging for name in (*world.targets, *world.sources, world.outside)}
    assert not used & set(SPLIT.sealed)


@pytest.mark.parametrize("kind", KINDS)
def test_worlds_are_within_their_bounds_and_differ(kind):
    found = draw_worlds(SPLIT, kind)
    assert len({(world.sources, world.targets) for world in found}) == 12
    for world in found:
        assert world.outside not in {*world.sources, *world.targets}
        assert not set(world.sources) & set(world.targets)
        assert 5 <= len(world.sources) <= 10 and 8 <= world.steps <= 24
        assert world.step_samples % 8 == 0
        assert world.steps * world.step_samples == pytest.approx(2560, rel=0.05)
        assert 0 < world.target_share <= 0.6 + 1e-6
        assert world.max_passes * (world.source_supply + world.target_supply) > 1.09
    assert np.std([world.target_share for world in found]) > 0.05


def test_a_world_does_not_depend_on_how_many_there_are_or_on_the_order_of_the_lists():
    other = replace(SPLIT, fitting_worlds=3, sources=tuple(reversed(SPLIT.sources)))
    assert draw_world(SPLIT, "fitting", 2) == draw_worlds(other, "fitting")[2]
    assert draw_world(replace(SPLIT, seed=1), "fitting", 2) != draw_world(SPLIT, "fitting", 2)


def test_every_world_is_a_setting_of_the_third_protocol(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHIPPED", SHIPPED)
    paths = write_worlds(SPLIT, tmp_path, files=FILES)
    assert len(paths) == 28
    for path in paths:
        loaded = load_setting(str(path))
        assert loaded.settings.protocol == 3 and loaded.settings.items == 30
        assert loaded.training["learning_rate"] in (1e-3, 2e-3, 4e-3)


def test_a_corpus_without_a_file_is_named():
    with pytest.raises(NotFoundError, match="has no file"):
        world_setting(draw_world(SPLIT, "fitting", 0), {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": (*SPLIT.sources, "networkx")}, "'networkx' is held out and in a fitting world"),
        ({"sealed": ("gitenberg",)}, "'gitenberg' is sealed and in a world"),
        ({"held_out_worlds": 11}, "11 held-out worlds need as many target sets, but there are 12"),
        ({"held_out_targets": ("nothing",)}, "'nothing' is not a set of targets"),
        ({"kilobytes": {}}, "kilobytes lack"),
    ],
)
def test_a_split_that_leaks_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        replace(SPLIT, **changes)
