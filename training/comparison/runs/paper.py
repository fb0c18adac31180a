"""The paper's method on text, literally: the stage `paper` (arXiv 2507.15640, preset `paper`).

A set of its own: Algorithm 1 with the preset `paper`, as many paths for each K as the tier says, along
which proxies with random weights are trained and scored. Its K = 1 paths teach an agent by SFT, all of
them one by CQL that starts from it; both are run from the base model beside natural mixing, on the seeds
of the screening. Departs from the paper in size, and in that runs pass over their text more than once,
so that no path stops early.
"""

from dataclasses import replace

from dmix.mixing.trajectories.sampling import sample_trajectories
from dmix.mixing.trajectories.settings import SampleSettings
from dmix.mixing.trajectories.store import read_trajectories
from dmix.training.comparison.data.prepare import RUN_DATASET, farm_proxy, farm_settings
from dmix.training.comparison.data.settings import LoadedSetting
from dmix.training.comparison.data.study_paths import PAPER
from dmix.training.comparison.data.tiers import SCREENING_SEED, Tier
from dmix.training.comparison.runs.headroom import NATURAL, publish_farm, restore_units
from dmix.training.comparison.runs.study import Study, make_unit
from dmix.training.comparison.units.units import Unit
from dmix.training.farm.task import order_seed
from dmix.training.model.settings import ProxySettings
from dmix.warehouse_schema.files.manifests import read_dataset_manifest

SFT, RL = "paper-sft", "paper-rl"


def paper_settings(loaded: LoadedSetting, tier: Tier) -> SampleSettings:
    """How the paths are sampled."""
    return replace(farm_settings(loaded, tier), preset="paper", paths=tier.paper_paths, random_paths=0)


def paper_runs(study: Study) -> int:
    """Runs of the stage: proxies, then three controllers."""
    return study.tier.paper_paths * len(study.tier.top_k) + 3 * study.tier.screening_seeds


def paper_draws(study: Study) -> list[Unit]:
    """A proxy with random weights along every path; the paths are sampled first."""
    sample_trajectories(
        study.paths.warehouse,
        manifest=read_dataset_manifest(study.paths.warehouse, RUN_DATASET),
        set_name=PAPER,
        settings=paper_settings(study.loaded, study.tier),
        processes=1,
        progress=study.progress,
    )
    units = [
        make_unit(
            study,
            stage="paper",
            part="paper",
            kind="open_loop",
            controller=f"{PAPER}/{trajectory.trajectory_id}",
            spec=f"replay:{PAPER}/{trajectory.trajectory_id}",
            seed=order_seed(trajectory.trajectory_id, seed=study.loaded.settings.seed),
            base=0,
            trajectory=trajectory.trajectory_id,
        )
        for trajectory in read_trajectories(study.paths.warehouse, PAPER)
    ]
    restore_units(study, units, set_name=PAPER)
    return units


def paper_controllers(study: Study) -> list[Unit]:
    """Natural mixing and the two agents, seed by seed."""
    return [
        make_unit(
            study,
            stage="paper",
            part="controller",
            kind="controller",
            controller=name,
            spec=name if name == NATURAL else f"agent:{name}",
            seed=seed,
            base=0,
        )
        for seed in range(SCREENING_SEED, SCREENING_SEED + study.tier.screening_seeds)
        for name in (NATURAL, SFT, RL)
    ]


def make_paper_agents(study: Study, units: list[Unit]) -> None:
    """Trains the agents that units need: SFT on the K = 1 paths, then CQL from there."""
    warehouse, wanted = study.paths.warehouse, {unit.spec for unit in units}
    needs_rl = f"agent:{RL}" in wanted and not (warehouse.agent(RL) / "config.json").is_file()
    if not needs_rl and f"agent:{SFT}" not in wanted:
        return
    # Imported when needed: d3rlpy takes seconds, and most calls train no agent.
    from dmix.mixing.learning.rl import train_rl
    from dmix.mixing.learning.sft import train_sft

    publish_farm(study, set_name=PAPER, proxy=paper_proxy(study), base=None)
    if not (warehouse.agent(SFT) / "config.json").is_file():
        study.progress(f"training agent {SFT}")
        train_sft(warehouse, set_name=PAPER, agent_name=SFT, settings=study.tier.sft, progress=study.progress)
    if needs_rl:
        study.progress(f"training agent {RL}")
        train_rl(
            warehouse,
            set_name=PAPER,
            agent_name=RL,
            settings=replace(study.tier.rl, hidden_size=None, feedforward=None),
            start=SFT,
            progress=study.progress,
        )


def paper_proxy(study: Study) -> ProxySettings:
    """The proxy of the paths: random weights, the model and training of every run."""
    return replace(farm_proxy(study.loaded, study.tier), init="scratch", vary=0.0)
