import dataclasses
import math
import typing
from pathlib import Path

import pytest

from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.settings import (
    MOST_COUNT,
    check_range,
    load_settings,
    read_yaml,
    section_of_run,
    setting,
    settings_from,
    whole_number,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = setting(0.1, help="A rate.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    name: str = setting(help="A name.")
    count: int | None = setting(None, help="A count.")
    mode: str = setting("a", help="A mode.", choices=("a", "b"))
    paths: tuple[Path, ...] = setting((), help="Paths.")
    tags: list[str] = setting([], help="Tags.")
    sizes: dict[str, int] = setting({}, help="Sizes.")
    inner: Inner = setting(Inner(), help="More settings.")
    on: bool = setting(False, help="A switch.")
    numbers: tuple[int, ...] = setting((), help="Numbers.")
    workers: int = setting(0, help="Processes.", most=8)


def build(**values):
    return settings_from(Outer, {"name": "n", **values}, where="test")


def test_values_are_converted_to_their_types():
    made = build(count=3, paths=["x"], tags=["t"], sizes={"a": 1}, inner={"rate": "1e-3"}, on=True)
    assert made == Outer(
        name="n", count=3, paths=(Path("x"),), tags=["t"], sizes={"a": 1}, inner=Inner(rate=0.001), on=True
    )


def test_zero_and_none_mean_themselves():
    assert build(count=0).count == 0
    assert build(count=None).count is None


def test_mutable_defaults_are_not_shared():
    first, second = build(), build()
    first.tags.append("x")
    assert second.tags == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cuont": 1}, "unknown setting 'cuont'; did you mean 'count'"),
        ({"zzzzz": 1}, "unknown setting 'zzzzz'; known ones: name, count"),
        ({"mode": "c"}, "mode is 'c', expected one of a, b"),
        ({"count": "many"}, r"count is 'many' \(str\), expected int"),
        ({"count": True}, r"count is True \(bool\), expected int"),
        ({"inner": {"rate": "fast"}}, r"test: inner: rate is 'fast' \(str\), expected float"),
        ({"inner": 3}, "inner is 3, expected a mapping"),
        ({"paths": "x"}, "paths is 'x', expected a list"),
        ({"sizes": [1]}, "expected a mapping"),
        ({"on": "yes"}, "expected bool"),
    ],
)
def test_wrong_values_are_named(values, message):
    with pytest.raises(InputError, match=message):
        build(**values)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "-inf", "nan", "1e999", 10**400])
def test_numbers_that_are_not_finite_are_refused_where_they_are_declared(value):
    with pytest.raises(InputError, match=r"rate is .*expected a finite number"):
        build(inner={"rate": value})


def test_a_power_in_superscripts_is_no_number():
    with pytest.raises(InputError, match="10⁻³"):
        build(inner={"rate": "10⁻³"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seeded:
    seed: int = setting(0, help="Seed.")


def test_a_seed_lies_in_the_range_of_every_generator():
    for seed in (0, 2**31 - 1):
        assert settings_from(Seeded, {"seed": seed}, where="test").seed == seed
    for seed in (-1, 2**31, 10**40):
        with pytest.raises(InputError, match=rf"seed is {seed}, expected 0 to 2147483647"):
            settings_from(Seeded, {"seed": seed}, where="test")


@pytest.mark.parametrize("text", ["a: 1\na: 2\n", "a-b: 1\na_b: 2\n"])
def test_a_name_that_a_yaml_file_gives_twice_is_refused(tmp_path, text):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="twice"):
        read_yaml(path)


def test_a_missing_setting_is_named_with_its_help():
    with pytest.raises(InputError, match=r"setting 'name' is missing \(A name\.\)"):
        settings_from(Outer, {}, where="test")


def test_dashes_and_underscores_are_the_same_in_yaml(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("outer-part:\n  x: 1\n")
    assert read_yaml(path) == {"outer_part": {"x": 1}}


def test_yaml_file_makes_settings(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("name: n\npaths: [a, b]\n")
    assert load_settings(Outer, path).paths == (Path("a"), Path("b"))


def test_the_configuration_of_a_run_serves_as_the_file_of_its_section():
    assert section_of_run({"run_id": "one", "training": {"batch_size": 2}}, "training") == {"batch_size": 2}
    assert section_of_run({"run_id": "one", "training": None}, "training") == {}
    assert section_of_run({"batch_size": 2}, "training") == {"batch_size": 2}


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "not valid YAML"), ("- 1", "contains a list, expected names")]
)
def test_bad_yaml_is_named(tmp_path, text, message):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_yaml(path)


