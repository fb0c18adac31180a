from dmix.training.run.watching.step_events import is_microbatch_note, microbatch_detail


def test_a_smaller_microbatch_names_the_one_that_needed_too_much():
    assert microbatch_detail(8, before=0) == "microbatch_size auto: 8 samples per forward pass on a rank"
    assert microbatch_detail(1, before=2).endswith(
        "1 sample per forward pass on a rank, after 2 needed too much memory"
    )


def test_only_its_own_notes_say_what_fits():
    assert is_microbatch_note({"event": "note", "kind": "microbatch_size", "value": 4})
    assert not is_microbatch_note({"event": "note", "kind": "loss_jump"})
    assert not is_microbatch_note({"event": "microbatch_size", "kind": "microbatch_size"})
