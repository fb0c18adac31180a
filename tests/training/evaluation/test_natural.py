"""How a run differs from natural mixing on the same items."""

import pytest

from dmix.training.evaluation.natural import MEAN, Difference, paired_differences


def test_items_are_compared_with_themselves():
    own = {"maths": [-1.0, -3.0, -5.0], "general": [-2.0, -2.5], "other": [-1.0]}
    natural = {"maths": [-1.1, -3.2, -5.3], "general": [-1.9, -2.6]}
    maths, general, mean = paired_differences(own, natural)
    # 0.1, 0.2, 0.3: mean 0.2, standard deviation 0.1, error 0.1 / √3; each item alone spreads by 2
    assert (maths.name, maths.difference) == ("maths", pytest.approx(0.2))
    assert maths.stderr == pytest.approx(0.1 / 3**0.5) and maths.word == "better, beyond noise"
    # -0.1, 0.1: mean 0, standard deviation 0.1414, error 0.1
    assert general.difference == pytest.approx(0.0) and general.stderr == pytest.approx(0.1)
    assert general.word == "within noise over items"
    assert (mean.name, mean.difference) == (MEAN, pytest.approx(0.1))
    assert mean.stderr == pytest.approx((0.01 / 3 + 0.01) ** 0.5 / 2)
    assert maths.text == "maths +0.200 ± 0.058"


def test_no_shared_objective_gives_nothing_and_one_needs_no_mean():
    assert paired_differences({}, {}) == paired_differences({"a": [1.0]}, {"b": [1.0]}) == []
    assert [one.name for one in paired_differences({"a": [1.0, 2.0]}, {"a": [1.0, 1.0]})] == ["a"]
    with pytest.raises(ValueError, match="the same items"):
        paired_differences({"a": [1.0]}, {"a": [1.0, 2.0]})


def test_one_item_has_no_error_and_takes_it_from_the_mean():
    one, _, mean = paired_differences({"a": [1.0], "b": [1.0, 2.0]}, {"a": [0.0], "b": [0.0, 0.0]})
    assert one.stderr is None and one.word == "one item: noise unknown" and one.colour == "unchanged"
    assert mean.stderr is None and not mean.beyond_noise and one.text == "a +1.000"


def test_noise_between_seeds_counts_for_both_runs():
    sure = Difference(name="a", difference=-0.1, stderr=0.03)
    assert (sure.word, sure.colour) == ("worse, beyond noise", "bad-2")
    # √(0.03² + 2 × 0.04²) = 0.064, two of it are 0.128
    unsure = Difference(name="a", difference=-0.1, stderr=0.03, noise=0.04)
    assert unsure.total_stderr == pytest.approx(0.0041**0.5)
    assert (unsure.word, unsure.colour) == ("within noise between seeds", "unchanged")
    own, natural = {"a": [1.0, 1.1], "b": [1.0, 1.1]}, {"a": [0.0, 0.0], "b": [0.0, 0.0]}
    found = paired_differences(own, natural, noise={"a": 0.5, MEAN: 0.25})
    assert [one.noise for one in found] == [0.5, None, 0.25]


def test_a_difference_that_three_decimals_hardly_show_is_noise():
    assert not Difference(name="a", difference=0.004, stderr=0.0).beyond_noise
    assert Difference(name="a", difference=0.006, stderr=0.0).colour == "good-2"
