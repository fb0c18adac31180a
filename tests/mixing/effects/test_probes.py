import numpy as np
import pytest

from dmix.mixing.effects.probes import (
    corrections,
    design_probes,
    dose_of,
    effects_without_each,
    fit_probes,
    group_domains,
    probes_around,
)
from dmix.mixing.space.domains import DomainSpace
from dmix.warehouse_schema.errors import InputError

LABELS = ("News", "Law", "Python/a", "Python/b")


def space(*samples):
    return DomainSpace(LABELS[: len(samples) // 2], np.array(samples, np.int64))


def test_large_domains_are_probed_alone_with_half_of_the_mixture():
    found = design_probes(space(400, 300, 200, 100), samples=100)
    probes = [p for p in found if p.domains]
    assert [p.domains for p in probes] == [(0,), (1,), (2,), (3,)]
    assert [p.dose for p in probes] == [0.5] * 4
    # (1 - 1/2) (.4, .3, .2, .1) + 1/2 (1, 0, 0, 0)
    assert probes[0].mixture_N == pytest.approx([0.7, 0.15, 0.1, 0.05])
    controls = [p for p in found if not p.domains]
    assert len(controls) == 4 and controls[0].mixture_N == pytest.approx([0.4, 0.3, 0.2, 0.1])


def test_a_domain_that_cannot_deliver_its_probe_joins_a_group():
    world = space(400, 3, 200, 100)
    assert dose_of(world, (1,), samples=100) == pytest.approx(0.06)
    groups = group_domains(world, samples=100, most_groups=40)
    assert groups == [(0, 1), (2,), (3,)]
    probe = design_probes(world, samples=100)[-3]
    assert probe.dose == 0.5 and probe.mixture_N[1] > 0


def test_doses_are_what_two_passes_deliver():
    probes = [p for p in design_probes(space(400, 10, 200, 100), samples=100) if p.domains]
    by_domain = {p.domains: p.dose for p in probes}
    assert by_domain[(1,)] == pytest.approx(0.2)


def test_groups_of_one_label_come_first_and_then_those_alike():
    world = space(500, 500, 4, 50, 500, 500, 0, 0)
    assert (2, 3) in group_domains(world, samples=100, most_groups=40)
    plain = space(500, 300, 4, 0, 500, 0, 0, 0)
    effects = np.array([[1.0], [9.0], [1.1], [0], [0], [0], [0], [0]])
    assert (0, 2) in group_domains(plain, samples=100, most_groups=40, effect_ND=effects)
    assert (1, 2) in group_domains(plain, samples=100, most_groups=40)


def test_no_more_groups_than_there_is_time_for():
    groups = group_domains(space(400, 300, 200, 100), samples=100, most_groups=2)
    assert sorted(map(len, groups)) == [2, 2]
    with pytest.raises(InputError, match="expected at least 2"):
        design_probes(space(400, 300, 200, 100), samples=100, most_groups=1)


def test_raw_effects_and_the_test_of_linearity_are_those_worked_by_hand():
    fit = fit_probes(
        [(0,), (1,)],
        np.array([0.5, 0.25]),
        np.array([[1.1], [0.9]]),
        np.array([[0.9], [1.1]]),
        natural_N=np.array([0.5, 0.5]),
        target_N=np.array([False, True]),
    )
    # (1.1 - 1) / 0.5 and (0.9 - 1) / 0.25
    assert fit.raw_GD[:, 0] == pytest.approx([0.2, -0.4])
    assert fit.linearity_D == pytest.approx([-0.1])
    noise = 0.1 * np.sqrt(2)
    own = noise * np.array([0.5 / 0.5, 0.5 / 0.25])
    shared = own.sum() / np.sqrt(2)
    assert fit.linearity_stderr_D == pytest.approx([np.sqrt((own**2).sum() + shared**2)])


def test_fitted_effects_sum_to_zero_and_shrink_where_noise_is_large():
    rng = np.random.default_rng(1)
    natural, size = np.full(8, 1 / 8), 8
    truth = np.array([-2.0, -1, 1, 2, -1, 1, -1, 1])[:, None]
    groups, doses = [(i,) for i in range(size)], np.full(size, 0.5)
    for noise in (0.01, 3.0):
        controls = rng.normal(0, noise, (6, 1))
        scores = 0.5 * truth + rng.normal(0, noise, (size, 1))
        fit = fit_probes(groups, doses, scores, controls, natural_N=natural, target_N=np.arange(8) >= 4)
        assert natural @ fit.effect_ND == pytest.approx([0], abs=1e-12)
        assert (np.abs(fit.errors[0] @ natural) < 1e-9).all()
        if noise < 1:
            assert fit.effect_ND == pytest.approx(truth, abs=0.15)
        else:
            assert np.abs(fit.effect_ND).max() < np.abs(fit.raw_GD).max()


def test_all_domains_of_a_group_have_its_effect():
    fit = fit_probes(
        [(0, 2), (1,)],
        np.array([0.5, 0.5]),
        np.array([[1.5], [0.5]]),
        np.array([[1.0], [1.0]]),
        natural_N=np.array([0.25, 0.5, 0.25]),
        target_N=np.zeros(3, bool),
    )
    assert fit.effect_ND[:, 0] == pytest.approx([1, -1, 1])


def test_one_control_is_too_few():
    with pytest.raises(InputError, match="at least 2"):
        fit_probes(
            [(0,), (1,)],
            np.ones(2),
            np.ones((2, 1)),
            np.ones((1, 1)),
            natural_N=np.array([0.5, 0.5]),
            target_N=np.zeros(2, bool),
        )


def test_without_its_probe_a_domain_has_the_mean_effect_of_its_field():
    natural_N = np.array([0.3, 0.3, 0.2, 0.2])
    target_N = np.array([False, False, True, True])
    groups = [(0,), (1,), (2,), (3,)]
    # raw effects at dose 1/2 without noise: 1, -3, 2, 1, whose sum by natural shares is 0
    raw_GD = np.array([[1.0], [-3.0], [2.0], [1.0]])
    controls_CD = np.array([[0.0], [0.0]])
    found_GND = effects_without_each(
        groups, np.full(4, 0.5), raw_GD / 2, controls_CD, natural_N=natural_N, target_N=target_N
    )
    assert found_GND.shape == (4, 4, 1)
    np.testing.assert_allclose(natural_N @ found_GND, 0, atol=1e-12)
    # without the last probe, 1, -3, 2 sum to 0 by the shift 0.2 share / sum(share^2) = (3, 3, 2) / 11;
    # the fourth domain gets the third's effect 24/11, and centring takes 0.2 * 24/11 from all
    third = 2 + 2 / 11
    np.testing.assert_allclose(
        found_GND[3, :, 0], [1 + 3 / 11 - 0.2 * third, -3 + 3 / 11 - 0.2 * third, *[0.8 * third] * 2]
    )
    np.testing.assert_allclose(found_GND[3, 2], found_GND[3, 3])


def test_a_second_round_moves_share_from_the_mixture_that_it_is_around():
    mixture = np.array([0.7, 0.0, 0.2, 0.1])
    found = probes_around(space(400, 300, 200, 10), mixture, [0, 1, 3], samples=100)
    controls = [p for p in found if not p.domains]
    assert len(controls) == 4 and all((p.mixture_N == mixture).all() for p in controls)
    probes = [p for p in found if p.domains]
    assert [(p.domains, p.dose) for p in probes] == [((0,), 0.5), ((1,), 0.5), ((3,), 0.2)]
    assert probes[1].mixture_N == pytest.approx([0.35, 0.5, 0.1, 0.05])
    assert probes[2].mixture_N == pytest.approx([0.56, 0.0, 0.16, 0.28])


def test_surprises_of_a_second_round_are_shrunk_by_their_noise():
    # raw surprises 4 and -4 with variance 2^2 (1 + 1/1) / 1: 16 - 8 is the spread, half is kept
    added, errors = corrections(
        [0, 2],
        np.array([0.5, 0.5]),
        np.array([[2.0], [-2.0]]),
        np.array([1.0]),
        controls=1,
        size=3,
    )
    assert added[:, 0] == pytest.approx([2, 0, -2])
    # the one that was not probed is as uncertain as probes are apart
    assert np.diag(errors[0]) == pytest.approx([2, np.sqrt(8), 2])


def test_what_probes_confirm_is_not_corrected():
    added, errors = corrections([0], np.array([0.5]), np.array([[0.1]]), np.array([1.0]), controls=4, size=2)
    assert not added.any() and not errors[0].any()
    exact, errors = corrections([1], np.array([0.5]), np.array([[0.1]]), np.zeros(1), controls=4, size=2)
    assert exact[1, 0] == pytest.approx(0.2) and errors[0][1, 1] == 0
