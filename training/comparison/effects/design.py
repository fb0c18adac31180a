"""Runs that say how well effects predict: fresh mixtures, natural mixing, and probes (method §8).

The spec of a unit names its mixture completely, so that a unit's identity says what it trained on.
Fresh mixtures are drawn as those of the yardstick are, from seeds of their own.
Shapes: M mixtures, N domains.
"""

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.effects.probes import Probe, design_probes, probe_mixture
from dmix.mixing.regression.design import largest_shares, tilts
from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.training.comparison.data.settings import ComparisonSettings
from dmix.training.comparison.yardstick.designs import design_mixture, target_mixture
from dmix.training.comparison.yardstick.tilts import tilt_of

TRIALS = ("tilt", "fresh", "natural", "control", "probe", "design", "grid")
"""Parts of runs of one mixture that listen to nothing; their specs name the mixture."""

PROBES = ("control", "probe")
"""Those of them that are a quarter of a run."""

HEARD = (*PROBES, "design", "grid", "online", "check")
"""Parts of runs that controllers learn from, or are chosen by: they never see the items that judge."""

_LEAST_STEPS = 4
# Far from the seeds of the yardstick's tilts, which are those of the settings.
_FRESH = 77_000


def fresh_mixtures(settings: ComparisonSettings, space: DomainSpace, *, count: int) -> NDArray[np.float64]:
    """Mixtures that no estimator and no yardstick has seen, shape (M, N).

    Where each field has one domain alone, target shares between those of the yardstick take their place.
    """
    largest_N = largest_shares(space, max_passes=settings.max_passes, run_samples=settings.run_samples)
    if all((space.active_N & (space.target_N == target)).sum() == 1 for target in (False, True)):
        finer = tilts(space, count=2 * count + 1, seed=settings.seed, largest_N=largest_N)
        between: NDArray[np.float64] = finer[1::2]
        return between
    return tilts(space, count=count, seed=settings.seed + _FRESH, largest_N=largest_N)


def probe_steps(settings: ComparisonSettings) -> int:
    """Steps of a probe: a quarter of a run."""
    return max(_LEAST_STEPS, settings.steps // 4)


def setting_probes(settings: ComparisonSettings, space: DomainSpace) -> list[Probe]:
    """Controls and probes of a setting."""
    return design_probes(space, samples=probe_steps(settings) * settings.samples_per_step)


def probe_spec(probe: Probe, space: DomainSpace) -> str:
    """Names dose and domains of a probe; `control` for a control."""
    if not probe.domains:
        return "control"
    return f"probe:{probe.dose!r}:" + "+".join("/".join(space.names[i]) for i in probe.domains)


def mixture_of(spec: str, settings: ComparisonSettings, space: DomainSpace) -> Vector:
    """The mixture that the spec of a trial names, shape (N,)."""
    kind, _, rest = spec.partition(":")
    if kind == "tilt":
        return tilt_of(spec, settings, space)
    if kind == "fresh":
        number, count = map(int, rest.split("/"))
        mixture_N: Vector = fresh_mixtures(settings, space, count=count)[number]
        return mixture_N
    if kind == "design":
        number, count = map(int, rest.split("/"))
        return design_mixture(number, settings, space, count=count)
    if kind == "grid":
        return target_mixture(float(rest), space)
    if kind == "probe":
        return probe_of(spec, space).mixture_N
    return space.natural_N


def probe_of(spec: str, space: DomainSpace) -> Probe:
    """The probe of a spec."""
    _, dose, domains = spec.split(":", 2)
    index = {"/".join(pair): i for i, pair in enumerate(space.names)}
    group = tuple(index[name] for name in domains.split("+"))
    mixture_N = probe_mixture(space.natural_N, group, dose=float(dose))
    return Probe(probe_id=spec, domains=group, dose=float(dose), mixture_N=mixture_N)
