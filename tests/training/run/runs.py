"""Controllers, signals and events of the runs of these tests."""

import dataclasses
import os
import signal

import numpy as np

from dmix.mixing.controllers import Proposal
from dmix.warehouse_schema.files.events import read_events


class Swinging:
    """Another mixture at each step, decided by the scores it sees; counts how often it is asked."""

    name = "swinging"

    def __init__(self):
        self.asked = []

    def propose(self, history):
        self.asked.append(history.step)
        share = 0.2 + 0.6 * (history.step % 2) + 0.001 * history.feedback_TD[-1, 0]
        return Proposal(history.space.expand(np.array([1 - share, share])))


class Steady:
    name = "steady"

    def propose(self, history):
        return Proposal(history.space.natural_N)


def events(folder, kind):
    return [event for event in read_events(folder / "events.jsonl") if event["event"] == kind]


def chains(folder):
    return {event["step"]: event["chain"] for event in events(folder, "step_done")}


def with_training(job, **values):
    return dataclasses.replace(
        job, controller=Swinging(), training=dataclasses.replace(job.training, **values)
    )


class StopAfter:
    """A progress function that sends this process a signal when it hears of a step."""

    def __init__(self, step, number=signal.SIGTERM):
        self.step, self.number = step, number

    def __call__(self, line):
        if line.startswith(f"step {self.step}/"):
            os.kill(os.getpid(), self.number)
