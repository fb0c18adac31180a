import pytest
from tests.training.report.fixtures import add_farm

from dmix.training.report.queries.farm_facts import read_farms
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.catalog.sync import sync


@pytest.fixture
def farm(warehouse):
    add_farm(warehouse)
    sync(warehouse)
    with Catalog.open_reader(warehouse) as catalog:
        (found,) = read_farms(catalog)
    return found


def test_paths_start_at_the_start_state_and_know_their_kind(farm):
    assert (farm.steps, farm.scored, farm.varied) == (4, 6, 1)
    assert {(path.kind, path.top_k) for path in farm.paths} == {
        ("segments", None),
        ("inductive", 1),
        ("inductive", 100),
    }
    assert all(path.target_T[0] == 0 and len(path.target_T) == 5 for path in farm.paths)


def test_a_contrast_averages_the_steps_with_the_largest_changes(farm):
    usual = [path for path in farm.paths if path.trajectory_id != "inductive-0005"]
    shares = sorted(share for path in usual for share in path.target_T[1:])
    general, maths = farm.contrasts["raw"]
    # a tenth of the 20 steps of usual proxies; `maths` rises by ten times the target share
    assert (maths.objective, maths.steps, maths.tail) == ("maths", 20, 2)
    assert maths.raised_N[3:].sum() == pytest.approx(sum(shares[-2:]) / 2)
    assert maths.lowered_N[3:].sum() == pytest.approx(sum(shares[:2]) / 2)
    assert maths.all_N[3:].sum() == pytest.approx(sum(shares) / 20)
    assert (maths.rise, maths.fall) == pytest.approx((10 * shares[-2], 10 * shares[1]))
    assert general.raised_N == pytest.approx(maths.lowered_N)


def test_against_the_mean_of_the_step_a_common_drift_counts_for_nothing(farm):
    usual = [path for path in farm.paths if path.trajectory_id != "inductive-0005"]
    above = [
        path.target_T[step] - sum(other.target_T[step] for other in usual) / 5
        for path in usual
        for step in range(1, 5)
    ]
    maths = farm.contrasts["step"][1]
    assert maths.rise == pytest.approx(10 * sorted(above)[-2])


def test_a_set_of_another_dataset_is_left_out(warehouse):
    add_farm(warehouse, scored=False)
    sync(warehouse)
    with Catalog.open_reader(warehouse) as catalog:
        assert read_farms(catalog, datasets=["other"]) == []
        (found,) = read_farms(catalog, datasets=["d0123456789abcde"])
    assert (found.scored, found.contrasts["raw"]) == (0, ())
