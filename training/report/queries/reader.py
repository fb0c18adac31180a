"""How the report asks the catalog, and the order in which it names (field, domain) pairs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

Pair = tuple[str, str]


class Reader(Protocol):
    """What the report needs of an open catalog."""

    def query(
        self, sql: str, parameters: Sequence[Any] = ()
    ) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
        """Column names and rows of a query."""
        ...


def records(catalog: Reader, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """The rows of a query by column."""
    columns, rows = catalog.query(sql, parameters)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def domain_order(catalog: Reader, dataset: str) -> dict[str, int]:
    """Position of each domain of a dataset in its taxonomy; empty if the dataset is gone."""
    _, rows = catalog.query(
        "SELECT domain, min(domain_index) FROM domains WHERE taxonomy ="
        " (SELECT any_value(taxonomy) FROM datasets WHERE dataset = ?) GROUP BY domain",
        [dataset],
    )
    return {domain: int(index) for domain, index in rows}


def position(pair: Pair, order: Mapping[str, int]) -> tuple[str, int, str]:
    """Sort key: source before target, then taxonomy order, then the name of a label without one."""
    field, domain = pair
    return field, order.get(domain, len(order)), domain


def floats(values: Iterable[Any]) -> list[float]:
    """Numbers, NaN for those that are not known."""
    return [float("nan") if value is None else float(value) for value in values]
