"""The overview of yardsticks: settings without runs, and which objectives each admits."""

import pytest

from dmix.training.comparison.pages.yardsticks import write_yardsticks

HEAD = "objective,layer,mixtures,admitted\n"


@pytest.fixture
def written(tmp_path):
    def write(**tables):
        folders = []
        for name, rows in tables.items():
            folders.append(tmp_path / name)
            folders[-1].mkdir()
            if rows is not None:
                (folders[-1] / "yardstick.csv").write_text(HEAD + "".join(f"{row}\n" for row in rows))
        write_yardsticks(folders, tmp_path / "out")
        return (tmp_path / "out" / "yardsticks.md").read_text().splitlines()

    return write


def test_a_setting_without_runs_has_an_empty_row(written):
    assert written(law=None)[-1] == "| `law` | 0 | – | – | – |"


def test_a_row_names_what_the_judging_layer_refuses(written):
    lines = written(
        law=["a,feedback,12,False", "a,confirmation,12,True", "b,confirmation,12,False"],
        code=["a,confirmation,6,True"],
    )
    assert lines[-2:] == [
        "| [`law`](law/yardstick.md) | 12 | 2 | 1 | `b` |",
        "| [`code`](code/yardstick.md) | 6 | 1 | 1 | none |",
    ]
