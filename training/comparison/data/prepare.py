"""What the runs of a setting share, beside its datasets: base models, trajectories, their settings.

Every part finds out by itself whether it is done, so a killed preparation resumes. The datasets are
made by `dmix.etl`, which this folder may not import: `dmix.cli.workflows.data.comparison` prepares a
setting out of both.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import yaml

from dmix.mixing.trajectories.sampling import sample_trajectories
from dmix.mixing.trajectories.settings import SampleSettings
from dmix.training.comparison.data.corpora import base_text
from dmix.training.comparison.data.settings import LoadedSetting
from dmix.training.comparison.data.study_paths import FARM, StudyPaths
from dmix.training.comparison.data.tiers import Tier
from dmix.training.model.settings import ProxySettings, TrainingSettings
from dmix.training.run.base_model import base_config, train_base
from dmix.training.run.config import RunConfig
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import publish_bytes, publish_json, read_json, write_errors
from dmix.warehouse_schema.files.manifest_json import digest_of
from dmix.warehouse_schema.files.manifests import DatasetManifest, read_dataset_manifest
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.settings import settings_from

RUN_DATASET = "run"


def check_same_setting(paths: StudyPaths, loaded: LoadedSetting) -> None:
    """Raises `InputError` if the folder holds text of another setting."""
    if paths.text_record.is_file() and read_json(paths.text_record)["setting"] != loaded.digest:
        raise InputError(
            f"setting {loaded.settings.name!r} has changed since dmix made {paths.work}; choose another "
            "--work, or undo the change"
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


def sample_farm(paths: StudyPaths, loaded: LoadedSetting, tier: Tier, *, progress: Progress) -> None:
    """Samples the trajectories that controllers learn from."""
    sample_trajectories(
        paths.warehouse,
        manifest=read_dataset_manifest(paths.warehouse, RUN_DATASET),
        set_name=FARM,
        settings=farm_settings(loaded, tier),
        processes=1,
        progress=progress,
    )


def base_name(base: int) -> str:
    """Name of a base model in the warehouse."""
    return f"base-{base}"


def make_base(paths: StudyPaths, loaded: LoadedSetting, base: int, *, progress: Progress) -> None:
    """Trains a base model, or takes one that is kept with results, made from the same text."""
    warehouse, name = paths.warehouse, base_name(base)
    manifest = read_dataset_manifest(warehouse, base_text(loaded.settings, base))
    text = text_digest(manifest)
    kept, made = _kept_base(paths, loaded, name, text=text), warehouse.model(name)
    if made.is_dir():
        pass
    elif kept is not None:
        progress(f"base model {name}: copied from {kept}")
        copy_folder(kept, made)
    else:
        train_base(warehouse, _base_config(paths, loaded, base, manifest), progress=progress)
    if kept is None:
        # a base model that other text made may be there: what runs start from takes its place
        publish_json(made / "quality.json", {"setting": loaded.digest, "text": text})
        shutil.rmtree(paths.kept_base(name), ignore_errors=True)
        copy_folder(made, paths.kept_base(name))


def text_digest(manifest: DatasetManifest) -> str:
    """Hash of a dataset's tokens: the same for the same tokens, whatever format versions its id counts."""
    return digest_of([file.sha256 for stream in manifest.streams for file in stream.files])


def _kept_base(paths: StudyPaths, loaded: LoadedSetting, name: str, *, text: str) -> Path | None:
    """Folder of a finished base model of the same recipe and text, of this setting or of `base_of`.

    Base models of the first two rounds do not say their tokens; their recipe identifies them.
    """
    donors = {paths.kept_base(name): loaded}
    # another round of the comparison, beside this one, may have kept it
    rounds = sorted(paths.results.parent.parent.glob(f"*/{paths.results.name}/bases/{name}"))
    donors |= dict.fromkeys(rounds, loaded)
    if loaded.base_of is not None and loaded.base_of.base_recipe == loaded.base_recipe:
        donors[paths.beside(loaded.base_of.settings.name).kept_base(name)] = loaded.base_of
    for folder, donor in donors.items():
        if not folder.is_dir():
            continue
        made_from = read_json(folder / "quality.json")
        if made_from["setting"] == donor.digest and made_from.get("text", text) == text:
            return folder
    return None


def _base_config(paths: StudyPaths, loaded: LoadedSetting, base: int, manifest: DatasetManifest) -> RunConfig:
    model_file = paths.work / f"model-{base}.yaml"
    publish_bytes(model_file, yaml.safe_dump({**loaded.model, "seed": base}).encode())
    training = settings_from(TrainingSettings, loaded.base_training, where=loaded.settings.base_training)
    return base_config(
        paths.warehouse,
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
    try:
        with write_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, temporary)
            temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
