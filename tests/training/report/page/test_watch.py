import pytest
from tests.training.report.fixtures import add_run

from dmix.training.report import watch_report
from dmix.warehouse_schema.errors import InputError


@pytest.fixture
def under_way(bare_warehouse):
    add_run(bare_warehouse, "one", steps=2, finished=1, done=False)
    return bare_warehouse


def test_page_is_written_again_until_the_run_has_ended(under_way):
    lines, slept = [], []

    def sleep(seconds):
        slept.append(seconds)
        assert "data-seconds" in (under_way.root / "report.html").read_text(encoding="utf-8")
        add_run(under_way, "one", steps=2, done=len(slept) == 2)

    report = watch_report(under_way, seconds=3, progress=lines.append, sleep=sleep)
    assert slept == [3, 3]
    assert (report.running, len(lines)) == ((), 3)
    assert "all runs have ended" in lines[-1]
    assert "data-seconds" not in report.path.read_text(encoding="utf-8")


def test_ctrl_c_leaves_a_page_that_stays_as_it_is(under_way):
    def interrupt(seconds):
        raise KeyboardInterrupt

    report = watch_report(under_way, sleep=interrupt)
    assert report.running == ("one",)
    assert "data-seconds" not in report.path.read_text(encoding="utf-8")


def test_less_than_a_second_between_pages_is_refused(under_way):
    with pytest.raises(InputError, match=r"--every is 0\.2 seconds, expected 1 second or more"):
        watch_report(under_way, seconds=0.2)
