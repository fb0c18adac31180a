"""The probe estimator: short runs with more of one domain, or of a group of small ones.

A probe trains on (1 - h) n + h e for a part of a run; its raw effect is (score - mean score of the
controls) / h, with h as delivered; controls are probes of n itself. Effects must sum to 0 by natural
shares, which raw ones need not: that sum is the test of linearity, and the fit holds it at 0 while
it shrinks effects towards the mean of their field by empirical Bayes.
Shapes: N domains, G groups, C controls, D objectives.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.effects.effects import centred
from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.warehouse_schema.errors import InputError

Array = NDArray[np.float64]

MOST_GROUPS = 40
SECOND_ROUND = 8
"""Domains that a second round probes at most."""
LEAST_DOSE = 1 / 8
LARGEST_DOSE = 1 / 2
# A domain may come twice in a probe: N_d samples give a dose of 2 N_d / b.
_PASSES = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Probe:
    """One run of the design.

    Attributes:
        probe_id: `control-01` or `probe-01`.
        domains: Indices of the group; empty for a control.
        dose: h, the share that moves to the group; 0 for a control.
        mixture_N: What it trains on.
    """

    probe_id: str
    domains: tuple[int, ...]
    dose: float
    mixture_N: Vector

    def to_json(self, names: tuple[tuple[str, str], ...]) -> dict[str, Any]:
        """Plain values, domains by name."""
        return {
            "probe": self.probe_id,
            "domains": ["/".join(names[i]) for i in self.domains],
            "dose": self.dose,
            "mixture": {"/".join(names[i]): float(w) for i, w in enumerate(self.mixture_N) if w},
        }


def design_probes(
    space: DomainSpace, *, samples: int, most_groups: int = MOST_GROUPS, effect_ND: Array | None = None
) -> list[Probe]:
    """Controls and probes, one for each group of domains.

    Args:
        space: The domains and what they hold.
        samples: b, samples of a probe.
        most_groups: Most groups.
        effect_ND: Effects by counts; domains that are alike by them are grouped first.

    Raises:
        InputError: If there are fewer than two groups to compare.
    """
    groups = group_domains(space, samples=samples, most_groups=most_groups, effect_ND=effect_ND)
    if len(groups) < 2:
        raise InputError(
            f"there is only {len(groups)} group of domains, expected at least 2; shorten the probes with "
            "--steps, or raise --groups"
        )
    natural_N = space.natural_N
    controls = controls_of(len(groups))
    probes = [
        Probe(probe_id=f"control-{i + 1:02d}", domains=(), dose=0.0, mixture_N=natural_N.copy())
        for i in range(controls)
    ]
    for number, group in enumerate(groups, start=1):
        dose = dose_of(space, group, samples=samples)
        probes.append(
            Probe(
                probe_id=f"probe-{number:02d}",
                domains=group,
                dose=dose,
                mixture_N=probe_mixture(natural_N, group, dose=dose),
            )
        )
    return probes


def probes_around(
    space: DomainSpace, mixture_N: Vector, domains: Sequence[int], *, samples: int
) -> list[Probe]:
    """Controls and probes of a second round, around a mixture that is not the natural one.

    Args:
        space: The domains and what they hold.
        mixture_N: What controls train on.
        domains: Those that are probed, one by one.
        samples: b, samples of a probe.
    """
    probes = [
        Probe(probe_id=f"around-{i + 1:02d}", domains=(), dose=0.0, mixture_N=mixture_N.copy())
        for i in range(controls_of(len(domains)))
    ]
    for number, domain in enumerate(domains, start=1):
        dose = dose_of(space, (domain,), samples=samples)
        moved_N = (1 - dose) * mixture_N
        moved_N[domain] += dose
        probes.append(Probe(probe_id=f"again-{number:02d}", domains=(domain,), dose=dose, mixture_N=moved_N))
    return probes


def corrections(
    domains: Sequence[int], doses_G: Vector, surprise_GD: Array, noise_D: Vector, *, controls: int, size: int
) -> tuple[Array, tuple[Array, ...]]:
    """What probes of some domains add to a prediction, and its error matrices, as in `Effects`.

    A probe's surprise is shrunk towards 0 by empirical Bayes, objective by objective. The domains
    that were not probed keep the prediction; their error is the spread of what the probes found.

    Args:
        domains: Index of the domain of each probe.
        doses_G: h as delivered.
        surprise_GD: Gain of each probe over the controls less its predicted gain, nats per token.
        noise_D: Standard deviation of one run.
        controls: Number of controls.
        size: N.

    Returns:
        Correction of the effects, shape (N, D), and one diagonal matrix (N, N) for each objective.
    """
    raw_GD = surprise_GD / doses_G[:, None]
    variance_GD = (noise_D**2 * (1 + 1 / controls)) / doses_G[:, None] ** 2
    between_D = np.maximum(0.0, (raw_GD**2 - variance_GD).mean(0))
    total_GD = between_D + variance_GD
    kept_GD = np.divide(between_D, total_GD, out=np.zeros_like(total_GD), where=total_GD > 0)
    correction_ND = np.zeros((size, len(noise_D)))
    correction_ND[list(domains)] = kept_GD * raw_GD
    error_ND = np.tile(np.sqrt(between_D), (size, 1))
    error_ND[list(domains)] = np.sqrt(kept_GD * variance_GD)
    return correction_ND, tuple(np.diag(error_N) for error_N in error_ND.T)


def controls_of(groups: int) -> int:
    """Runs of natural mixing beside the probes of so many groups."""
    return math.ceil(2 * math.sqrt(groups))


def probe_mixture(natural_N: Vector, group: Sequence[int], *, dose: float) -> Vector:
    """(1 - h) n + h e, e the natural shares within the group, shape (N,)."""
    toward_N = np.zeros(len(natural_N))
    toward_N[list(group)] = natural_N[list(group)] / natural_N[list(group)].sum()
    mixture_N: Vector = (1 - dose) * natural_N + dose * toward_N
    return mixture_N


def dose_of(space: DomainSpace, group: Sequence[int], *, samples: int) -> float:
    """h of a group: a half, or what two passes over its samples give."""
    return min(LARGEST_DOSE, _PASSES * int(space.samples_N[list(group)].sum()) / samples)


def group_domains(
    space: DomainSpace, *, samples: int, most_groups: int, effect_ND: Array | None = None
) -> list[tuple[int, ...]]:
    """Domains that a probe can distinguish, alone or with others of their field, largest first.

    The smallest group is joined to the nearest one until each can deliver an eighth of a probe and
    there are few enough: first to one with the same label up to a slash, then to the one whose
    effects by counts are most like its own, else to the next larger one.
    """
    groups: list[tuple[int, ...]] = [(int(index),) for index in np.flatnonzero(space.active_N)]
    while len(groups) > 1:
        groups.sort(key=lambda group: (int(space.samples_N[list(group)].sum()), group))
        smallest = groups[0]
        if len(groups) <= most_groups and dose_of(space, smallest, samples=samples) >= LEAST_DOSE:
            break
        others = [g for g in groups[1:] if space.target_N[g[0]] == space.target_N[smallest[0]]]
        if not others:
            if len(groups) <= most_groups:
                # the only group of its field keeps its small dose
                rest = [g for g in groups[1:] if dose_of(space, g, samples=samples) < LEAST_DOSE]
                if not rest:
                    break
            others = groups[1:]
        nearest = min(others, key=lambda group: _distance(space, smallest, group, effect_ND))
        groups.remove(nearest)
        groups[0] = tuple(sorted((*smallest, *nearest)))
    return sorted(groups, key=lambda group: (-int(space.samples_N[list(group)].sum()), group))


def _distance(
    space: DomainSpace, first: tuple[int, ...], other: tuple[int, ...], effect_ND: Array | None
) -> tuple[int, float, int]:
    heads = [{space.names[i][1].partition("/")[0] for i in group} for group in (first, other)]
    size = int(space.samples_N[list(other)].sum())
    if effect_ND is None:
        return (0 if heads[0] & heads[1] else 1, 0.0, size)
    means = [
        np.average(effect_ND[list(group)], axis=0, weights=space.samples_N[list(group)])
        for group in (first, other)
    ]
    return (0 if heads[0] & heads[1] else 1, float(np.linalg.norm(means[0] - means[1])), size)


@dataclass(frozen=True, kw_only=True, eq=False)
class ProbeRuns:
    """Probes and controls that were run, as effects keep them.

    Attributes:
        groups: Domains of each probe.
        doses_G: h as delivered.
        scores_GD: Mean score of each objective after each probe.
        controls_CD: The same after each control.
    """

    groups: list[tuple[int, ...]]
    doses_G: Vector
    scores_GD: Array
    controls_CD: Array

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any], names: Sequence[tuple[str, str]]) -> "ProbeRuns":
        """From the facts that effects by probes are stored with."""
        index = {"/".join(pair): i for i, pair in enumerate(names)}
        probes = [probe for probe in facts["probes"] if probe["domains"]]
        controls = [probe["scores"] for probe in facts["probes"] if not probe["domains"]]
        return cls(
            groups=[tuple(index[name] for name in probe["domains"]) for probe in probes],
            doses_G=np.array([probe["dose"] for probe in probes]),
            scores_GD=np.array([probe["scores"] for probe in probes]),
            controls_CD=np.array(controls),
        )

    @property
    def gains_GD(self) -> Array:
        """What each probe gained over the controls."""
        return self.scores_GD - self.controls_CD.mean(0)

    def mixtures(self, natural_N: Vector) -> Array:
        """What each probe trained on, shape (G, N)."""
        pairs = zip(self.groups, self.doses_G, strict=True)
        return np.array([probe_mixture(natural_N, group, dose=dose) for group, dose in pairs])


@dataclass(frozen=True, kw_only=True, eq=False)
class ProbeFit:
    """What the scores of probes say.

    Attributes:
        effect_ND: Fitted effects; all domains of a group have that of the group.
        errors: Error matrices, as in `Effects`.
        linearity_D: Sum of raw effects by natural shares, which is 0 if effects are linear.
        linearity_stderr_D: Its standard error.
        raw_GD: Raw effects of the groups.
    """

    effect_ND: Array
    errors: tuple[Array, ...]
    linearity_D: Vector
    linearity_stderr_D: Vector
    raw_GD: Array


def fit_probes(
    groups: Sequence[Sequence[int]],
    doses_G: Vector,
    scores_GD: Array,
    controls_CD: Array,
    *,
    natural_N: Vector,
    target_N: NDArray[np.bool_],
) -> ProbeFit:
    """Effects from the scores of probes and controls.

    Args:
        groups: Domains of each probe; every domain with samples is in one.
        doses_G: h as delivered.
        scores_GD: Score of each probe, nats per token.
        controls_CD: Score of each control; their spread is the noise of a seed.
        natural_N: n.
        target_N: True on the target field.

    Raises:
        InputError: If there are fewer than two controls.
    """
    if len(controls_CD) < 2:
        raise InputError(f"got {len(controls_CD)} control scores, expected at least 2 to measure the noise")
    share_G = np.array([natural_N[list(group)].sum() for group in groups])
    field_G = np.array([bool(target_N[group[0]]) for group in groups])
    raw_GD = (scores_GD - controls_CD.mean(0)) / doses_G[:, None]
    noise_D = controls_CD.std(0, ddof=1)
    # one column of errors: each probe's own noise, and that of the controls' mean, which all share
    own_GG, shared_G = np.diag(1 / doses_G), 1 / doses_G / math.sqrt(len(controls_CD))
    noise_GK = np.column_stack([own_GG, shared_G])
    effects, errors, tests = [], [], []
    for o, noise in enumerate(noise_D):
        factor_GK = noise * noise_GK
        fit_GG = _shrinkage(raw_GD[:, o], (factor_GK**2).sum(1), share_G, field_G)
        effects.append(fit_GG @ raw_GD[:, o])
        errors.append(fit_GG @ factor_GK)
        tests.append(np.linalg.norm(share_G @ factor_GK))
    spread_NG = np.zeros((len(natural_N), len(groups)))
    for number, group in enumerate(groups):
        spread_NG[list(group), number] = 1.0
    return ProbeFit(
        effect_ND=spread_NG @ np.array(effects).T,
        errors=tuple((spread_NG @ error_GK).T for error_GK in errors),
        linearity_D=share_G @ raw_GD,
        linearity_stderr_D=np.array(tests),
        raw_GD=raw_GD,
    )


def effects_without_each(
    groups: Sequence[Sequence[int]],
    doses_G: Vector,
    scores_GD: Array,
    controls_CD: Array,
    *,
    natural_N: Vector,
    target_N: NDArray[np.bool_],
) -> Array:
    """Effects fitted without each probe in turn, so that no probe predicts itself, shape (G, N, D).

    The domains that lose their probe get the mean effect of their field, or of all others where they
    are the only group of it. Arguments are those of `fit_probes`.
    """
    size, found = len(groups), []
    for left in range(size):
        kept = [number for number in range(size) if number != left]
        fit = fit_probes(
            [groups[number] for number in kept],
            doses_G[kept],
            scores_GD[kept],
            controls_CD,
            natural_N=natural_N,
            target_N=target_N,
        )
        mine = [n for n in kept if target_N[groups[n][0]] == target_N[groups[left][0]]] or kept
        share_G = np.array([natural_N[list(groups[number])].sum() for number in mine])
        means_GD = np.array([fit.effect_ND[groups[number][0]] for number in mine])
        effect_ND = fit.effect_ND.copy()
        effect_ND[list(groups[left])] = share_G @ means_GD / share_G.sum()
        found.append(centred(effect_ND, natural_N))
    return np.array(found)


def _shrinkage(raw_G: Vector, variance_G: Vector, share_G: Vector, field_G: NDArray[np.bool_]) -> Array:
    """The linear map from raw effects to fitted ones: towards their field's mean, then sum 0."""
    size = len(raw_G)
    if not variance_G.any():
        shrunk_GG = np.eye(size)
        weight_G = np.ones(size)
    else:
        mean_GG = np.zeros((size, size))
        for field in (False, True):
            mine_G = field_G == field
            if mine_G.any():
                precise_G = np.where(mine_G, 1 / variance_G, 0.0)
                mean_GG[mine_G] = precise_G / precise_G.sum()
        apart_G = raw_G - mean_GG @ raw_G
        between = max(0.0, float((apart_G**2 - variance_G).mean()))
        kept_G = between / (between + variance_G)
        shrunk_GG = kept_G[:, None] * np.eye(size) + (1 - kept_G)[:, None] * mean_GG
        weight_G = variance_G
    # the least change, in units of their variances, that makes the sum by natural shares 0
    push_G = weight_G * share_G / float(share_G @ (weight_G * share_G))
    result: Array = shrunk_GG - np.outer(push_G, share_G @ shrunk_GG)
    return result
