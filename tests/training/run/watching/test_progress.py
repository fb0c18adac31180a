import dataclasses

from dmix.training.run.watching.progress import LineMonitor, StepReport, duration, quantity, step_line

REPORT = StepReport(
    step=3,
    steps=20,
    target_share=0.42,
    source_tokens=1_000_000,
    target_tokens=234_000,
    loss=3.2144,
    scores={"maths": -2.31},
    first_scores={"maths": -2.51},
    utility=0.52,
    seconds=12.2,
    seconds_left=200.0,
)


def test_a_line_tells_step_share_tokens_loss_scores_utility_and_time():
    assert step_line(REPORT) == (
        "step 3/20 · target 42% · 1.23M tokens · loss 3.214 · maths -2.310 (+0.200) · U +0.520"
        " · 12 s for the step · about 3 min left"
    )


def test_the_last_line_has_no_time_left_and_a_run_without_scores_no_utility():
    last = dataclasses.replace(REPORT, step=20, scores={}, first_scores={}, utility=None, seconds=0.5)
    assert step_line(last) == "step 20/20 · target 42% · 1.23M tokens · loss 3.214 · 0.5 s for the step"


def test_a_score_whose_first_one_failed_has_no_change():
    failed = dataclasses.replace(REPORT, first_scores={"maths": float("nan")})
    assert "maths -2.310 · U" in step_line(failed)


def test_line_monitor_says_a_line_a_step():
    lines = []
    LineMonitor(lines.append).step(REPORT)
    assert lines == [step_line(REPORT)]


def test_counts_have_the_unit_people_would_use():
    assert [quantity(n) for n in (0, 950, 12_345, 1_234_000, 5.6e9, 2e12)] == [
        "0",
        "950",
        "12.3K",
        "1.23M",
        "5.6B",
        "2T",
    ]


def test_durations_have_the_unit_people_would_use():
    assert [duration(s) for s in (0.04, 59.6, 100, 5000, 9000)] == [
        "0.0 s",
        "60 s",
        "2 min",
        "83 min",
        "2.5 h",
    ]