def test_an_empty_yaml_file_is_an_empty_mapping_and_a_missing_one_an_error(tmp_path):
    (tmp_path / "empty.yaml").write_text("")
    assert read_yaml(tmp_path / "empty.yaml") == {}
    with pytest.raises(NotFoundError, match="does not exist"):
        read_yaml(tmp_path / "none.yaml")


def test_numbers_of_any_setting_are_finite_at_every_depth():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Free:
        config: dict[str, typing.Any] = setting({}, help="Anything.")
        bare: dict = setting({}, help="Anything.")

    fine = {"a": [1.5, {"b": "nan"}], "c": None}
    assert settings_from(Free, {"config": fine, "bare": fine}, where="f") == Free(config=fine, bare=fine)
    for name in ("config", "bare"):
        with pytest.raises(InputError, match=rf"f: {name}\.a\[0\]\.b is nan, expected a finite number"):
            settings_from(Free, {name: {"a": [{"b": float("nan")}]}}, where="f")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"count": 10**400}, "count is a number of 401 digits, expected at most 2147483647"),
        ({"count": -(10**400)}, "count is a number of 402 digits"),
        ({"numbers": [1, 2**31]}, "numbers is 2147483648, expected at most 2147483647"),
        ({"workers": 9}, "workers is 9, expected at most 8"),
    ],
)
def test_whole_numbers_that_are_too_large_are_refused_where_they_are_declared(values, said):
    with pytest.raises(InputError, match=f"test: {said}"):
        build(**values)


def test_the_largest_whole_number_is_taken():
    made = build(count=MOST_COUNT, numbers=[MOST_COUNT], workers=8)
    assert (made.count, made.numbers, made.workers) == (MOST_COUNT, (MOST_COUNT,), 8)


@pytest.mark.parametrize("given", ["0", "-1", "+1", "many", "", "1.0", "²", "٣", 0, 2**31, "9" * 5000])
def test_a_number_as_text_is_plain_digits_within_the_limit(given):
    with pytest.raises(InputError, match=r"--size is .*expected auto or a number from 1 to 2147483647"):
        whole_number(given, name="--size")
    assert whole_number("12", name="--size") == whole_number(12, name="--size") == 12


def test_whole_numbers_in_values_of_any_type_have_at_most_64_bits():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Open:
        config: dict[str, typing.Any] = setting({}, help="Anything.")

    values = {"config": {"size": 2**63 - 1, "on": True, "deep": [{"x": 1}]}}
    assert settings_from(Open, values, where="test").config == values["config"]
    with pytest.raises(InputError, match=r"config.deep\[0\] is a number of 401 digits, expected at most 922"):
        settings_from(Open, {"config": {"deep": [10**400]}}, where="test")


@dataclasses.dataclass
class Ranged:
    top_k: object = None


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "expected"),
    [
        ({"least": 1}, (1, 5), (0, -1), "expected at least 1"),
        ({"least": 0}, (0, 0.5), (-1, math.inf, math.nan), "expected 0 or more"),
        ({"above": 0}, (0.1,), (0, math.inf, math.nan), "expected a number above 0"),
        ({"above": 0, "most": 1e30}, (1, 1e30), (0, 1e31), r"expected a number above 0, at most 1e+30"),
        ({"above": 0, "below": 1}, (0.5,), (0, 1), "expected between 0 and 1"),
        ({"least": 0, "below": 1}, (0, 0.9), (-0.1, 1), "expected 0 or more, below 1"),
        ({"least": 1, "most": 2**31 - 1}, (1, 2**31 - 1), (0, 2**31), "expected 1 to 2147483647"),
    ],
)
def test_a_number_out_of_range_is_refused_with_the_range(bounds, inside, outside, expected):
    for value in (None, *inside):
        check_range(Ranged(value), "top_k", **bounds)
    for value in outside:
        with pytest.raises(InputError) as refused:
            check_range(Ranged(value), "top_k", **bounds)
        assert refused.value.message == f"top_k is {value}, {expected}"
    with pytest.raises(InputError, match=f"^of it: --top-k is {outside[0]}, "):
        check_range(Ranged(outside[0]), "top_k", flags=True, where="of it: ", **bounds)
