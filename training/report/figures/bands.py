"""Which domains get an area and a colour of their own in a stacked drawing.

A run shows its own largest domains. Colours follow one ranking of the whole page, so that a
domain keeps its colour from run to run; where that would give two domains of one drawing the same
colour, the smaller one takes a free one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dmix.training.report.queries.reader import Pair
from dmix.training.report.queries.run_facts import Run
from dmix.training.report.queries.series import QUANTITIES, shares
from dmix.warehouse_schema.sizes import num_text
from dmix.warehouse_schema.taxonomy import FIELDS

# Areas of one field that are named at first, and the colours of a field in report.css: more
# colours than areas, since runs on one page can differ in their largest domains.
LARGEST = 6
COLOURS = 8


@dataclass(frozen=True)
class Band:
    """One drawn area: a domain, or the small domains of a field together.

    Attributes:
        name: Shown to readers.
        field: `source` or `target`.
        members: Indices into the run's pairs.
        colour: CSS variable of its colour.
    """

    name: str
    field: str
    members: tuple[int, ...]
    colour: str


def ranked_domains(runs: Iterable[Run]) -> dict[Pair, int]:
    """Place of every domain in its field by planned weight over all runs, from 0.

    Domains that no run ever asked for, planned or delivered are left out.
    """
    weight: dict[Pair, float] = {}
    for run in runs:
        for index in np.flatnonzero(_used(run)):
            pair = run.pairs[index]
            weight[pair] = weight.get(pair, 0.0) + _size(run, index)
    ranks: dict[Pair, int] = {}
    for field in FIELDS:
        members = sorted((pair for pair in weight if pair[0] == field), key=lambda pair: -weight[pair])
        ranks |= {pair: rank for rank, pair in enumerate(members)}
    return ranks


def bands(run: Run, ranks: Mapping[Pair, int]) -> list[Band]:
    """What to stack for a run, source at the bottom, the domains of a field in page order.

    Args:
        run: At least its `LARGEST` domains of each field have a colour of the palette; the others are grey
            bands, as many as it takes for none of them to be the largest area of the field.
        ranks: Of `ranked_domains`; gives order and colour.
    """
    used_N = _used(run)
    found: list[Band] = []
    for field in FIELDS:
        members = [i for i, pair in enumerate(run.pairs) if pair[0] == field and used_N[i]]
        members.sort(key=lambda i: -_size(run, i))
        sizes = [_size(run, i) for i in members]
        named = sorted(members[: num_named(sizes)], key=lambda i: ranks[run.pairs[i]])
        rest = members[len(named) :]
        colours = _distinct([ranks[run.pairs[i]] % COLOURS for i in named])
        found += [_single(run.pairs, i, f"{field}-{c + 1}") for i, c in zip(named, colours, strict=True)]
        for number, length in enumerate(split_rest(sizes[len(named) :], limit=max(sizes, default=0.0))):
            part, rest = rest[:length], rest[length:]
            colour = f"{field}-other-{number % 2 + 1}"
            if length == 1:
                found.append(_single(run.pairs, part[0], colour))
            else:
                name = num_text(length, "smaller domain" if rest else "smallest domain")
                found.append(Band(name, field, tuple(part), colour))
    return found


def num_named(sizes: Sequence[float]) -> int:
    """How many of the largest domains get a colour: `LARGEST`, or more while the rest is the largest area.

    Args:
        sizes: Of the domains of a field, the largest first.
    """
    count = min(LARGEST, len(sizes))
    while count < min(COLOURS, len(sizes)) and sum(sizes[count:]) > sizes[0]:
        count += 1
    return count


def split_rest(sizes: Sequence[float], *, limit: float) -> list[int]:
    """Lengths of neighbouring groups of the rest, none larger than `limit` unless one domain alone is.

    Args:
        sizes: Of the domains that are left, the largest first.
        limit: Size of the largest domain.
    """
    lengths: list[int] = []
    filled = 0.0
    for size in sizes:
        if lengths and filled + size <= limit:
            lengths[-1] += 1
            filled += size
        else:
            lengths.append(1)
            filled = size
    return lengths


def _distinct(wanted: Sequence[int]) -> list[int]:
    """The wanted colours, each taken once; later ones that are taken get the lowest free one."""
    given: list[int] = []
    for colour in wanted:
        free = (c for c in range(COLOURS) if c not in given and c not in wanted)
        given.append(colour if colour not in given else next(free))
    return given


def _single(pairs: Sequence[Pair], index: int, colour: str) -> Band:
    field, domain = pairs[index]
    return Band(domain.replace("_", " "), field, (index,), colour)


def _used(run: Run) -> np.ndarray:
    """True for the domains that were asked for, planned or delivered in any step, shape (N,)."""
    stacked = [shares(run, quantity).weights_TN.any(axis=0) for quantity in QUANTITIES]
    return np.any(stacked, axis=0)


def _size(run: Run, index: int) -> float:
    """Sum of planned weights over the steps."""
    return float(np.nan_to_num(run.planned_TN[:, index]).sum())
