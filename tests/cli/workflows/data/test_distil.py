"""Documents that a student would learn from, counted without drawing one."""

import pytest
from tests.etl import conftest as _etl

from dmix.cli.workflows.data.distil import distil_classifier
from dmix.etl.distilling.settings import DistilSettings
from dmix.warehouse_schema.files.layout import Warehouse


@pytest.mark.parametrize(("most", "drawn"), [(10, {"News": 10, "Games": 6}), (100, {"News": 30, "Games": 6})])
def test_labels_are_added_up_to_what_is_drawn_of_each(tmp_path, most, drawn):
    warehouse = Warehouse.at(tmp_path / "w")
    for field, news, games in (("source", 8, 6), ("target", 22, 0)):
        documents = [("News", f"{field} {n}") for n in range(news)] + [
            ("Games", f"{n}") for n in range(games)
        ]
        _etl.write_corpus(warehouse, f"main-{field}", field, [documents])
    result = distil_classifier(
        warehouse, name="fast", settings=DistilSettings(documents_per_label=most), dry_run=True, progress=str
    )
    assert result.facts == {"name": "fast", "documents": drawn}
    assert not (warehouse.root / "classifiers").exists()
