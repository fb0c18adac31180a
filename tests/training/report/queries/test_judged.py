"""Runs that may be compared, as groups of seeds."""

from types import SimpleNamespace

from dmix.training.report.queries.judged import groups_of, largest_comparison, terms

ENVIRONMENT = {
    "objectives": [
        {"name": "news", "role": "general", "kind": "qa", "path": "a"},
        {"name": "math", "role": "target", "kind": "qa", "path": "b", "weight": 3.0},
    ],
    "scales": {"math": 0.5},
}


def run(
    run_id, controller="natural", *, seed=0, steps=4, status="done", news=(-3.0, -3.5), math=(-2.0, -1.0)
):
    return SimpleNamespace(
        run_id=run_id,
        dataset="d",
        kind="guided" if controller.startswith("agent") else "baseline",
        leads=controller.startswith("agent"),
        controller=controller,
        status=status,
        config={"steps": steps, "seed": seed, "environment": ENVIRONMENT},
        scores={"news": tuple(enumerate(news)), "math": tuple(enumerate(math))},
    )


def test_runs_that_differ_in_their_seed_are_one_group():
    [natural, agent] = groups_of([run("a"), run("b", "agent:x"), run("c", seed=1, math=(-2.0, -1.5))])
    assert (natural.controller, natural.guided) == ("natural", False) and agent.guided
    assert natural.changes == {"news": (-0.5, -0.5), "math": (1.0, 0.5)}
    # lambda 1/4 and 3/4: -0.5 / 1 / 4 + 1.0 / 0.5 * 3 / 4
    assert natural.utilities == (1.375, 0.625)
    assert natural.roles == {"news": "general", "math": "target"}
    assert natural.scales == {"news": 1.0, "math": 0.5}


def test_runs_under_way_without_scores_or_environment_are_in_no_group():
    blind = run("c")
    blind.config = {"steps": 4}
    assert groups_of([run("a", status="running"), run("b", news=(), math=()), blind]) == []


def test_a_missing_score_leaves_out_the_utility_and_keeps_the_change():
    [group] = groups_of([run("a", news=(float("nan"), -3.5))])
    assert group.utilities == () and group.changes == {"news": (), "math": (1.0,)}


def test_runs_of_other_sizes_cannot_be_compared():
    assert terms(run("a")) == terms(run("b", "agent:x", seed=3)) != terms(run("c", steps=5))


def test_the_largest_comparison_is_taken_and_of_equals_the_newest():
    long = [run("a", steps=8), run("b", "naive", steps=8)]
    short = [run("c", steps=2), run("d", "agent:x", steps=2)]
    assert [g.controller for g in largest_comparison([*long, short[0]])] == ["natural", "naive"]
    assert [g.controller for g in largest_comparison([*long, *short])] == ["natural", "agent:x"]
    assert largest_comparison([]) == []
