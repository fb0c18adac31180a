"""Trajectories that agents learn from: `dmix mix sample`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dmix.cli.show.result import Result
from dmix.cli.workflows.timing import estimate
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text

if TYPE_CHECKING:
    from dmix.mixing.trajectories.settings import SampleSettings


def sample_set(
    warehouse: Warehouse,
    *,
    set_name: str,
    dataset: str | None = None,
    settings: "SampleSettings",
    processes: int | None = None,
    dry_run: bool = False,
    progress: Progress,
) -> Result:
    """Samples trajectories with Algorithm 1.

    Args:
        warehouse: Where the dataset is and the set goes.
        set_name: Name of the set.
        dataset: Id or name; may be left out when there is one.
        settings: Preset, sizes, seed.
        processes: Processes to use; one a core when left out.
        dry_run: Say what it would take, and sample nothing.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If there is no such dataset.
        InputError: If a set of that name has other settings.
    """
    from dmix.mixing.trajectories.sampling import (
        expected_work,
        planned_set,
        read_trajectories,
        sample_trajectories,
    )
    from dmix.warehouse_schema.catalog.sync import sync_at_end
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
        }
        report |= _farm_work(work.trajectories * wanted.steps * wanted.step_samples * manifest.seq_len)
    else:
        sample_trajectories(
            warehouse,
            manifest=manifest,
            set_name=set_name,
            settings=settings,
            processes=processes,
            progress=progress,
        )
        trajectories = read_trajectories(warehouse, set_name)
        report |= {"trajectories": len(trajectories), "coverage": _coverage(wanted, trajectories)}
        report |= _farm_work(len(trajectories) * wanted.steps * wanted.step_samples * manifest.seq_len)
        sync_at_end(warehouse, warn=progress)
    return _sample_result(report)


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


# Weights of a proxy whose time is told before there is one: the model that `dmix init` describes.
_PROXY_WEIGHTS = 890_000


def _farm_work(tokens: int) -> dict[str, Any]:
    """Tokens and core hours of small proxies on all trajectories, from one matrix product of this machine."""
    from dmix.training.model.estimate.shapes import OPERATIONS
    from dmix.training.model.estimate.speed import training_speed

    hours = tokens / training_speed(OPERATIONS * _PROXY_WEIGHTS) / 3600
    return {"farm_tokens_at_most": tokens, "farm_hours_of_a_small_proxy": hours}


def _farm_words(report: dict[str, Any]) -> str:
    return (
        f"proxies on all trajectories would train on at most "
        f"{num_text(report['farm_tokens_at_most'], 'token')}. Time on this machine for "
        f"proxies of {_PROXY_WEIGHTS / 1e6:.1f} million weights: "
        f"{estimate(3600 * report['farm_hours_of_a_small_proxy'])}. For your proxy, run "
        "'dmix mix collect --dry-run'"
    )


def _sample_result(report: dict[str, Any]) -> Result:
    result = Result(report)
    steps = num_text(report["steps"], "step")
    result.line(
        f"proxies (small models): {steps} of {num_text(report['samples_per_step'], 'sample')} each. The run "
        f"that the agent will control: {steps} of {num_text(report['run_samples_per_step'], 'sample')} each"
    )
    result.line(
        f"that run reads the whole target text if its share is {report['target_supply']:.1%} on average"
        if report["target_supply"] < 1
        else f"that run reads at most {1 / report['target_supply']:.1%} of the target text"
    )
    result.line(
        f"under natural mixing, the run reads the target text {report['natural_target_coverage']:.2f} times"
    )
    result.table(
        ["field", "domains with samples", "effective number"],
        [tuple(field.values()) for field in report["fields"]],
    )
    if "coverage" not in report:
        result.line(
            f"{report['missing']} of {num_text(report['trajectories'], 'trajectory')} are missing. "
            "Algorithm 1 "
            f"needs at most {num_text(report['candidate_steps_at_most'], 'step')} for these "
            f"(time on one core: {estimate(3600 * report['core_hours_at_most'], cores=1)})"
        )
        result.line(_farm_words(report))
        return result
    found = report["coverage"]
    edges = found["share_edges"]
    rows = [
        (f"{low:.2f} to {high:.2f}", min(counts), max(counts), _ranges(counts))
        for low, high, counts in zip(
            edges[:-1], edges[1:], found["trajectories_by_cell_and_step"], strict=True
        )
    ]
    result.table(
        ["target share", "fewest", "most", "steps without data"], rows, title="Trajectories per step"
    )
    result.line(
        f"set {report['set']} has {num_text(report['trajectories'], 'trajectory')}. "
        f"{_gaps(found['empty_cells'], of=len(rows) * len(found['trajectories_by_cell_and_step'][0]))}"
    )
    result.line(_farm_words(report))
    return result


def _gaps(empty: int, *, of: int) -> str:
    """What the empty places of the table of coverage mean for an agent, and how to fill them."""
    if not empty:
        return "At every step, each range of target shares has a trajectory"
    return (
        f"Of {of:,} pairs of a step and a range of target shares, {empty:,} have no trajectory: an agent "
        "learns nothing about these. For more trajectories, raise --paths or --random-paths"
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
