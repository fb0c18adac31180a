"""The stages of the quickstart before its runs; each finds out by itself what is done already."""

from typing import TYPE_CHECKING

from dmix.cli.workflows.quickstart import sizes
from dmix.cli.workflows.quickstart.files import Files, scaled_environment
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.progress import Progress

if TYPE_CHECKING:
    from dmix.etl.spark.executors import Automatic


def make_dataset(executor: "Automatic", warehouse: Warehouse, files: Files, *, progress: Progress) -> None:
    """Classifies the text and shards it; all items are kept out."""
    from dmix.cli.workflows.data.classify import classify_text
    from dmix.cli.workflows.data.shard import shard_corpora
    from dmix.etl.classify.settings import ClassifySettings
    from dmix.etl.shard.settings import ShardSettings

    classify_text(
        warehouse,
        source=(str(files.data / "source"),),
        target=(str(files.data / "target"),),
        name=sizes.NAME,
        settings=ClassifySettings(),
        executor=executor,
        progress=progress,
    )
    shard_corpora(
        warehouse,
        corpus=(f"{sizes.NAME}-source", f"{sizes.NAME}-target"),
        settings=ShardSettings(seq_len=sizes.SEQ_LEN, name=sizes.NAME),
        environment=(files.environment, *([files.judging] if files.judging.is_file() else [])),
        executor=executor,
        progress=progress,
    )


def make_base(warehouse: Warehouse, files: Files, *, progress: Progress) -> None:
    """Trains a model from random weights on the source."""
    from dmix.training.model.settings import load_training
    from dmix.training.run.base_model import base_config, train_base

    config = base_config(
        warehouse,
        model=str(files.config("model")),
        tokens=sizes.BASE_TOKENS,
        name=sizes.NAME,
        training=load_training(files.config("base-training")),
        dataset=sizes.NAME,
    )
    train_base(warehouse, config, progress=progress)


def collect_feedback(warehouse: Warehouse, files: Files, *, master: str | None, progress: Progress) -> None:
    """Samples trajectories and trains proxies along them."""
    from dmix.cli.workflows.agents.collect import collect_farm
    from dmix.cli.workflows.agents.sample import sample_set
    from dmix.mixing.trajectories.settings import SampleSettings

    settings = SampleSettings(
        paths=2,
        random_paths=2,
        top_k=(1, 100),
        steps=sizes.STEPS,
        candidates=4_000,
        samples_per_step=sizes.STEP_SAMPLES,
        run_samples_per_step=sizes.STEP_SAMPLES,
        batch_size=sizes.BATCH,
    )
    sample_set(warehouse, set_name=sizes.NAME, dataset=sizes.NAME, settings=settings, progress=progress)
    collect_farm(
        warehouse,
        set_name=sizes.NAME,
        environment=files.environment,
        proxy=files.config("proxy"),
        bases=(sizes.NAME,),
        master=master,
        progress=progress,
    )


def make_agent(warehouse: Warehouse, *, progress: Progress) -> None:
    """Trains an agent on the feedback, unless it is there."""
    from dmix.cli.workflows.agents.learn import train_agent
    from dmix.mixing.learning.sft import SftSettings

    if (warehouse.agent(sizes.NAME) / "config.json").is_file():
        progress(f"agent {sizes.NAME} exists already")
        return
    settings = SftSettings(epochs=60)
    train_agent(
        warehouse,
        method="sft",
        set_names=sizes.NAME,
        agent_name=sizes.NAME,
        settings=settings,
        progress=progress,
    )


def count_effects(warehouse: Warehouse, files: Files, *, progress: Progress) -> None:
    """Measures by counts which text helps which objective, relative to the base model."""
    from dmix.cli.workflows.effects.counts import probe_counts

    environment = scaled_environment(files)
    probe_counts(
        warehouse,
        environment=environment,
        dataset=sizes.NAME,
        model=sizes.NAME,
        name=sizes.NAME,
        progress=progress,
    )
