"""The (target share x step) report, and what it says about the two presets."""

import numpy as np
import pytest

from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.coverage import SHARE_EDGES, coverage, field_dimensions, share_cell
from dmix.mixing.trajectories.sampling import read_trajectories, sample_trajectories
from dmix.mixing.trajectories.settings import SampleSettings
from dmix.warehouse_schema.files.layout import Warehouse

CELLS = len(SHARE_EDGES) - 1


def of_shares(*shares):
    """A trajectory over (source, target) with these target shares; entry 0 is the start."""
    return np.array([[1, 0], *([1 - share, share] for share in shares)], dtype=float)


TARGET = np.array([False, True])


def test_cells_hold_their_lower_edge_and_the_last_its_upper_one():
    assert share_cell(np.array([0, 0.0199, 0.02, 0.1, 0.979, 0.98, 1.0])).tolist() == [
        0,
        0,
        1,
        2,
        CELLS - 2,
        CELLS - 1,
        CELLS - 1,
    ]


def test_counts_worked_by_hand():
    report = coverage([of_shares(0.05, 0.99), of_shares(0.05), of_shares()], target_N=TARGET, steps=3)
    assert report.counts_ZM[1].tolist() == [2, 0, 0]
    assert report.counts_ZM[-1].tolist() == [0, 1, 0]
    assert report.counts_ZM.sum() == 3
    assert report.lowest_M == pytest.approx([0.05, 0.99, np.nan], nan_ok=True)
    assert len(report.empty_cells) == 3 * CELLS - 2
    assert report.empty_cells[0] == (0.0, 0.02, 1)


def test_no_trajectories_leave_every_cell_empty():
    assert len(coverage([], target_N=TARGET, steps=2).empty_cells) == 2 * CELLS


def test_field_dimensions_count_active_and_effective_domains():
    source, target = field_dimensions(DomainSpace(("a", "b", "c"), np.array([10, 10, 0, 5, 0, 0])))
    assert (source.active, target.active) == (2, 1)
    assert (source.effective, target.effective) == (pytest.approx(2), pytest.approx(1))


def sampled(tmp_path, manifest, **changes):
    warehouse = Warehouse.at(tmp_path)
    found = sample_trajectories(
        warehouse,
        manifest=manifest,
        set_name="set",
        settings=SampleSettings(candidates=500, **changes),
        processes=1,
    )
    mixtures = [trajectory.mixtures_TN for trajectory in read_trajectories(warehouse, "set")]
    return coverage(mixtures, target_N=found.domain_space.target_N, steps=found.steps)


def lopsided(rng, *, source_domains, target_domains, target_share):
    """Samples of 26 + 26 domains of which some are active, of very different size."""
    counts = np.zeros(52)
    counts[:source_domains] = rng.dirichlet(np.full(source_domains, 0.5)) * 1e5 * (1 - target_share)
    counts[26 : 26 + target_domains] = rng.dirichlet(np.full(target_domains, 0.5)) * 1e5 * target_share
    return np.ceil(counts).astype(int)


@pytest.mark.parametrize(
    ("source_domains", "target_domains", "target_share"), [(26, 26, 0.48), (20, 5, 0.48), (20, 5, 0.3)]
)
def test_default_shows_shares_from_002_to_098_at_every_step(
    tmp_path, make_manifest, source_domains, target_domains, target_share
):
    counts = lopsided(
        np.random.default_rng(1),
        source_domains=source_domains,
        target_domains=target_domains,
        target_share=target_share,
    )
    report = sampled(
        tmp_path, make_manifest(counts), top_k=(1, 5, 50, 500), paths=21, random_paths=44, seed=1
    )
    assert report.counts_ZM.shape == (CELLS, 16)
    assert (report.lowest_M <= 0.02).all()
    assert (report.highest_M >= 0.98).all()
    assert [cell for cell in report.empty_cells if 0.02 <= cell[0] < 0.98] == []


def test_paper_shows_neither_low_nor_high_shares(tmp_path, make_manifest):
    counts = lopsided(np.random.default_rng(1), source_domains=26, target_domains=26, target_share=0.48)
    report = sampled(
        tmp_path, make_manifest(counts), preset="paper", paths=4, steps=20, top_k=(1, 5, 50, 500)
    )
    assert np.nanmin(report.lowest_M) > 0.2
    assert np.nanmax(report.highest_M) < 0.85
