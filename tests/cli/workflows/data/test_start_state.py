"""A start state: counted, or told by a model, and which flags go together."""

import pytest
from tests.manifests import dataset_manifest

from dmix.cli.workflows.data.start_state import _estimate_result, show_start_state
from dmix.etl.synthetic.generation_settings import GenerationSettings
from dmix.etl.synthetic.start_state.estimate import DomainEstimate, StartStateEstimate
from dmix.etl.synthetic.start_state.settings import StartStateSettings
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import write_dataset_manifest
from dmix.warehouse_schema.taxonomy import Taxonomy


def show(warehouse, **given):
    return show_start_state(
        warehouse,
        settings=StartStateSettings(),
        generation=GenerationSettings(),
        executor=None,
        progress=str,
        **given,
    )


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"origin": "somewhere"}, "--from is 'somewhere'"),
        ({"model": "m"}, "--model needs --from model"),
        ({"origin": "model"}, "--from model needs --model"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(tmp_path, given, named):
    with pytest.raises(InputError, match=named):
        show(Warehouse.at(tmp_path), **given)


def test_a_dataset_is_counted(tmp_path):
    warehouse = Warehouse.at(tmp_path)
    write_dataset_manifest(warehouse, dataset_manifest([6, 2, 0, 4]))
    assert list(show(warehouse).df()["sample share"]) == [0.75, 0.25, 1.0]


@pytest.mark.parametrize(("converged", "said"), [(True, ": met."), (False, "NOT met after the maximum of 5")])
def test_an_estimate_says_whether_its_bound_was_met(converged, said):
    shares = {f"{kind}_{end}": 0.5 for kind in ("document", "token") for end in ("weight", "low", "high")}
    domains = [
        DomainEstimate(domain=name, documents=n, tokens=n, **shares) for name, n in (("A", 4), ("B", 0))
    ]
    estimate = StartStateEstimate(
        name="m",
        model="hub/m",
        digest="d",
        dataset=None,
        classifier="embedded",
        taxonomy=Taxonomy("two", ("A", "B")),
        seed=0,
        max_tokens=32,
        generated=5,
        empty=1,
        capped=2,
        kl_bound=0.01,
        confidence=0.95,
        divergence_bound=0.5,
        converged=converged,
        domains=tuple(domains),
        curve=(),
        blocks=(),
    )
    result = _estimate_result(estimate)
    assert said in repr(result) and "4 documents, and 1 empty one" in repr(result)
    assert list(result.df()["domain"]) == ["A"]
