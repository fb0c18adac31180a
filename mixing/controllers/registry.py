"""Controllers by the names that users give; `make_controller` makes one.

To add a kind, write a module of this folder with a function `make(argument, *, warehouse, space)`, and a
row in `KINDS`. `make` neither fits nor writes. A kind that needs a fit has a function `plan`, with the same
arguments, that gives a `PlannedFit`; `prepare_controller` fits and keeps it, `make` reads it.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from dmix.mixing.agent.folders import agent_facts, check_labels
from dmix.mixing.controllers.interface import Controller
from dmix.mixing.regression.fits import PlannedFit
from dmix.mixing.space.domains import DomainSpace
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse


@dataclass(frozen=True)
class Kind:
    """One kind of controller.

    Attributes:
        spec: How users write it: `KIND`, `KIND:ARGUMENT`, or `KIND[:ARGUMENT]` if it may be left out.
        what: What it does, in a few words.
        module: The module of this folder that makes it.
        make: The function there.
    """

    spec: str
    what: str
    module: str
    make: str = "make"

    @property
    def name(self) -> str:
        """The part before the colon."""
        return self.spec.partition(":")[0].removesuffix("[")

    @property
    def of_set(self) -> bool:
        """Whether its argument begins with the name of a set of trajectories."""
        return ":SET" in self.spec

    @property
    def of_effects(self) -> bool:
        """Whether its argument is the name of effects; the newest ones that fit where it is left out."""
        return "[:NAME]" in self.spec

    def takes(self, argument: str | None) -> bool:
        """Whether it can be made with this argument (None: none was given)."""
        if argument is None:
            return ":" not in self.spec or "[" in self.spec
        return ":" in self.spec and argument != ""


KINDS = (
    Kind("natural", "each domain's share of all samples", "fixed", "natural"),
    Kind("naive", "only the target field", "fixed", "naive"),
    Kind("stratified", "the same share for each active domain", "fixed", "stratified"),
    Kind("static:FILE", "the constant mixture of a YAML file", "fixed", "static"),
    Kind("plan[:NAME]", "the constant mixture with the largest predicted gain, from effects", "plan"),
    Kind("source-share:SHARE", "a fixed share of source replay", "fixed", "source_share"),
    Kind("linear:FROM-TO", "target share that changes on a straight line over the steps", "fixed", "linear"),
    Kind("cosine:FROM-TO", "target share that changes along half a cosine over the steps", "fixed", "cosine"),
    Kind(
        "three-stage[:FROM-TO]",
        "mostly source, then a transition, then mostly target",
        "fixed",
        "three_stage",
    ),
    Kind("odm", "Online Data Mixing: a bandit that prefers domains with high training loss", "odm"),
    Kind("ado", "Adaptive Data Optimization: fits a scaling law to each domain during the run", "ado"),
    Kind("aioli", "Aioli: fits a linear model of how each domain lowers the losses of others", "aioli"),
    Kind(
        "sheared[:FILE]", "Sheared LLaMA: more of each domain with a loss above its reference loss", "sheared"
    ),
    Kind("agent:NAME", "a trained agent, by name or folder", "agent"),
    Kind("effect[:NAME]", "starts from a plan by effects and corrects it by the scores of the run", "effect"),
    Kind("untrained[:SEED]", "an agent with random weights", "untrained"),
    Kind("replay:SET/TRAJECTORY", "the mixtures of one trajectory", "replay"),
    Kind("best-of:SET", "the mixtures of the trajectory with the highest utility", "best_of"),
    Kind("regmix:SET", "the best constant mixture, by a regression on the constant runs of a set", "regmix"),
    Kind(
        "regmix-kl:SET",
        "like regmix for each objective, but within a cross-validated distance from natural mixing",
        "regmix_kl",
    ),
    Kind("mixmin[:NAME]", "MixMin: the mixture of domain models that predicts the items best", "mixmin"),
    Kind(
        "skill-it[:NAME]",
        "Skill-It: more of the domains that help the objectives with the highest losses",
        "skill_it",
    ),
    Kind("regmix-d:SET", "the best mixture of each step, by a regression on the steps of a set", "regmix_d"),
    Kind("schedule:SET", "the best schedule of mixtures, by learned simulators of a set", "schedule"),
    Kind(
        "decision-transformer:SET[:QUANTILE]",
        "Decision Transformer: imitates the runs of a set that reach a high utility",
        "decision_transformer",
    ),
    Kind("python:MODULE:CLASS", "your own class, from a module or a .py file", "custom"),
)

CONTROLLERS = {kind.spec: kind.what for kind in KINDS}


def make_controller(spec: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """The controller that a user names; only reads.

    Args:
        spec: One of `CONTROLLERS`.
        warehouse: Where agents and trajectories are looked for.
        space: The domain space of the run; files, agents and trajectories must fit it.

    Raises:
        InputError: If there is no such controller, or what it names does not fit the space.
        NotFoundError: If a file, an agent or a trajectory does not exist, or the fit that the
            controller needs is not prepared.
    """
    make: Callable[..., Controller] = getattr(_module(spec), kind_of(spec).make)
    return make(spec.partition(":")[2], warehouse=warehouse, space=space)


def prepare_controller(
    spec: str, *, warehouse: Warehouse, space: DomainSpace, progress: Callable[[str], None]
) -> None:
    """Fits what a controller needs and keeps it in the warehouse; does nothing where that is done.

    One process calls it, before any calls `make_controller`; the arguments and errors are the same.
    """
    fit = _planned_fit(spec, warehouse=warehouse, space=space)
    if fit is not None:
        fit.prepare(progress=progress)


def check_controller(spec: str, *, warehouse: Warehouse, space: DomainSpace) -> None:
    """Raises what `prepare_controller` and `make_controller` would refuse; neither fits nor writes."""
    if kind_of(spec).name == "agent":
        _check_agent(spec.partition(":")[2], warehouse=warehouse, space=space)
    elif _planned_fit(spec, warehouse=warehouse, space=space) is None:
        make_controller(spec, warehouse=warehouse, space=space)


def _check_agent(name_or_path: str, *, warehouse: Warehouse, space: DomainSpace) -> None:
    """What `AgentController.load` refuses, by the agent's files alone, since its weights need torch."""
    from dmix.mixing.effects.store import fitting_effects

    facts = agent_facts(warehouse, name_or_path)
    if facts.fixed_space:
        check_labels(facts.labels, wanted=space.labels, agent=name_or_path)
    if facts.effects:
        fitting_effects(warehouse, space)


def _planned_fit(spec: str, *, warehouse: Warehouse, space: DomainSpace) -> PlannedFit | None:
    """The fit that a controller needs; None for those that need none."""
    plan: Callable[..., PlannedFit] | None = getattr(_module(spec), "plan", None)
    return None if plan is None else plan(spec.partition(":")[2], warehouse=warehouse, space=space)


def _module(spec: str) -> Any:
    """The module of the kind that a user names, imported when asked for: agents need torch."""
    return import_module(f"dmix.mixing.controllers.{kind_of(spec).module}")


def kind_of(spec: str) -> Kind:
    """The kind of controller that a user names; whether what it names is there is not asked.

    Raises:
        InputError: If there is no such controller.
    """
    name, colon, given = spec.partition(":")
    argument = given if colon else None
    for kind in KINDS:
        if kind.name == name and kind.takes(argument):
            return kind
    near = difflib.get_close_matches(name, [kind.name for kind in KINDS], n=1)
    hint = f"; did you mean {next(k.spec for k in KINDS if k.name == near[0])!r}?" if near else ""
    raise InputError(f"controller {spec!r} is not one of {', '.join(CONTROLLERS)}{hint}")
