"""Prepares a setting of `dmix bench quality`: text, items, datasets, base models, trajectories.

Every part finds out by itself whether it is done, so a killed preparation resumes.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import read_dataset_manifest
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text
from dmix.warehouse_schema.taxonomy import FIELDS

if TYPE_CHECKING:
    from dmix.etl.classify.settings import ClassifySettings
    from dmix.etl.spark.executors import Automatic
    from dmix.etl.synthetic.blocks import BlockFacts
    from dmix.training.comparison.data.settings import ComparisonSettings
    from dmix.training.comparison.data.study_paths import StudyPaths
    from dmix.training.comparison.runs.study import Study
    from dmix.warehouse_schema.files.manifests import CorpusVersion

REAL, REAL_SOURCE = "real", "real-source"
"""Corpora of the real text of a synthetic setting; the second one is also the classifier that it teaches."""

# Documents of a batch of a small model: more are no faster, and a block is what a killed call loses.
_BLOCK_DOCUMENTS = 256


def prepare_comparison(study: "Study", *, master: str | None, every_base: bool = False) -> None:
    """Makes everything that is missing; Spark starts when the first dataset is made.

    Args:
        study: The setting, its data and its folders.
        master: Spark master.
        every_base: All base models of a setting of the third protocol; else those of the yardstick.

    Raises:
        InputError: If the work folder was prepared for another setting, or text or items are too few.
        NotFoundError: If text or items do not exist.
    """
    from dmix.etl.text.tokens import load_tokenizer
    from dmix.training.comparison.data.corpora import base_text, write_text
    from dmix.training.comparison.data.prepare import RUN_DATASET, check_same_setting, make_base, sample_farm

    paths, loaded, progress = study.paths, study.loaded, study.progress
    check_same_setting(paths, loaded)
    builder = DatasetBuilder(paths.warehouse, loaded.settings, master=master, progress=progress)
    if not paths.text_record.is_file():
        tokenizer = load_tokenizer(loaded.settings.tokenizer)

        def count_tokens(texts: Sequence[str]) -> Sequence[int]:
            return [int(length) for length in tokenizer.encode(texts)[1]]

        write_text(paths, loaded, data=study.data, count_tokens=count_tokens, progress=progress)
    third = loaded.settings.protocol == 3
    bases = range(study.tier.tilt_bases) if third and not every_base else study.bases
    if loaded.settings.world is not None:
        bases = range(loaded.settings.run_base, loaded.settings.run_base + 1)
    for base in bases:
        name = base_text(loaded.settings, base)
        if not _has_dataset(paths.warehouse, name):
            builder.shard(builder.classify({"source": paths.text(name, "source")}, name=name), name=name)
        make_base(paths, loaded, base, progress=progress)
    if not _has_dataset(paths.warehouse, RUN_DATASET):
        _make_run_dataset(paths, loaded.settings, builder)
    if not third:
        sample_farm(paths, loaded, study.tier, progress=progress)


def _has_dataset(warehouse: Warehouse, name: str) -> bool:
    try:
        read_dataset_manifest(warehouse, name)
    except NotFoundError:
        return False
    return True


def _make_run_dataset(paths: "StudyPaths", settings: "ComparisonSettings", builder: "DatasetBuilder") -> None:
    """The dataset of the runs; its source text is that of the files, or what base model 0 writes."""
    from dmix.training.comparison.data.corpora import base_text
    from dmix.training.comparison.data.prepare import RUN_DATASET, base_name

    text = {field: paths.text(RUN_DATASET, field) for field in FIELDS}
    if not settings.synthetic_source:
        builder.shard(builder.classify(text, name=RUN_DATASET), name=RUN_DATASET)
        return
    written, real = text["source"], {**text, "source": paths.text(base_text(settings, 0), "source")}
    tokens = round(settings.source_supply * settings.run_samples * settings.seq_len)
    builder.write(paths.warehouse.model(base_name(0)), written, tokens=tokens)
    if not settings.classifier.startswith("column:"):
        builder.shard(builder.classify({**real, "source": written}, name=RUN_DATASET), name=RUN_DATASET)
        return
    # what a model writes has no columns; one call for both fields, so that they share a taxonomy
    source, target = builder.classify(real, name=REAL)
    builder.distil(source)
    spoken = builder.classify({"source": written}, name=RUN_DATASET, distilled=REAL_SOURCE)
    builder.shard([*spoken, target], name=RUN_DATASET)


def stop_spark() -> None:
    """Ends the worker processes and the Spark session of this process, where there are any.

    It gives back Spark's memory, and its idle workers no longer see the interrupt that ends a stage.
    """
    from dmix.etl.spark.pool import worker_pool

    worker_pool().close()
    if "pyspark" not in sys.modules:
        return
    from pyspark.sql import SparkSession

    session = SparkSession.getActiveSession()
    if session is not None:
        session.stop()


@dataclass(frozen=True)
class DatasetBuilder:
    """Steps towards a dataset of a setting; each finds out by itself what of it is done."""

    warehouse: Warehouse
    settings: "ComparisonSettings"
    master: str | None
    progress: Progress

    @property
    def executor(self) -> "Automatic":
        from dmix.etl.spark.executors import Automatic

        return Automatic(master=self.master, app="dmix bench quality")

    def classify(
        self, inputs: Mapping[str, Path], *, name: str, distilled: str | None = None
    ) -> "list[CorpusVersion]":
        """Corpora of folders of text, by the setting's classifier or by a distilled one."""
        from dmix.etl.classify.classify import classify_corpora, field_requests

        by = self._classifier(distilled)
        folders = {field: [str(folder)] for field, folder in inputs.items()}
        requests = field_requests(self.warehouse, folders, name=name, add=False, settings=by)
        outcomes = classify_corpora(
            self.executor, self.warehouse, requests, settings=by, progress=self.progress
        )
        return [outcome.version for outcome in outcomes]

    def _classifier(self, distilled: str | None) -> "ClassifySettings":
        from dmix.etl.classify.settings import ClassifySettings

        if distilled is not None:
            return ClassifySettings(classifier=f"distilled:{distilled}")
        return ClassifySettings(classifier=self.settings.classifier, taxonomy=self.settings.taxonomy)

    def shard(self, corpora: "Sequence[CorpusVersion]", *, name: str) -> None:
        """The dataset of some corpora."""
        from dmix.etl.shard.settings import ShardSettings
        from dmix.etl.shard.shard import shard_dataset

        given = self.settings
        shard = ShardSettings(tokenizer=given.tokenizer, seq_len=given.seq_len, seed=given.seed, name=name)
        shard_dataset(self.executor, self.warehouse, corpora=corpora, settings=shard, progress=self.progress)

    def distil(self, source: "CorpusVersion") -> None:
        """A classifier of the labels of the real source text; it never gives those of the target."""
        from dmix.etl.distilling.distil import distil
        from dmix.etl.distilling.settings import DistilSettings

        report = distil(
            self.warehouse,
            name=REAL_SOURCE,
            corpora=[source],
            settings=DistilSettings(seed=self.settings.seed),
            progress=self.progress,
        )
        self.progress(
            f"the classifier distilled from the real source agrees on {report.agreement:.1%} of the documents"
        )

    def write(self, model: Path, out: Path, *, tokens: int) -> None:
        """Lets a model write until `tokens` are kept, ends of text counted.

        Raises:
            InputError: If nothing of what it writes is kept.
        """
        budget = tokens
        while True:
            facts = self._written(model, out, budget=budget)
            kept = facts.tokens_kept + facts.kept
            self.progress(
                f"{model.name} wrote {num_text(facts.tokens, 'token')}; dmix keeps {kept:,} of {tokens:,}"
            )
            if kept >= tokens:
                return
            if not kept:
                raise InputError(
                    f"the quality filter dropped all {num_text(facts.generated, 'document')} by "
                    f"{model.name}; set "
                    "synthetic_quality: none in the setting file"
                )
            budget = math.ceil(facts.tokens * tokens / kept)

    def _written(self, model: Path, out: Path, *, budget: int) -> "BlockFacts":
        from dmix.etl.quality.settings import QualitySettings
        from dmix.etl.spark.tasks import run_tasks
        from dmix.etl.synthetic.bandwidth import copy_bandwidth
        from dmix.etl.synthetic.generation_settings import GenerationSettings
        from dmix.etl.synthetic.synthesize import local_processes, plan_synthesis, synthesize

        plan = plan_synthesis(
            str(model),
            out=out,
            # a document and its end fill at most a sample; fp32 wherever it is written
            settings=GenerationSettings(
                seed=self.settings.seed,
                max_tokens=self.settings.seq_len - 1,
                block_documents=_BLOCK_DOCUMENTS,
                precision="fp32",
            ),
            quality=QualitySettings(quality=self.settings.synthetic_quality),
            tokens=budget,
            processes=local_processes(self.master),
        )
        run = partial(run_tasks, self.executor)
        return synthesize(plan, run=run, progress=self.progress, bandwidth=copy_bandwidth).facts
