"""What `dmix bench quality` asks of `dmix.etl`: tokens counted, text classified and sharded."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dmix.warehouse_schema.layout import Warehouse

if TYPE_CHECKING:
    from dmix.training.quality.prepare import DataTools
    from dmix.training.quality.settings import QualitySettings


def data_tools(*, tokenizer: str, master: str, progress: Callable[[str], None]) -> "DataTools":
    """The tools of a preparation; Spark starts when the first dataset is made."""
    from dmix.etl.tokens import load_tokenizer
    from dmix.training.quality.prepare import DataTools

    loaded = load_tokenizer(tokenizer)

    def count_tokens(texts: Sequence[str]) -> Sequence[int]:
        return [int(length) for length in loaded.encode(texts)[1]]

    def build_dataset(
        warehouse: Warehouse, *, name: str, inputs: Mapping[str, Path], settings: "QualitySettings"
    ) -> None:
        from dmix.etl.classify import classify_corpora, field_requests
        from dmix.etl.classify_settings import ClassifySettings
        from dmix.etl.session import spark_session
        from dmix.etl.shard import shard_dataset
        from dmix.etl.shard_settings import ShardSettings

        spark = spark_session(master=master, app="dmix bench quality")
        classify = ClassifySettings(classifier=settings.classifier, taxonomy=settings.taxonomy)
        folders = {field: [str(folder)] for field, folder in inputs.items()}
        requests = field_requests(warehouse, folders, name=name, add=False, settings=classify)
        outcomes = classify_corpora(spark, warehouse, requests, settings=classify, progress=progress)
        shard = ShardSettings(
            tokenizer=settings.tokenizer, seq_len=settings.seq_len, seed=settings.seed, name=name
        )
        versions = [outcome.version for outcome in outcomes]
        shard_dataset(spark, warehouse, corpora=versions, settings=shard, progress=progress)

    return DataTools(count_tokens, build_dataset)
