from dmix.training.progress import StepReport, duration, step_line


def test_a_line_tells_step_share_loss_utility_and_time():
    report = StepReport(
        step=3, steps=20, target_share=0.42, loss=3.2144, utility=0.52, seconds=12.2, seconds_left=200.0
    )
    assert step_line(report) == "step 3/20 · target 42% · loss 3.214 · U +0.520 · 12 s · about 3 min left"


def test_the_last_line_has_no_time_left_and_a_run_without_scores_no_utility():
    report = StepReport(
        step=2, steps=2, target_share=0.0, loss=1.0, utility=None, seconds=0.5, seconds_left=0.0
    )
    assert step_line(report) == "step 2/2 · target 0% · loss 1.000 · 0.5 s"


def test_durations_have_the_unit_people_would_use():
    assert [duration(s) for s in (0.04, 59.6, 100, 5000, 9000)] == [
        "0.0 s",
        "60 s",
        "2 min",
        "83 min",
        "2.5 h",
    ]
