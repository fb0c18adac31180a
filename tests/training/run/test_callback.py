import dataclasses

from dmix.mixing.controllers.fixed import natural
from dmix.mixing.delivery.step_plan import PlanSettings
from dmix.training.model.settings import TrainingSettings
from dmix.training.run.assembly.job import TrainingJob
from dmix.training.run.run import train
from dmix.warehouse_schema.files.events import read_events
from dmix.warehouse_schema.files.manifests import read_dataset_manifest


def test_a_first_step_that_harms_is_warned_of_and_names_the_rate(
    tiny_warehouse, tiny_model, environment, tmp_path, caplog
):
    before = TrainingSettings(batch_size=8, learning_rate=1e-2, warmup=0.0)
    job = TrainingJob(
        run_id="teach",
        kind="baseline",
        streams=tiny_warehouse.stream("tiny"),
        manifest=read_dataset_manifest(tiny_warehouse),
        model=tiny_model,
        controller=natural(),
        plan=PlanSettings(step_samples=64, batch_size=8),
        steps=2,
        training=before,
        environment=environment,
        result=tmp_path / "taught",
    )
    train(job, folder=tmp_path / "teach")
    assert "loss_jump" not in (tmp_path / "teach/events.jsonl").read_text()
    harmed = dataclasses.replace(
        job,
        run_id="harmed",
        model=str(tmp_path / "taught"),
        steps=1,
        training=dataclasses.replace(before, learning_rate=1.0, gradient_clip=None, schedule="constant"),
        result=None,
    )
    train(harmed, folder=tmp_path / "harmed")
    notes = [event for event in read_events(tmp_path / "harmed/events.jsonl") if event["event"] == "note"]
    assert [note["kind"] for note in notes] == ["loss_jump"]
    assert "learning_rate 1 is too large" in notes[0]["detail"] == caplog.records[-1].getMessage()
