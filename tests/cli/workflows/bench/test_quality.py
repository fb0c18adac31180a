"""What a comparison refuses, and which stages it runs in which order."""

from types import SimpleNamespace

import pytest

from dmix.cli.workflows.bench import quality
from dmix.cli.workflows.bench.quality import compare_controllers
from dmix.training.comparison.data import settings
from dmix.training.comparison.pages import page
from dmix.training.comparison.runs import comparison
from dmix.training.comparison.runs.comparison import StageReport
from dmix.warehouse_schema.errors import InputError

REPORT = StageReport(stage="farm", planned=4, done=1, failed=0, tokens_left=30, core_hours_left=3.0)


@pytest.fixture
def asked(monkeypatch):
    """Requests of comparisons that run nothing."""
    requests = []
    loaded = SimpleNamespace(settings=SimpleNamespace(name="origin"))
    monkeypatch.setattr(settings, "load_setting", lambda name: loaded)
    monkeypatch.setattr(comparison, "study_of", lambda loaded, request, progress: requests.append(request))
    monkeypatch.setattr(comparison, "reports", lambda study: [REPORT])
    monkeypatch.setattr(
        comparison, "run_comparison", lambda loaded, request, **_: requests.append(request) or [REPORT]
    )
    monkeypatch.setattr(page, "write_page", lambda *_: requests.append("page"))
    return requests


@pytest.mark.parametrize(
    ("stages", "order"),
    [((), ["headroom", "farm", "screening"]), (("confirmation", "yardstick"), ["yardstick", "confirmation"])],
)
def test_stages_run_in_their_order(asked, tmp_path, stages, order):
    result = compare_controllers(data=tmp_path, setting_names=["s"], stages=stages, workers=2, progress=str)
    assert asked[0].stages == order and asked[0].until is None and asked[-1] == "page"
    (row,) = result.df().to_dict("records")
    assert (row["setting"], row["stage"], row["hours left on 2"]) == ("origin", "farm", 1.5)


def test_a_dry_run_writes_no_page_and_hours_are_a_limit(asked, tmp_path):
    compare_controllers(data=tmp_path, setting_names=["s"], hours=1.0, dry_run=True, progress=str)
    assert "page" not in asked and asked[0].until > 0


def test_unknown_stages_and_missing_data_are_refused(tmp_path):
    with pytest.raises(InputError, match="stage is 'farming', expected one of yardstick"):
        compare_controllers(data=tmp_path, stages=["farming"], progress=str)
    with pytest.raises(InputError, match=r"--data .* is not a folder"):
        compare_controllers(data=tmp_path / "none", progress=str)


@pytest.mark.parametrize(
    ("stages", "made"),
    [
        (["farm"], []),
        (["effects"], ["effects"]),
        (["worlds", "effects"], ["effects", "world"]),
        (["rungs"], ["world"]),
        (["rivals"], ["counts"]),
    ],
)
def test_effects_are_measured_where_a_stage_needs_them(monkeypatch, stages, made):
    calls = []
    data, effects = "dmix.cli.workflows.data.comparison", "dmix.cli.workflows.effects.comparison"
    monkeypatch.setattr(f"{data}.prepare_comparison", lambda *_, **__: calls.append("prepare"))
    monkeypatch.setattr(f"{data}.stop_spark", lambda: calls.append("stop"))
    monkeypatch.setattr(f"{effects}.measure_effects", lambda study: calls.append("effects"))
    monkeypatch.setattr(f"{effects}.measure_world", lambda study: calls.append("world"))
    monkeypatch.setattr(f"{effects}.count_domains", lambda study: calls.append("counts"))
    third = SimpleNamespace(loaded=SimpleNamespace(settings=SimpleNamespace(protocol=3)))
    quality._prepare(third, stages=stages, master=None)
    assert calls == ["prepare", *made, "stop"]
