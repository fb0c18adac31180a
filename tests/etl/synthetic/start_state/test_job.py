"""Start states that a model tells: when it stops, what it stores, what is refused."""

import functools
import json

import numpy as np
import pytest

from dmix.etl.maintenance.gc import collect_garbage
from dmix.etl.maintenance.verify import verify_warehouse
from dmix.etl.synthetic.blocks import block_name, finished_blocks
from dmix.etl.synthetic.generation_settings import GenerationSettings
from dmix.etl.synthetic.start_state.job import ESTIMATE, estimate_start_state
from dmix.etl.synthetic.start_state.plan import plan_start_state
from dmix.etl.synthetic.start_state.settings import StartStateSettings
from dmix.etl.synthetic.start_state.shares import divergence, divergence_bound, shares, smoothed_shares
from dmix.etl.synthetic.synthesize import run_here
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.catalog.sync import sync
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.taxonomy import DEFAULT_TAXONOMY

GENERATION = GenerationSettings(seed=1, block_documents=16, max_tokens=20)
SETTINGS = StartStateSettings(kl_bound=0.08, min_documents=32, max_documents=640)


def told(
    warehouse, model, *, settings=SETTINGS, generation=GENERATION, run=run_here, manifest=None, name="w"
):
    plan = plan_start_state(
        warehouse, str(model), name=name, settings=settings, generation=generation, manifest=manifest
    )
    return estimate_start_state(plan, run=run, progress=lambda line: None)


@pytest.fixture(scope="module")
def estimate(writer, tmp_path_factory):
    from dmix.warehouse_schema.files.layout import Warehouse

    warehouse = Warehouse.at(tmp_path_factory.mktemp("told"))
    return warehouse, told(warehouse, writer)


def test_it_stops_at_the_first_block_that_meets_the_bound(estimate):
    _, found = estimate
    bounds = [point.divergence_bound for point in found.curve]
    assert found.converged
    assert bounds[-1] <= SETTINGS.kl_bound < min(bounds[1:-1])
    assert found.generated == 16 * len(found.curve)
    assert found.documents == found.generated - found.empty
    counts = np.array([domain.documents for domain in found.domains])
    assert found.divergence_bound == divergence_bound(counts, confidence=0.95, seed=1)


def test_shares_sum_to_one_and_lie_in_their_intervals(estimate):
    _, found = estimate
    assert sum(domain.document_weight for domain in found.domains) == pytest.approx(1)
    assert sum(domain.token_weight for domain in found.domains) == pytest.approx(1)
    for domain in found.domains:
        assert domain.document_low <= domain.document_weight <= domain.document_high
        assert domain.token_low <= domain.token_weight <= domain.token_high
    assert found.curve[-1].divergence == 0
    assert found.curve[-1].documents == sum(domain.documents for domain in found.domains)


def test_what_was_written_too_much_does_not_count(estimate, writer, tmp_path):
    from dmix.warehouse_schema.files.layout import Warehouse

    _, found = estimate
    other = Warehouse.at(tmp_path)
    told(other, writer, settings=StartStateSettings(kl_bound=0.02, min_documents=320, max_documents=640))
    assert len(finished_blocks(other.model_start_state("w"))) > len(found.curve)
    again = told(other, writer)
    assert (again.domains, again.curve) == (found.domains, found.curve)


def test_a_killed_estimate_goes_on_with_the_same_result(estimate, writer, warehouse):
    left = [3]

    def killed(task, items):
        done = []
        for item in items:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            done.append(task(item))
        return done

    with pytest.raises(KeyboardInterrupt):
        told(warehouse, writer, run=killed)
    assert len(finished_blocks(warehouse.model_start_state("w"))) > 0
    assert told(warehouse, writer).domains == estimate[1].domains


def test_the_estimate_names_the_blocks_that_it_counts_and_verify_reads_them(writer, warehouse):
    found = told(warehouse, writer)
    folder = warehouse.model_start_state("w")
    assert [block.name for block in found.blocks] == [block_name(n) for n in range(len(found.curve))]
    assert sum(block.documents for block in found.blocks) == found.generated
    assert problems(warehouse) == []
    content = bytearray((folder / block_name(0)).read_bytes())
    content[40] ^= 1
    (folder / block_name(0)).write_bytes(bytes(content))
    (folder / block_name(1)).unlink()
    assert problems(warehouse) == [
        ("hash", "start_states/w/block-00000000.parquet"),
        ("missing", "start_states/w/block-00000001.parquet"),
    ]


def test_an_estimate_that_names_no_blocks_is_found(writer, warehouse):
    told(warehouse, writer)
    path = warehouse.model_start_state("w") / ESTIMATE
    content = json.loads(path.read_text())
    del content["blocks"]
    path.write_text(json.dumps(content))
    assert problems(warehouse) == [("manifest", "start_states/w/estimate.json")]


def problems(warehouse):
    report = verify_warehouse(warehouse, dataset=None, progress=lambda line: None)
    return [(problem.kind, problem.path) for problem in report.problems]


