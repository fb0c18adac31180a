"""Sizes of a run fit the hours and the text, and are the ones that `dmix train` finds sufficient."""

from dataclasses import replace

import pytest
from tests.cli.workflows.start.projects import SIZES, fields, text

from dmix.cli.workflows import timing
from dmix.cli.workflows.start.sizes import fitting_sizes, run_in_words, small_domains
from dmix.mixing.space.budget import smallest_share
from dmix.training.run.request import DEFAULT_STEPS


@pytest.fixture(autouse=True)
def idle(monkeypatch):
    monkeypatch.setattr(timing, "slowdown", lambda cores: 1.0)


def test_sizes_fit_the_hours_and_the_text(monkeypatch):
    monkeypatch.setattr("dmix.training.model.estimate.speed.training_speed", lambda operations, bf16: 1000.0)
    sizes = fitting_sizes(tokens=10**9, parameters=10**6, longest=None, hours=1.0)
    assert 0.9 * 3_600_000 < sizes.tokens <= 3_600_000
    assert sizes.samples_per_step % sizes.batch_size == 0 and not sizes.reads_all
    few = fitting_sizes(tokens=20_000, parameters=10**6, longest=None, hours=1.0)
    assert (few.steps, few.batch_size) == (DEFAULT_STEPS, 2)
    assert few.reads_all and few.tokens >= 20_000
    # 17 scorings of 12,000 tokens cost as much as training on 68,000
    items = [(100, 5_000.0), (100, 7_000.0)]
    scored = fitting_sizes(tokens=10**9, parameters=10**6, longest=None, hours=0.1, items=items)
    assert 0.85 * 292_000 < scored.tokens <= 292_000
    assert scored.minutes == pytest.approx((scored.tokens + 68_000) / 60_000) and scored.limit is None
    assert fitting_sizes(tokens=10**6, parameters=None, longest=None, hours=1.0).minutes is None
    assert fitting_sizes(tokens=10**6, parameters=10**6, longest=None, hours=1.0, asked_steps=40).steps == 40


@pytest.mark.parametrize(
    ("hours", "tokens", "steps", "limit"),
    [
        # an hour trains 36,000 tokens; an item of each objective costs 680 in 16 steps, 360 in 8 steps
        (1.0, 10**9, 8, 50),  # 30 items in 16 steps would cost 20,400, more than half
        (2.0, 10**9, 16, 52),
        (0.1, 10**9, 4, 10),  # the least
        (8.0, 10**9, 16, None),
        (8.0, 30_000, 16, 44),  # the text is passed once, which takes 50 minutes
        (8.0, 300, 4, 10),
    ],
)
def test_a_run_with_much_scoring_scores_fewer_items_then_has_fewer_steps(
    monkeypatch, hours, tokens, steps, limit
):
    monkeypatch.setattr("dmix.training.model.estimate.speed.training_speed", lambda operations, bf16: 10.0)
    items = [(100, 6_000.0), (100, 6_000.0)]
    sizes = fitting_sizes(tokens=tokens, parameters=10**8, longest=None, hours=hours, items=items)
    assert (sizes.steps, sizes.limit) == (steps, limit)
    if limit != 10:
        assert sizes.minutes <= 60 * hours and sizes.scoring_minutes <= 30 * hours


def test_a_fast_model_scores_all_items_of_a_short_text(monkeypatch):
    monkeypatch.setattr("dmix.training.model.estimate.speed.training_speed", lambda operations, bf16: 1e4)
    # 17 scorings of 12,000 tokens take 7 s, and a pass over the text 1 s
    items = [(100, 6_000.0), (100, 6_000.0)]
    sizes = fitting_sizes(tokens=10_000, parameters=10**6, longest=None, hours=1.0, items=items)
    assert (sizes.steps, sizes.limit) == (16, None)


def test_minutes_hold_training_and_scoring():
    assert SIZES.tokens == 4 * 16 * 128
    # five times 3000 tokens at three times the speed of training
    assert SIZES.scoring_minutes == pytest.approx(5 * 3000 / 3 / 1000 / 60)
    assert SIZES.minutes == pytest.approx(SIZES.tokens / 1000 / 60 + SIZES.scoring_minutes)
    assert SIZES.seconds == pytest.approx(10 + 60 * SIZES.minutes)
    assert "of which scoring takes 22%" in run_in_words(SIZES, fields())


def test_without_a_speed_no_time_is_told():
    unknown = replace(SIZES, tokens_per_second=None)
    assert (unknown.minutes, unknown.scoring_minutes, unknown.seconds) == (None, None, None)
    assert "time" not in run_in_words(unknown, fields())


def test_a_run_over_all_text_leaves_its_samples_to_dmix_train():
    whole = replace(SIZES, reads_all=True)
    assert (whole.flags, replace(whole, steps=DEFAULT_STEPS).flags) == (" --steps 4", "")
    assert "over all text" in run_in_words(whole, fields()) and small_domains(whole, fields()) == ""


def test_a_run_over_a_part_of_the_text_says_which_domains_are_too_small_by_the_rule_of_dmix_train():
    assert SIZES.flags == " --steps 4 --samples-per-step 16"
    # 8,192 tokens of 62,500
    of = fields(text(size_bytes=200_000), text(size_bytes=50_000))
    assert "(13% of the text)" in run_in_words(SIZES, of)
    assert smallest_share(SIZES.samples) * 250_000 == pytest.approx(3906.25)
    assert "less than about 3.9 kB of text" in small_domains(SIZES, of)
