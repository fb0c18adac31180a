"""Makes what the runs of a setting share: text, items, datasets, base models, trajectories.

Every part finds out by itself whether it is done, so a killed preparation goes on. Classifying and
sharding text is the work of `dmix.etl`, which this folder may not import: it comes in as
`DataTools`.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import yaml

from dmix.mixing.trajectories.sampling import sample_trajectories
from dmix.mixing.trajectories.settings import SampleSettings
from dmix.training.comparison.data.corpora import write_text
from dmix.training.comparison.data.settings import LoadedSetting, QualitySettings
from dmix.training.comparison.data.study_paths import FARM, Place
from dmix.training.comparison.data.text import CountTokens
from dmix.training.comparison.data.tiers import Tier
from dmix.training.model.settings import ProxySettings, TrainingSettings
from dmix.training.run.base import base_config, train_base
from dmix.training.run.config import RunConfig
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse, publish_bytes, publish_json, read_json
from dmix.warehouse_schema.files.manifests import DatasetManifest, read_dataset_manifest
from dmix.warehouse_schema.settings import settings_from
from dmix.warehouse_schema.taxonomy import FIELDS

BASE_DATASET, RUN_DATASET = "base", "run"

Progress = Callable[[str], None]


class BuildDataset(Protocol):
    """Classifies and shards text into a dataset of a given name."""

    def __call__(
        self, warehouse: Warehouse, *, name: str, inputs: Mapping[str, Path], settings: QualitySettings
    ) -> None: ...


class BuildSyntheticDataset(Protocol):
    """Lets a model write source text, and makes a dataset of that and the target's text.

    `real` holds folders of real text by field, which tell what the domains are; `written` is the folder
    of what the model writes, at least `tokens` after low quality was dropped.
    """

    def __call__(
        self,
        warehouse: Warehouse,
        *,
        name: str,
        model: Path,
        real: Mapping[str, Path],
        written: Path,
        tokens: int,
        settings: QualitySettings,
    ) -> None: ...


@dataclass(frozen=True)
class DataTools:
    """What `dmix.etl` does for a preparation.

    Attributes:
        count_tokens: Tokens of texts under the setting's tokenizer.
        build_dataset: Makes a dataset from folders of text by field.
        build_synthetic_dataset: Makes one whose source text a model writes.
        close: Ends what the others started, once everything is prepared.
    """

    count_tokens: CountTokens
    build_dataset: BuildDataset
    build_synthetic_dataset: BuildSyntheticDataset
    close: Callable[[], None] = lambda: None


def prepare(
    place: Place, loaded: LoadedSetting, tier: Tier, *, data: Path, tools: DataTools, progress: Progress
) -> None:
    """Makes everything that is missing.

    Raises:
        InputError: If the work folder was prepared for another setting, or text or items are too few.
        NotFoundError: If text or items do not exist.
    """
    check_same_setting(place, loaded)
    settings, warehouse = loaded.settings, place.warehouse
    if not place.text_record.is_file():
        write_text(place, loaded, data=data, count_tokens=tools.count_tokens, progress=progress)
    if not _has_dataset(warehouse, BASE_DATASET):
        inputs = {"source": place.text(BASE_DATASET, "source")}
        tools.build_dataset(warehouse, name=BASE_DATASET, inputs=inputs, settings=settings)
    for base in range(settings.bases):
        _make_base(place, loaded, base, progress=progress)
    if not _has_dataset(warehouse, RUN_DATASET):
        _make_run_dataset(place, settings, tools)
    sample_trajectories(
        warehouse,
        manifest=read_dataset_manifest(warehouse, RUN_DATASET),
        set_name=FARM,
        settings=farm_settings(loaded, tier),
        processes=1,
        progress=progress,
    )


def check_same_setting(place: Place, loaded: LoadedSetting) -> None:
    """Raises `InputError` if the folder holds text of another setting."""
    if place.text_record.is_file() and read_json(place.text_record)["setting"] != loaded.digest:
        raise InputError(
            f"{place.work} was made for another content of setting {loaded.settings.name!r}; choose another"
            " --work, or undo the change of the setting"
        )


def farm_settings(loaded: LoadedSetting, tier: Tier) -> SampleSettings:
    """How trajectories are sampled: for runs that repeat data and make all M steps."""
    settings = loaded.settings
    return SampleSettings(
        preset="default",
        paths=tier.inductive_paths,
        random_paths=tier.random_paths,
        candidates=tier.candidates,
        top_k=tier.top_k,
        steps=settings.steps,
        samples_per_step=settings.samples_per_step,
        run_samples_per_step=settings.samples_per_step,
        max_passes=settings.max_passes if settings.exhaustion == "repeat" else 1,
        batch_size=run_training(loaded).batch_size,
        seed=settings.seed,
    )


def run_training(loaded: LoadedSetting) -> TrainingSettings:
    """Training settings of every run, but for its seed."""
    return settings_from(TrainingSettings, loaded.training, where=loaded.settings.training)


def farm_proxy(loaded: LoadedSetting, tier: Tier) -> ProxySettings:
    """The proxy of the farm: the model and training of every run."""
    return ProxySettings(
        architecture=loaded.model["architecture"],
        config=loaded.model.get("config", {}),
        seed=loaded.settings.seed,
        init="base",
        training=run_training(loaded),
        vary=tier.varied,
    )


def base_name(base: int) -> str:
    """Name of a base model in the warehouse."""
    return f"base-{base}"


def _has_dataset(warehouse: Warehouse, name: str) -> bool:
    try:
        read_dataset_manifest(warehouse, name)
    except NotFoundError:
        return False
    return True


def _make_run_dataset(place: Place, settings: QualitySettings, tools: DataTools) -> None:
    """The dataset of the runs; its source text is that of the files, or what base model 0 writes."""
    text = {field: place.text(RUN_DATASET, field) for field in FIELDS}
    if not settings.synthetic_source:
        tools.build_dataset(place.warehouse, name=RUN_DATASET, inputs=text, settings=settings)
        return
    tools.build_synthetic_dataset(
        place.warehouse,
        name=RUN_DATASET,
        model=place.warehouse.model(base_name(0)),
        real={**text, "source": place.text(BASE_DATASET, "source")},
        written=text["source"],
        tokens=round(settings.source_supply * settings.run_samples * settings.seq_len),
        settings=settings,
    )


def _make_base(place: Place, loaded: LoadedSetting, base: int, *, progress: Progress) -> None:
    """Trains a base model, or takes one that is kept with results, made from the same text."""
    warehouse, name = place.warehouse, base_name(base)
    manifest = read_dataset_manifest(warehouse, BASE_DATASET)
    kept, made = _kept_base(place, loaded, name, dataset=manifest.dataset), warehouse.model(name)
    if made.is_dir():
        pass
    elif kept is not None:
        progress(f"base model {name}: taken from {kept}")
        copy_folder(kept, made)
    else:
        train_base(warehouse, _base_config(place, loaded, base, manifest), progress=progress)
    if kept is None and not place.kept_base(name).is_dir():
        publish_json(made / "quality.json", {"setting": loaded.digest, "dataset": manifest.dataset})
        copy_folder(made, place.kept_base(name))


def _kept_base(place: Place, loaded: LoadedSetting, name: str, *, dataset: str) -> Path | None:
    """Folder of a finished base model of the same recipe and text, of this setting or of `base_of`."""
    donors = {place.kept_base(name): loaded}
    # another round of the comparison, beside this one, may have kept it
    rounds = sorted(place.results.parent.parent.glob(f"*/{place.results.name}/bases/{name}"))
    donors |= dict.fromkeys(rounds, loaded)
    if loaded.base_of is not None and loaded.base_of.base_recipe == loaded.base_recipe:
        donors[place.beside(loaded.base_of.settings.name).kept_base(name)] = loaded.base_of
    for folder, donor in donors.items():
        made_from = {"setting": donor.digest, "dataset": dataset}
        if folder.is_dir() and read_json(folder / "quality.json") == made_from:
            return folder
    return None


def _base_config(place: Place, loaded: LoadedSetting, base: int, manifest: DatasetManifest) -> RunConfig:
    model_file = place.work / f"model-{base}.yaml"
    publish_bytes(model_file, yaml.safe_dump({**loaded.model, "seed": base}).encode())
    training = settings_from(TrainingSettings, loaded.base_training, where=loaded.settings.base_training)
    return base_config(
        place.warehouse,
        model=str(model_file),
        tokens=loaded.settings.base_tokens,
        name=base_name(base),
        training=replace(training, seed=base),
        dataset=manifest.dataset,
    )


def copy_folder(source: Path, target: Path) -> None:
    """Copies a folder; readers see the copy whole or not at all."""
    temporary = target.with_name(f".{target.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, temporary)
    temporary.rename(target)
