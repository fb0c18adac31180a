import gc
from pathlib import Path

import pytest

from dmix.etl.spark.tasks import Meter, grouped, metered, reported, run_tasks
from dmix.warehouse_schema.errors import InputError, StorageError


def test_no_items_need_no_session():
    assert run_tasks(None, str, []) == []


def test_tiny_items_share_a_task_and_large_ones_stand_alone():
    def groups(sizes, most=3):
        return grouped(sizes, size_of=lambda size: size, most_bytes=10, most=most)

    assert groups([]) == []
    assert groups([50, 4, 4, 4, 1, 1, 1]) == [[50], [4, 4], [4, 1, 1], [1]]
    assert [len(group) for group in groups([0] * 20_000, most=500)] == [500] * 40


def test_error_for_people_comes_back_as_itself_and_is_tried_once(executor, tmp_path):
    def fail(item):
        with open(tmp_path / "tries", "a") as file:
            file.write(f"{item}\n")
        if item:
            raise [InputError, StorageError][item - 1](f"item {item} is bad; change it")

    with pytest.raises(InputError, match="item 1 is bad; change it"):
        run_tasks(executor, fail, [0, 1, 2])
    assert sorted((tmp_path / "tries").read_text().split()) == ["0", "1", "2"]


def test_task_that_fails_otherwise_is_tried_again(executor, tmp_path):
    def fail_once(item):
        marker = Path(tmp_path, f"tried-{item}")
        if not marker.exists():
            marker.touch()
            raise RuntimeError("injected")
        return item

    assert run_tasks(executor, fail_once, [0, 1, 2]) == [0, 1, 2]


def test_worker_does_not_collect_what_imports_made_again_and_again(spark):
    def spared(item):
        return gc.get_freeze_count()

    run_tasks(spark, spared, list(range(4)))
    assert max(run_tasks(spark, spared, list(range(4)))) > 10_000


def test_meters_of_tasks_add_up(tmp_path):
    for name, amounts in (("a", [3, 4]), ("b", [10])):
        meter = Meter(tmp_path / f"{name}.meter")
        for amount in amounts:
            meter.add(amount)
        meter.tell()
    (tmp_path / "c.meter").write_text("")  # under way
    assert metered(tmp_path) == 17
    assert metered(tmp_path / "nowhere") == 0


def test_meter_outlives_its_folder(tmp_path):
    meter = Meter(tmp_path / "gone" / "a.meter")
    meter.add(1)
    meter.tell()
    meter.add(1)
    assert metered(tmp_path / "gone") == 0


def test_progress_is_said_when_it_changes():
    import threading

    said, asked = [], threading.Event()
    lines = iter([None, "one", "one", "two"])

    def line(seconds):
        text = next(lines, "two")
        if text == "two":
            asked.set()
        return text

    with reported(said.append, line, every_seconds=0.001):
        assert asked.wait(10)
    assert said in (["one", "two"], ["one"])
