"""How much longer work takes while others use the machine."""

import pytest

from dmix.training.model.estimate import load
from dmix.training.model.estimate.load import slowdown, slowdown_of
from dmix.warehouse_schema.files import processes


@pytest.mark.parametrize(
    ("share", "others", "here", "cores", "slower"),
    [
        (1.0, 0.0, 2, 2, 1.0),  # idle
        (1.0, 1.0, 2, 1, 1.0),  # one core is busy, and the work needs the other one
        (1.0, 1.0, 2, 2, 1.5),
        (0.5, 0.0, 2, 1, 2.0),  # three others on two cores
        (0.2, 0.0, 2, 2, 5.5),  # nine others
        (1.0, 9.0, 4, 4, 1.75),  # of a machine with more cores than this process may use
    ],
)
def test_work_shares_its_cores_fairly(share, others, here, cores, slower):
    assert slowdown_of(share, others, here=here, cores=cores) == pytest.approx(slower)


def test_one_look_is_enough_for_a_command_and_a_gpu_needs_none(monkeypatch):
    monkeypatch.setattr(processes, "cores", lambda: 4)
    monkeypatch.setattr(load, "_look", lambda: (1.0, 3.0))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert (slowdown(), slowdown(1), slowdown(99)) == (1.25, 1.0, 1.75)
    monkeypatch.setattr(load, "has_gpu", lambda: True)
    assert slowdown() == 1.0


def test_a_look_gives_a_share_and_cores():
    share, others = load._look()
    assert 0 < share <= 1 and others >= 0
