"""The units of the screening, and of the one confirmation of its two finalists."""

from collections.abc import Sequence
from dataclasses import replace

from dmix.mixing.trajectories.store import read_trajectories
from dmix.training.comparison.data.study_paths import FARM
from dmix.training.comparison.data.tiers import SCREENING_SEED
from dmix.training.comparison.runs.facts import Finalists
from dmix.training.comparison.runs.protocol import CommittedProtocol, Protocol
from dmix.training.comparison.runs.study import Study, make_unit, mean_utilities
from dmix.training.comparison.units.agents import AGENTS, agent_name, make_agent
from dmix.training.comparison.units.store import read_runs
from dmix.training.comparison.units.units import Unit
from dmix.warehouse_schema.errors import InputError

_BEST_OF = {"best-static": "static", "best-open-loop": "open_loop"}


def shown_name(controller: str) -> str:
    """A controller's name in tables: the set that it learnt from is always the same."""
    return controller.removesuffix(f":{FARM}")


def screening_units(study: Study) -> list[Unit]:
    """Every controller on the same few seeds.

    Raises:
        InputError: If the farm or the headroom study is not done.
    """
    if not (study.paths.warehouse.feedback(FARM) / "environment.yaml").is_file():
        raise InputError("agents learn from the farm, but the farm is not finished; run --stage farm first")
    return _paired_units(
        study,
        (*study.tier.controllers, *study.tier.beside),
        stage="screening",
        seeds=range(SCREENING_SEED, SCREENING_SEED + study.tier.screening_seeds),
    )


def screening_runs(study: Study) -> int:
    """Number of runs of the screening."""
    return _runs_of(study, (*study.tier.controllers, *study.tier.beside))


def _runs_of(study: Study, controllers: Sequence[str]) -> int:
    agents = sum(name in AGENTS for name in controllers)
    number = len(controllers) - agents + agents * study.tier.agent_seeds
    return number * study.tier.screening_seeds * len(study.bases)


def finalists(study: Study, *, agent: str) -> Finalists | None:
    """The agent and the best other controller of the screening; None before all of it is done.

    Raises:
        InputError: If the screening has no such agent.
    """
    names = [shown_name(name) for name in study.tier.controllers]
    if agent not in names:
        raise InputError(f"agent is {agent!r}, expected an agent of the screening: {', '.join(names)}")
    done = sum(
        row["stage"] == "screening" and row["status"] == "done" and row["controller"] in names
        for row in read_runs(study.paths)
    )
    if done < _runs_of(study, study.tier.controllers):
        return None
    found = mean_utilities(study, stage="screening", part="controller", kind="controller")
    rival = max((name for name in names if name != agent), key=lambda name: found[name])
    return Finalists(agent, rival)


def confirmation_units(study: Study, committed: CommittedProtocol) -> list[Unit]:
    """Runs of the two finalists on fresh seeds.

    Raises:
        InputError: If the protocol does not name this setting, or the screening is not done.
    """
    name, protocol = study.loaded.settings.name, committed.protocol
    assert isinstance(protocol, Protocol)
    if name not in protocol.settings:
        raise InputError(
            f"the protocol has the settings {', '.join(protocol.settings)}, but not {name!r}; choose "
            "one of these"
        )
    pair = finalists(study, agent=protocol.agent)
    if pair is None:
        raise InputError(
            "the screening chooses the finalists, but is not finished; run --stage screening first"
        )
    full_names = {shown_name(full): full for full in study.tier.controllers}
    units = _paired_units(
        study,
        [full_names[pair.agent], full_names[pair.rival]],
        stage="confirmation",
        seeds=range(protocol.first_seed, protocol.first_seed + protocol.seeds),
    )
    return [replace(unit, protocol_sha256=committed.sha256) for unit in units]


def _paired_units(study: Study, names: Sequence[str], *, stage: str, seeds: range) -> list[Unit]:
    """Runs of controllers, seed by seed, so that a queue that is cut off leaves pairs."""
    specs = {
        (name, agent_seed): _spec(study, name, agent_seed=agent_seed)
        for name in names
        for agent_seed in range(study.tier.agent_seeds if name in AGENTS else 1)
    }
    return [
        make_unit(
            study,
            stage=stage,
            part="controller",
            kind="controller",
            controller=shown_name(name),
            spec=spec,
            seed=seed,
            base=base,
            agent_seed=agent_seed,
            proxy_tokens=_proxy_tokens(study, name),
        )
        for seed in seeds
        for base in study.bases
        for (name, agent_seed), spec in specs.items()
    ]


def _spec(study: Study, name: str, *, agent_seed: int) -> str:
    """A controller as `make_controller` takes it.

    Raises:
        InputError: If it needs the headroom study, and that is not done.
    """
    if name in AGENTS:
        return f"agent:{agent_name(name, agent_seed)}"
    if name not in _BEST_OF:
        return name
    # judged on fresh seeds, which the choice of what to run again had not seen
    found = mean_utilities(study, stage="headroom", part="rerun", kind=_BEST_OF[name])
    if not found:
        raise InputError(f"{name} needs the headroom study; run --stage headroom first")
    return f"replay:{FARM}/{max(found, key=lambda trajectory: found[trajectory])}"


def make_agents(study: Study, units: Sequence[Unit]) -> None:
    """Trains the agents of units that are to be run; stored runs need none."""
    wanted = {unit.spec for unit in units}
    for kind in AGENTS:
        for seed in range(study.tier.agent_seeds):
            if f"agent:{agent_name(kind, seed)}" in wanted:
                make_agent(study.paths.warehouse, kind, seed=seed, tier=study.tier, progress=study.progress)


def _proxy_tokens(study: Study, name: str) -> int:
    """Tokens that were trained on to prepare a controller."""
    settings, tier = study.loaded.settings, study.tier
    kinds = [trajectory.kind for trajectory in read_trajectories(study.paths.warehouse, FARM)]
    reruns = tier.reruns * tier.rerun_seeds * len(study.bases)
    runs = {
        "best-static": tier.static + reruns,
        "best-open-loop": tier.open_loop + reruns,
        f"regmix:{FARM}": kinds.count("static"),
        **dict.fromkeys(AGENTS, len(kinds)),
    }
    others = len(kinds) if name.endswith(f":{FARM}") else 0
    return runs.get(name, others) * settings.run_samples * settings.seq_len
