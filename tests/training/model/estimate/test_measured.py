"""Speed from a few real batches, in the sizes and the precision of the run."""

from dataclasses import replace

from dmix.training.model.estimate import measured
from dmix.training.model.models import load_model
from dmix.warehouse_schema.files.manifests import read_dataset_manifest


def test_speed_is_tokens_of_the_batches_over_their_time(
    tiny_warehouse, tiny_model, fast_training, monkeypatch
):
    manifest = read_dataset_manifest(tiny_warehouse)
    seen = []
    network = load_model(tiny_model, manifest)
    network.register_forward_hook(lambda module, given, out: seen.append(given[0]["input_ids"].shape))
    monkeypatch.setattr(measured, "load_model", lambda *_, **__: network)
    ticks = iter(range(100))
    monkeypatch.setattr(measured.time, "perf_counter", lambda: 0.4 * next(ticks))
    found = measured.measure_speed(tiny_model, manifest, replace(fast_training, microbatch_size=4))
    # the first batch warms up; then three, as the clock is asked before each of them and passes 1.0
    assert seen == [(4, 16)] * (1 + 3)
    assert found.parameters == network.parameters_count
    assert found.tokens_per_second == 3 * 4 * 16 / (0.4 * 4)
