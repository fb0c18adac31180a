"""Schedules of the target share, worked by hand over a run of five steps."""

import pytest
from tests.mixing.controllers.four_pairs import SPACE, propose

from dmix.mixing.controllers.registry import make_controller
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse


@pytest.fixture
def make(space, tmp_path):
    return lambda spec: make_controller(spec, warehouse=Warehouse.at(tmp_path), space=space)


@pytest.fixture
def target_shares(make, history, space):
    """The target share that a controller asks for at each of five steps."""

    def shares(spec):
        controller = make(spec)
        assert controller.name == spec
        asked = [controller.propose(history(step, steps=5)).mixture_N for step in range(1, 6)]
        for mixture in asked:
            # natural shares within the fields: all of the source is one domain, the target 5 : 2
            assert mixture[1] == 0
            assert mixture[2] * 2 == pytest.approx(mixture[3] * 5)
            assert mixture.sum() == pytest.approx(1)
        return [space.coarsen(mixture)[1] for mixture in asked]

    return shares


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ("linear:0.2-0.8", [0.2, 0.35, 0.5, 0.65, 0.8]),
        ("linear:1-0", [1, 0.75, 0.5, 0.25, 0]),
        # (1 - cos(pi / 4)) / 2 = 0.1464
        ("cosine:0-1", [0, 0.146447, 0.5, 0.853553, 1]),
        # the change-over runs from 0.2 to 0.6 of the run: a quarter of it is 1/8 on the way
        ("three-stage:0.2-0.6", [0.2, 0.25, 0.5, 0.6, 0.6]),
        ("three-stage", [0.15, 0.225, 0.6, 0.75, 0.75]),
        ("source-share:0.05", [0.95] * 5),
    ],
)
def test_shares_worked_by_hand(target_shares, spec, wanted):
    assert target_shares(spec) == pytest.approx(wanted, abs=1e-6)


def test_a_run_of_one_step_takes_the_first_share(make, history, space):
    mixture = make("linear:0.2-0.8").propose(history(1, steps=1)).mixture_N
    assert space.coarsen(mixture)[1] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("linear:0.2", "linear:0.2 does not contain two target shares from 0 to 1"),
        ("linear:0.2-1.5", "write for example linear:0.2-0.8"),
        ("cosine:a-b", "cosine:a-b does not contain two"),
        ("three-stage:0.2", "write for example three-stage:0.2-0.8"),
        ("source-share:5%", "source-share:5% contains no share from 0 to 1"),
        ("source-share:1.2", "write for example source-share:0.05"),
        ("source-share:nan", "contains no share"),
        ("linear", "is not one of natural, .*did you mean 'linear:FROM-TO'"),
    ],
)
def test_what_schedules_refuse(make, spec, message):
    with pytest.raises(InputError, match=message):
        make(spec)


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ("naive", [0, 0, 5 / 7, 2 / 7]),
        ("natural", [0.3, 0, 0.5, 0.2]),
        ("stratified", [1 / 3, 0, 1 / 3, 1 / 3]),
    ],
)
def test_baselines_worked_by_hand(spec, wanted, warehouse):
    assert propose(spec, warehouse) == pytest.approx(wanted)
    assert make_controller(spec, warehouse=warehouse, space=SPACE).name == spec


def static(tmp_path, content):
    file = tmp_path / "mix.yaml"
    file.write_text(content)
    return f"static:{file}"


def test_static_file_is_normalised(tmp_path, warehouse):
    spec = static(tmp_path, "source/News-2: 1\ntarget/Law/Tax: 3\n")
    assert propose(spec, warehouse) == pytest.approx([0.25, 0, 0, 0.75])
    assert make_controller(spec, warehouse=warehouse, space=SPACE).name == "static:mix.yaml"


def test_static_field_is_spread_by_natural_shares(tmp_path, warehouse):
    spec = static(tmp_path, "source: 0.3\ntarget: 0.6\ntarget/Law/Tax: 1e-1\n")
    assert propose(spec, warehouse) == pytest.approx([0.3, 0, 0.6 * 5 / 7, 0.6 * 2 / 7 + 0.1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "source/News2: 1",
            "'source/News2' is not a field/domain of the dataset; did you mean 'source/News-2'",
        ),
        ("zzz: 1", "for example 'source/News-2'"),
        ("source/Law/Tax: 0.5", "has weight 0.5, but the dataset has no sample"),
        ("source: -1", "source is -1, expected a finite number"),
        ("source: .nan", "source is nan, expected a finite number"),
        ("source: much", "source is 'much', expected a finite number"),
        ("source: true", "source is True, expected a finite number"),
        ("source: 0", "the weights sum to 0"),
        ("", "the weights sum to 0"),
        ("[1, 2]", "expected names with values"),
    ],
)
def test_static_refuses(content, message, tmp_path, warehouse):
    with pytest.raises(InputError, match=message):
        make_controller(static(tmp_path, content), warehouse=warehouse, space=SPACE)


def test_static_names_zero_weight_on_an_empty_domain_in_peace(tmp_path, warehouse):
    assert propose(static(tmp_path, "source: 1\nsource/Law/Tax: 0\n"), warehouse) == pytest.approx(
        SPACE.start_N
    )


@pytest.mark.parametrize("weight", [".nan", ".inf", "-1", "10⁻³", "9" * 400, "nan"])
def test_static_weight_that_is_no_finite_number_is_refused(tmp_path, warehouse, weight):
    with pytest.raises(InputError, match=r"source/Law/Tax is .*expected a finite number"):
        make_controller(static(tmp_path, f"source/Law/Tax: {weight}\n"), warehouse=warehouse, space=SPACE)


def test_static_file_that_is_missing(warehouse):
    with pytest.raises(NotFoundError, match=r"nowhere.yaml does not exist"):
        make_controller("static:nowhere.yaml", warehouse=warehouse, space=SPACE)
