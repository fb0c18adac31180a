"""What the catalog says about farms: sets of trajectories and the feedback of their proxies.

The sums over a farm are made in SQL, since a farm of the paper's size has millions of weights.
Shapes: P trajectories, T entries of one, N (field, domain) pairs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from dmix.mixing.space.domains import Vector
from dmix.training.report.queries.reader import Pair, Reader, domain_order, position

# Of the steps of a farm, the share that counts as "raised most" and as "lowered most".
TAIL = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class Path:
    """One trajectory, by the share of its target field.

    Attributes:
        trajectory_id: Its id within the set.
        kind: `inductive`, `segments` or `static`.
        top_k: K of Algorithm 1; None for other kinds.
        target_T: Share of the target field at each entry; entry 0 is the start state.
    """

    trajectory_id: str
    kind: str
    top_k: int | None
    target_T: Vector


@dataclass(frozen=True, kw_only=True, eq=False)
class Contrast:
    """What was mixed in the steps that moved one objective most (the paper's Fig. 1).

    Attributes:
        objective: The objective.
        steps: Steps of the farm whose change is known.
        tail: How many of them are averaged at each end.
        rise, fall: Smallest change among those that raised it, largest among those that lowered
            it, in nats per token.
        raised_N, lowered_N, all_N: Mean mixtures of the two ends and of all these steps.
    """

    objective: str
    steps: int
    tail: int
    rise: float
    fall: float
    raised_N: Vector
    lowered_N: Vector
    all_N: Vector


@dataclass(frozen=True, kw_only=True, eq=False)
class FarmFacts:
    """A set of trajectories.

    Attributes:
        set_name: Its name.
        dataset: Id of the dataset whose domains it is over.
        pairs: The N pairs, source first, in taxonomy order.
        paths: Its trajectories, by kind and id.
        scored: Trajectories with feedback.
        varied: Of these, trajectories whose proxy was not the usual one.
        contrasts: By whether the change is counted against the mean of all trajectories at the same
            step ("step") or as it is ("raw"), one entry per objective.
    """

    set_name: str
    dataset: str
    pairs: tuple[Pair, ...]
    paths: tuple[Path, ...]
    scored: int
    varied: int
    contrasts: Mapping[str, tuple[Contrast, ...]]

    @property
    def steps(self) -> int:
        """M: steps of the longest trajectory."""
        return max((len(path.target_T) - 1 for path in self.paths), default=0)


def read_farms(catalog: Reader, *, datasets: Iterable[str] | None = None) -> list[FarmFacts]:
    """Every set of trajectories, by name.

    Args:
        catalog: Where to ask.
        datasets: Ids of the datasets whose sets are wanted; all sets by default.
    """
    _, rows = catalog.query("SELECT DISTINCT set_name, dataset FROM trajectories ORDER BY set_name")
    wanted = None if datasets is None else set(datasets)
    return [_farm(catalog, name, dataset) for name, dataset in rows if wanted is None or dataset in wanted]


def _farm(catalog: Reader, set_name: str, dataset: str) -> FarmFacts:
    _, rows = catalog.query(
        "SELECT DISTINCT field, domain FROM trajectories WHERE set_name = ? AND step = 0", [set_name]
    )
    order = domain_order(catalog, dataset)
    pairs = tuple(sorted(((field, domain) for field, domain in rows), key=lambda pair: position(pair, order)))
    _, [(scored, varied)] = catalog.query(
        "SELECT count(DISTINCT trajectory_id),"
        " count(DISTINCT trajectory_id) FILTER (coalesce(variation, '') <> '')"
        " FROM feedback WHERE set_name = ?",
        [set_name],
    )
    return FarmFacts(
        set_name=set_name,
        dataset=dataset,
        pairs=pairs,
        paths=_paths(catalog, set_name),
        scored=scored,
        varied=varied,
        contrasts={against: _contrasts(catalog, set_name, pairs, against) for against in ("raw", "step")},
    )


def _paths(catalog: Reader, set_name: str) -> tuple[Path, ...]:
    _, rows = catalog.query(
        "SELECT trajectory_id, any_value(kind), any_value(top_k), list(target ORDER BY step) FROM ("
        " SELECT trajectory_id, kind, top_k, step, sum(weight) FILTER (field = 'target') AS target"
        " FROM trajectories WHERE set_name = ? GROUP BY ALL)"
        " GROUP BY trajectory_id ORDER BY any_value(kind), any_value(top_k), trajectory_id",
        [set_name],
    )
    return tuple(
        Path(trajectory_id=name, kind=kind, top_k=top_k, target_T=np.array(target, np.float64))
        for name, kind, top_k, target in rows
    )


def _contrasts(catalog: Reader, set_name: str, pairs: tuple[Pair, ...], against: str) -> tuple[Contrast, ...]:
    """Proxies that departed from the usual one are left out: their changes are not the mixture's doing."""
    baseline = "avg(change) OVER (PARTITION BY objective, step)" if against == "step" else "0"
    _, rows = catalog.query(
        f"""
        WITH changes AS (
            SELECT trajectory_id, step, objective, score - lag(score) OVER path AS change
            FROM feedback
            WHERE set_name = $1 AND coalesce(variation, '') = '' AND isfinite(score)
            WINDOW path AS (PARTITION BY trajectory_id, objective ORDER BY step)
            QUALIFY step - lag(step) OVER path = 1
        ), counted AS (
            SELECT trajectory_id, step, objective, change - {baseline} AS change FROM changes
        ), placed AS (
            SELECT *,
                count(*) OVER (PARTITION BY objective) AS steps,
                ceil(count(*) OVER (PARTITION BY objective) * $2)::INTEGER AS tail,
                row_number() OVER (PARTITION BY objective ORDER BY change DESC, trajectory_id, step) AS up,
                row_number() OVER (PARTITION BY objective ORDER BY change, trajectory_id, step) AS down
            FROM counted
        )
        SELECT objective, field, domain, any_value(steps), any_value(tail),
            min(change) FILTER (up <= tail), max(change) FILTER (down <= tail),
            avg(weight) FILTER (up <= tail), avg(weight) FILTER (down <= tail), avg(weight)
        FROM placed JOIN trajectories USING (trajectory_id, step)
        WHERE set_name = $1
        GROUP BY objective, field, domain ORDER BY objective
        """,
        [set_name, TAIL],
    )
    means: dict[str, dict[Pair, tuple[float, ...]]] = {}
    ends = {}
    for objective, field, domain, steps, tail, rise, fall, *weights in rows:
        means.setdefault(objective, {})[field, domain] = tuple(weights)
        ends[objective] = {"steps": steps, "tail": tail, "rise": rise, "fall": fall}
    found = []
    for objective, weights_of in means.items():
        raised_N, lowered_N, all_N = np.array([weights_of[pair] for pair in pairs], np.float64).T
        found.append(
            Contrast(
                objective=objective, **ends[objective], raised_N=raised_N, lowered_N=lowered_N, all_N=all_N
            )
        )
    return tuple(found)
