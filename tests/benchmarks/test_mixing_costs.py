"""What the mixing benchmarks make up is what a run takes."""

from benchmarks.mixing_costs import loader_state, long_run, write_events
from benchmarks.mixing_streams import write_streams

from dmix.mixing.delivery.dataset import MixedDataset
from dmix.mixing.delivery.loader import MixedLoader
from dmix.warehouse_schema.files.events import repair_events


def test_a_made_up_loader_resumes_from_made_up_streams(tmp_path):
    manifest = write_streams(tmp_path, samples=5_200)
    state = loader_state(manifest, tmp_path, 3)
    with MixedDataset(manifest, tmp_path) as dataset:
        loader = MixedLoader(dataset, settings=long_run())
        loader.load_state_dict(state)
        assert loader.state.step == 2


def test_a_made_up_log_has_nothing_to_repair(tmp_path):
    log = write_events(tmp_path / "events.jsonl", steps=4)
    content = log.read_bytes()
    assert not repair_events(log) and log.read_bytes() == content
