"""Messages through a pipe: whole or not at all."""

import io

import pytest

from dmix.etl.spark.messages import receive, send


def test_messages_come_in_the_order_in_which_they_were_sent():
    pipe = io.BytesIO()
    for value in ("a", None, {"x": b"1" * 100_000}):
        send(pipe, value)
    pipe.seek(0)
    assert [receive(pipe), receive(pipe), receive(pipe)] == ["a", None, {"x": b"1" * 100_000}]
    assert receive(pipe) is None


@pytest.mark.parametrize("kept", [0, 3, 8, 9, -1])
def test_an_end_inside_a_message_is_an_end(kept):
    pipe = io.BytesIO()
    send(pipe, "value")
    assert receive(io.BytesIO(pipe.getvalue()[:kept])) is None