def test_garbage_is_an_estimation_that_was_never_finished_and_half_written_files(
    writer, warehouse, held_elsewhere
):
    told(warehouse, writer)
    finished, killed = warehouse.model_start_state("w"), warehouse.model_start_state("killed")
    killed.mkdir()
    for stray in (killed / block_name(0), finished / ".block-00000009.parquet.x1"):
        stray.write_bytes(b"12345")
    with held_elsewhere(warehouse.lock_of("start state", "killed")):
        report = collect_garbage(warehouse, dry_run=True)
    assert report.in_use == ("start state killed",)
    before = {path.name for path in finished.glob("block-*")}
    report = collect_garbage(warehouse, dry_run=False)
    assert [garbage.path for garbage in report.found] == [killed, finished / ".block-00000009.parquet.x1"]
    assert report.size_bytes == 10
    assert not killed.exists()
    assert {path.name for path in finished.iterdir()} == {*before, ESTIMATE}


def test_the_largest_number_of_documents_ends_it_and_is_reported(writer, warehouse):
    found = told(
        warehouse, writer, settings=StartStateSettings(kl_bound=1e-6, min_documents=16, max_documents=40)
    )
    assert not found.converged
    assert found.generated == 48


def test_the_catalog_shows_estimate_intervals_and_curve(estimate):
    warehouse, found = estimate
    sync(warehouse)
    with Catalog.open_reader(warehouse) as catalog:
        _, stored = catalog.query(
            "select domain, documents, document_weight, sample_weight, weight_low, weight_high, document_low"
            " from start_state where estimator = 'model:w' and field = 'source' order by domain_index"
        )
        _, [facts] = catalog.query(
            "select documents, empty, capped, max_tokens, divergence_bound, kl_bound, converged, dataset"
            " from start_state_estimates"
        )
        _, curve = catalog.query(
            "select documents, divergence, divergence_bound, divergence_to_corpus, kl_bound"
            " from start_state_convergence where estimator = 'model:w' order by documents"
        )
    assert [row[0] for row in stored] == list(DEFAULT_TAXONOMY.labels)
    assert stored == [
        (
            d.domain,
            d.documents,
            d.document_weight,
            d.token_weight,
            d.token_low,
            d.token_high,
            d.document_low,
        )
        for d in found.domains
    ]
    assert facts == (
        found.documents,
        found.empty,
        found.capped,
        20,
        found.divergence_bound,
        0.08,
        True,
        None,
    )
    assert [row[:4] for row in curve] == [
        (p.documents, p.divergence, p.divergence_bound, p.divergence_to_corpus) for p in found.curve
    ]
    assert {row[4] for row in curve} == {0.08}


def test_a_dataset_gives_the_curve_its_distance(estimate, writer, warehouse, make_corpus, make_dataset):
    found = estimate[1]
    counts = {domain.domain: domain.documents for domain in found.domains if domain.documents}
    documents = [(label, "a b c d e f g h") for label, count in counts.items() for _ in range(count)]
    corpus = make_corpus("main-source", "source", [documents], taxonomy=DEFAULT_TAXONOMY)
    manifest = make_dataset([corpus])
    compared = told(warehouse, writer, manifest=manifest)
    assert compared.dataset == manifest.dataset
    # the corpus has the very counts of the estimate; half a document more each is what differs
    seen = np.array([domain.documents for domain in found.domains])
    left = divergence(shares(seen), smoothed_shares(seen))
    assert compared.curve[-1].divergence_to_corpus == pytest.approx(left)
    assert compared.curve[0].divergence_to_corpus > compared.curve[-1].divergence_to_corpus
    other = make_dataset([make_corpus("other-source", "source", [[("News", "a b c " * 40)]])])
    with pytest.raises(InputError, match=r"has taxonomy 'three'.*leave --dataset out"):
        told(warehouse, writer, manifest=other)


def test_a_model_that_writes_nothing_is_named(make_writer, warehouse, tmp_path):
    silent = make_writer(tmp_path / "silent", ends=1 - 1e-9)
    with pytest.raises(InputError, match="wrote 48 documents, and all are empty"):
        told(warehouse, silent, settings=StartStateSettings(min_documents=16, max_documents=48))


def test_a_classifier_that_reads_labels_is_refused(writer, warehouse):
    with pytest.raises(InputError, match="reads labels"):
        told(warehouse, writer, settings=StartStateSettings(classifier="column:label"))


@pytest.mark.parametrize(
    "values",
    [{"kl_bound": 0.0}, {"confidence": 1.0}, {"min_documents": 0}, {"min_documents": 9, "max_documents": 8}],
)
def test_settings_out_of_range_are_refused(values):
    with pytest.raises(InputError, match="expected"):
        StartStateSettings(**values)


@pytest.mark.slow
def test_spark_finds_the_same(estimate, writer, warehouse, spark):
    from dmix.etl.spark.tasks import run_tasks

    found = told(warehouse, writer, run=functools.partial(run_tasks, spark))
    assert found.domains == estimate[1].domains
    stored = json.loads((warehouse.model_start_state("w") / ESTIMATE).read_text())
    assert stored["curve"][-1]["documents"] == found.documents
