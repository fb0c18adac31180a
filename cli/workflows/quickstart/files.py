"""The files that the quickstart writes: text, items, and what a user would write by hand."""

from dataclasses import dataclass, replace
from pathlib import Path

from dmix.cli.workflows.quickstart import sizes
from dmix.cli.workflows.start.held_out import COPY_LIMIT_BYTES, copy_text
from dmix.cli.workflows.start.project_files import (
    BASE_RATE,
    MODEL,
    RATE,
    environment_text,
    proxy_text,
    training_text,
)
from dmix.warehouse_schema.files.layout import publish_bytes
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text


@dataclass(frozen=True)
class Files:
    """Where the quickstart keeps what a user would write by hand."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def scaled(self) -> Path:
        return self.folder / "environment.yaml"

    @property
    def judging(self) -> Path:
        return self.data / "judging.yaml"

    @property
    def environment(self) -> Path:
        return self.data / "environment.yaml"

    def config(self, name: str) -> Path:
        return self.folder / f"{name}.yaml"


def write_files(files: Files, data: Path | None, *, progress: Progress) -> None:
    """The corpora, the items, and the files that the later stages read."""
    scratch = training_text(sizes.BATCH, BASE_RATE, why="a model from random weights")
    trained = training_text(sizes.BATCH, RATE, why="a small model that dmix trained on your source first")
    # proxies start from the base model, which has something to forget
    texts = {"model": MODEL, "proxy": proxy_text("base"), "training": trained, "base-training": scratch}
    for name, text in texts.items():
        publish_bytes(files.config(name), text.encode())
    if files.environment.is_file():
        progress(f"{files.data} has other text already; choose another --out")
    elif data is None:
        from dmix.etl.demo.corpus import write_demo_corpus, write_judging_items

        write_judging_items(files.data, seed=0)  # before the corpus, whose last file says that all is there
        write_demo_corpus(files.data, seed=0, documents=sizes.DEMO_DOCUMENTS)
    else:
        hold_out(files, data, progress=progress)
        # last, since it tells the next start that the text is whole
        publish_bytes(files.judging, environment_text("judging", "judging").encode())
        publish_bytes(files.environment, environment_text("feedback", "items").encode())


def hold_out(files: Files, data: Path, *, progress: Progress) -> None:
    """Copies own text and holds items out of it."""
    from dmix.etl.reading.holdout import field_folders

    for field, folders in field_folders(data).items():
        result = copy_text(folders, field=field, text=files.data, out=files.data, num_items=sizes.ITEMS)
        rejected = ", ".join(f"{reason} {count:,}" for reason, count in result.rejected.items())
        more = "dmix read only the first" if result.left_out else "all text is within"
        progress(
            f"{field}: {num_text(result.kept, 'document')} to train on; {result.items} feedback and"
            f" {num_text(result.judging, 'judging item')} held out;"
            f" {f'rejected: {rejected}' if rejected else 'none rejected'};"
            f" {more} {COPY_LIMIT_BYTES / 2**20:.0f} MB"
        )


def scaled_environment(files: Files) -> Path:
    """The environment file with a scale for each objective by its role, where it has none."""
    from dmix.mixing.trajectories.objectives import load_environment, write_environment

    environment = load_environment(files.environment)
    scales = {o.name: sizes.SCALES[o.role] for o in environment.objectives} | environment.scales
    write_environment(files.scaled, replace(environment, scales=scales))
    return files.scaled
