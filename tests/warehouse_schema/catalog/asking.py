"""What a catalog says, for its tests."""

from dmix.warehouse_schema.catalog.catalog import Catalog


def ask(warehouse, sql):
    with Catalog.open_reader(warehouse) as catalog:
        return catalog.query(sql)[1]


def everything(warehouse):
    """All rows of all public views, in an order of their own."""
    with Catalog.open_reader(warehouse) as catalog:
        return {view: sorted(map(repr, catalog.query(f"from {view}")[1])) for view in catalog.views()}


def hidden_files(warehouse):
    return [path.name for path in warehouse.root.glob(".catalog-*")]
