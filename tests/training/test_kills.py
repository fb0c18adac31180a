"""The shortest of the soak's killed runs, so that a change that breaks resuming is seen at once."""

from tests.training.soak_kills import killed_and_resumed


def test_two_ranks_killed_three_times_take_the_samples_of_two_that_were_not(tmp_path):
    found = killed_and_resumed(tmp_path, controller="scripted", ranks=2, kills=3, steps=24)
    assert len(found["steps_at_kills"]) == 3 and found["steps_at_kills"][-1] < 24
