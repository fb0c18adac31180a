"""`dmix init`."""

from dataclasses import asdict
from pathlib import Path

import click

from dmix.cli.show.options import FiniteFloat, config_option, dry_run_option, json_option, settings_options
from dmix.cli.show.output import say, show_json, show_table
from dmix.etl.templates.settings import TextSettings
from dmix.warehouse_schema.files.sizes import size_text


@click.command()
@config_option
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Folder of text with sub-folders source* and target*.",
)
@click.option(
    "--model",
    metavar="PATH|HUB-ID",
    help="Checkpoint to train. Default: a small model from random weights.",
)
@click.option(
    "--hours",
    type=FiniteFloat(),
    default=1.0,
    show_default=True,
    help="Time limit in hours for one training run on this machine.",
)
@settings_options(TextSettings)
@json_option
@dry_run_option
def init(
    *,
    out: Path,
    data: Path,
    model: str | None,
    hours: float,
    settings: TextSettings,
    as_json: bool,
    dry_run: bool,
    config: str | None,
) -> None:
    """Write the files and commands of a first run on your own text into OUT.

    The command holds out evaluation items, checks the model, chooses sizes that fit the machine, and
    estimates the time of each step. It trains nothing: read OUT/run.sh, then start it.

    Example: dmix init --data my-text --hours 0.5 my-project
    """
    from dmix.cli.workflows.start.init import init_project
    from dmix.cli.workflows.start.project_files import not_read_lines, num_samples, time_of_run

    result = init_project(data, out, model=model, hours=hours, reading=settings, dry_run=dry_run)
    if as_json:
        shown = asdict(result)
        for text in shown["fields"].values():
            del text["rejects"]  # as many as there are; the file has them
        show_json({**shown, "folder": str(result.folder)})
        return
    for field, text in result.fields.items():
        say(
            f"{field}: {size_text(text.size_bytes)}, about {text.tokens:,} tokens; held out"
            f" {text.feedback} feedback and {text.judging} judging"
            f" items{' from the ends of documents' if text.copied else ''}"
        )
        if text.skipped:
            listed = ", ".join(f"{count:,} {what}" for what, count in text.skipped.items())
            say(f"{field}: files left out because of their names' endings: {listed}")
        for line in not_read_lines(text):
            say(f"{field}: {line}")
    if result.not_read:
        say(f"every record that was not read: {result.folder / result.not_read}")
    sizes = result.sizes
    say(
        f"a run: {sizes.steps} steps of {num_samples(sizes.samples_per_step)} of {sizes.seq_len} tokens,"
        f" {sizes.tokens:,} tokens{time_of_run(sizes)}"
    )
    if sizes.minutes is not None and sizes.minutes > 1.1 * 60 * hours:
        say(
            f"warning: this is more than --hours {hours:g}, and dmix found no smaller run. A model"
            " scores the items before the first step and after each one: 'limit: 10' beside each path in"
            " environment.yaml takes fewer items, --steps in run.sh fewer steps"
        )
    show_table(["file", "content"], list(result.files.items()))
    if dry_run:
        say(f"would write these files into {result.folder}")
    else:
        say(f"next: read {result.folder / 'run.sh'}, then start it")
