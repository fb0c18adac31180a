import pytest

from dmix.training.evaluation.verdicts import (
    Group,
    Verdict,
    group_verdicts,
    headline,
    noise_between_seeds,
    overall,
    seeds_that_suffice,
    verdict,
)


def group(controller, utilities, *, general=(), target=(), guided=False):
    return Group(
        controller=controller,
        guided=guided,
        utilities=tuple(utilities),
        changes={"web": tuple(general), "maths": tuple(target)},
        roles={"web": "general", "maths": "target"},
        scales={"web": 0.2, "maths": 2.0},
    )


@pytest.mark.parametrize(
    ("change", "grade", "word"),
    [
        (0.0, 0, "unchanged"),
        (-0.1, 0, "unchanged"),  # 0.1 of the scale
        (-0.11, -1, "forgot a little"),
        (-0.5, -2, "forgot"),
        (-1.49, -2, "forgot"),
        (-1.5, -3, "forgot much"),
        (0.2, 1, "a little better"),
        (0.6, 2, "better"),
        (3.0, 3, "much better"),  # of a general objective
        (float("nan"), 0, "unchanged"),
    ],
)
def test_one_seed_is_judged_by_the_scale(change, grade, word):
    found = verdict(change, role="general", scale=1.0)
    assert (found.grade, found.word) == (grade, word)


def test_the_same_change_is_small_or_large_by_its_scale():
    assert verdict(-0.04, role="general", scale=1.0).word == "unchanged"
    assert verdict(-0.04, role="general", scale=0.16).word == "forgot a little"
    assert verdict(-1.84, role="general", scale=0.16).word == "forgot much"
    assert verdict(-1.84, role="target", scale=2.0).word == "worse"
    assert verdict(1.84, role="target", scale=2.0).word == "learned"


def test_noise_between_seeds_is_pooled_within_configurations():
    # squares about the means 2 and 6: 1 + 1 and 4 + 0 + 4, over 1 + 2 degrees of freedom
    assert noise_between_seeds([[1, 3], [4, 6, 8], [100]]) == pytest.approx((10 / 3) ** 0.5)
    assert noise_between_seeds([[1], [2], []]) is None


def test_a_change_within_two_standard_deviations_is_none():
    assert verdict(0.39, role="target", scale=0.1, noise=0.2).grade == 0
    assert verdict(0.41, role="target", scale=0.1, noise=0.2).word == "learned much"
    # the mean of four runs is twice as sure
    assert verdict(0.21, role="target", scale=0.1, noise=0.2, runs=4).grade == 3


def test_a_change_that_two_decimals_do_not_show_is_none():
    assert verdict(0.004, role="target", scale=0.001, noise=0.0).grade == 0
    assert verdict(0.006, role="target", scale=0.001, noise=0.0).grade == 3


def test_a_scale_of_zero_and_an_unknown_role_are_refused():
    with pytest.raises(ValueError, match="scale is 0"):
        verdict(1.0, role="target", scale=0)
    with pytest.raises(ValueError, match="'other'"):
        verdict(1.0, role="other", scale=1)


def test_the_worst_loss_speaks_for_a_role():
    good, bad = Verdict(3, "learned much", 2.0), Verdict(-1, "forgot a little", -0.1)
    assert overall({"a": good, "b": bad}) == ("b", bad)
    assert overall({"a": good}) == ("a", good)
    assert overall({}) is None


def test_colours_follow_grades():
    assert [Verdict(grade, "", 0.0).colour for grade in (-3, 0, 1)] == ["bad-3", "unchanged", "good-1"]


def test_the_headline_answers_four_questions():
    agent = group("agent:a", [0.9, 1.1], general=[-0.05, -0.07], target=[1.9, 2.1], guided=True)
    natural = group("natural", [0.1, 0.3], general=[0.0, 0.02], target=[0.3, 0.5])
    told = headline([natural, agent])
    # noise of web: each pair differs by 0.02, so 0.0141; two of it over root two is 0.02
    assert "With agent:a (mean of 2 seeds), target: learned (maths +2.00)" in told
    assert "general: forgot a little (web -0.06)" in told
    # noise of U: 0.1414; of a difference of two means of two: the same, times two
    assert "Best: agent:a with U +1.00" in told and "natural with U +0.20" in told
    assert "larger than the noise between seeds (± 0.28)" in told


def test_the_headline_says_what_is_not_sure():
    close = [group("agent:a", [0.9, 1.1], guided=True), group("natural", [1.0, 1.2])]
    assert "undecided" in headline(close)
    single = [group("agent:a", [1.0], target=[1.0], guided=True), group("natural", [0.2], target=[0.1])]
    assert "One seed each cannot confirm this" in headline(single)
    assert "run of natural mixing shows" in headline(single[:1])
    assert "natural mixing" not in headline(single[1:]) and "no other run" not in headline(single[1:])
    assert "no other run" not in headline(single[:1], alone=False)
    assert headline([]) == ""


def test_the_noise_of_a_headline_comes_from_all_comparable_runs():
    shown = [group("agent:a", [1.0], target=[0.6], guided=True), group("natural", [0.8], target=[0.1])]
    assert "target: learned a little (maths +0.60)" in headline(shown)
    # 1.2 between two seeds of natural mixing: a standard deviation of 0.85
    others = [shown[0], group("natural", [0.8, 1.4], target=[0.1, 1.3])]
    told = headline(shown, others=others)
    assert "target: unchanged (maths +0.60)" in told and "undecided" in told


def test_a_group_without_scores_of_a_role_has_no_verdict():
    assert group_verdicts(group("a", [1.0], target=[1.0]), [], role="general") == {}


def test_seeds_that_tell_the_two_best_apart():
    # standard deviation 0.1414, difference 0.1: 2 x (0.2828 / 0.1) squared is 16
    close = [group("a", [0.9, 1.1]), group("b", [1.0, 1.2])]
    assert seeds_that_suffice(close) == 16
    assert seeds_that_suffice([group("a", [0.9, 1.1]), group("b", [9.0, 9.2])]) == 2
    assert seeds_that_suffice([group("a", [1.0]), group("b", [2.0])]) is None
    assert seeds_that_suffice([]) is None
