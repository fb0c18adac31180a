import pytest

from dmix.training.model.estimate import speed
from dmix.training.model.estimate.shapes import ModelShape


def test_hours_follow_from_operations_and_the_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(speed, "_matrix_operations_per_second", lambda *, bf16, kept: 2e9 * (1 + bf16))
    shape = ModelShape(
        parameters=500, layer_parameters=100, layers=2, hidden=5, feed_forward=9, gated=True, vocabulary=50
    )
    found = speed.estimated_speed(shape, seq_len=5)
    assert found.tokens_per_second == pytest.approx(0.5 * 2e9 / (6 * (200 + 250 + 50)))
    assert found.parameters == 500
    in_bf16 = speed.estimated_speed(shape, seq_len=5, bf16=True)
    assert in_bf16.tokens_per_second == 2 * found.tokens_per_second
    assert found.hours(3600) == pytest.approx(1 / found.tokens_per_second)


def test_the_speed_of_a_gpu_is_measured_once(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(speed, "has_gpu", lambda: True)
    answers = iter([4e12])
    monkeypatch.setattr(speed, "_gpu_operations_per_second", lambda: next(answers))
    first = speed.training_speed(1e6)
    assert first == pytest.approx(0.5 * 4e12 / 1e6) and speed.training_speed(1e6) == first


def test_runs_on_this_machine_say_the_speed_of_models_of_their_size(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(speed, "_matrix_operations_per_second", lambda *, bf16, kept: 4e9)
    speed.keep_training_speed(1e6, 300.0, bf16=False)
    assert speed.training_speed(1e6) == 300.0 and speed.training_speed(1.5e6) == pytest.approx(200.0)
    # other sizes, other precisions, and fewer threads than usual
    assert speed.training_speed(1e8) == pytest.approx(20.0)
    assert speed.training_speed(1e6, bf16=True) == speed.training_speed(1e6, kept=False) == 2000.0


def test_a_busy_processor_is_timed_by_what_it_worked(monkeypatch):
    now = {"wall": 0.0, "processor": 0.0}
    monkeypatch.setattr(speed.time, "perf_counter", lambda: now["wall"])
    monkeypatch.setattr(speed.time, "process_time", lambda: now["processor"])

    def product():  # two threads that get a fifth of their cores
        now["wall"] += 10.0
        now["processor"] += 4.0

    monkeypatch.setattr(speed, "slowdown", lambda threads: 5.0)
    assert speed._timed(product, operations=100, threads=2) == pytest.approx(50.0)
    assert speed._timed(product, operations=100) == pytest.approx(10.0)  # a GPU
    monkeypatch.setattr(speed, "slowdown", lambda threads: 1.0)
    assert speed._timed(product, operations=100, threads=2) == pytest.approx(10.0)


def test_the_machine_is_asked_for_one_product():
    assert speed.training_speed(1e6) > 0 and speed.training_speed(1e6, bf16=True) > 0
