"""`dmix mix`: trajectories to learn from, and what proxies say about them."""

from collections.abc import Sequence
from typing import Any

import click

from dmix.cli.commands.mix_collect import collect
from dmix.cli.commands.mix_plan import plan
from dmix.cli.commands.mix_probe import probe
from dmix.cli.show.options import (
    config_option,
    dataset_option,
    dry_run_option,
    json_option,
    settings_options,
    warehouse_option,
)
from dmix.cli.show.output import say, show_json, show_table
from dmix.mixing.trajectories.settings import SampleSettings
from dmix.warehouse_schema.files.layout import Warehouse


@click.group()
def mix() -> None:
    """Measure which text helps what, plan mixtures, sample trajectories, collect proxy feedback."""


@mix.command()
@config_option
@warehouse_option
@dataset_option
@click.option("--set", "set_name", required=True, metavar="NAME", help="Name of the set of trajectories.")
@settings_options(SampleSettings)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    help="Processes to use, at most one for each K; one a core when left out.",
)
@json_option
@dry_run_option
def sample(
    *,
    warehouse: Warehouse,
    dataset: str | None,
    set_name: str,
    settings: SampleSettings,
    processes: int | None,
    as_json: bool,
    dry_run: bool,
    config: str | None,
) -> None:
    """Sample trajectories with Algorithm 1, from the start state towards the target.

    Every finished trajectory is a file: a killed run goes on where it stopped. Prints R, M, the
    coverage that natural mixing would reach, the active domains of each field and their
    effective number, and which target shares no trajectory shows.

    Example: dmix mix sample --set first --preset default --top-k 1 --paths 8 --candidates 2000
    """
    from dmix.mixing.trajectories.sampling import (
        expected_work,
        planned_set,
        read_trajectories,
        sample_trajectories,
    )
    from dmix.warehouse_schema.catalog.catalog import sync
    from dmix.warehouse_schema.files.manifests import read_dataset_manifest

    manifest = read_dataset_manifest(warehouse.require(), dataset)
    wanted = planned_set(manifest, set_name=set_name, settings=settings)
    report: dict[str, Any] = _budget(wanted)
    if dry_run:
        work = expected_work(warehouse, wanted=wanted, settings=settings)
        report |= {
            "trajectories": work.trajectories,
            "missing": work.missing,
            "candidate_steps_at_most": work.steps,
            "core_hours_at_most": work.seconds / 3600,
            "farm_tokens_at_most": work.trajectories * wanted.steps * wanted.step_samples * manifest.seq_len,
        }
    else:
        sample_trajectories(
            warehouse,
            manifest=manifest,
            set_name=set_name,
            settings=settings,
            processes=processes,
            progress=say,
        )
        trajectories = read_trajectories(warehouse, set_name)
        report |= {"trajectories": len(trajectories), "coverage": _coverage(wanted, trajectories)}
        sync(warehouse)
    if as_json:
        show_json(report)
    else:
        _show(report)


def _budget(wanted: Any) -> dict[str, Any]:
    """R, M, what they cover, and how much room the domain space has."""
    from dmix.mixing.space.budget import expected_coverage
    from dmix.mixing.trajectories.coverage import field_dimensions
    from dmix.warehouse_schema.taxonomy import FIELDS

    space = wanted.domain_space
    covered = expected_coverage(space, steps=wanted.steps, step_samples=wanted.run_step_samples)
    fields = zip(FIELDS, field_dimensions(space), strict=True)
    return {
        "set": wanted.set_name,
        "dataset": wanted.dataset,
        "preset": wanted.preset,
        "steps": wanted.steps,
        "samples_per_step": wanted.step_samples,
        "run_samples_per_step": wanted.run_step_samples,
        "target_supply": wanted.target_supply,
        "natural_target_coverage": covered.target,
        "fields": [
            {"field": name, "active_domains": found.active, "effective_domains": found.effective}
            for name, found in fields
        ],
    }


def _coverage(wanted: Any, trajectories: Sequence[Any]) -> dict[str, Any]:
    """The (target share x step) report as plain values."""
    from dmix.mixing.trajectories.coverage import SHARE_EDGES, coverage

    found = coverage(
        [trajectory.mixtures_TN for trajectory in trajectories],
        target_N=wanted.domain_space.target_N,
        steps=wanted.steps,
    )
    return {
        "share_edges": list(SHARE_EDGES),
        "trajectories_by_cell_and_step": found.counts_ZM.tolist(),
        "lowest_share": found.lowest_M.tolist(),
        "highest_share": found.highest_M.tolist(),
        "empty_cells": len(found.empty_cells),
    }


def _show(report: dict[str, Any]) -> None:
    say(
        f"R = {report['samples_per_step']:,} samples per step"
        f" (guided run: {report['run_samples_per_step']:,}), M = {report['steps']} steps;"
        f" |T|/(R*M) = {report['target_supply']:.3f};"
        f" natural mixing covers the target {report['natural_target_coverage']:.3f} times"
    )
    show_table(
        ["field", "active domains", "effective number"],
        [tuple(field.values()) for field in report["fields"]],
    )
    if "coverage" not in report:
        say(
            f"{report['missing']} of {report['trajectories']} trajectories to sample,"
            f" at most {report['candidate_steps_at_most']:,} steps of Algorithm 1"
            f" ({report['core_hours_at_most']:.3f} core hours); proxies on all of them would train on"
            f" at most {report['farm_tokens_at_most']:,} tokens"
        )
        return
    found = report["coverage"]
    edges = found["share_edges"]
    rows = [
        (f"{low:.2f} to {high:.2f}", min(counts), max(counts), _ranges(counts))
        for low, high, counts in zip(
            edges[:-1], edges[1:], found["trajectories_by_cell_and_step"], strict=True
        )
    ]
    show_table(["target share", "fewest", "most", "steps without data"], rows, title="Trajectories per step")
    say(
        f"{report['trajectories']} trajectories in set {report['set']};"
        f" {found['empty_cells']} (share, step) cells are empty"
    )


def _ranges(counts: Sequence[int]) -> str:
    """Steps, from 1, with a count of 0: `1, 12-16`."""
    runs: list[list[int]] = []
    for step, count in enumerate(counts, start=1):
        if count == 0:
            if runs and runs[-1][1] == step - 1:
                runs[-1][1] = step
            else:
                runs.append([step, step])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


mix.add_command(collect)
mix.add_command(probe)
mix.add_command(plan)
