"""Tasks run in this process, one after the other, as on a single core and without Spark."""

import json
from contextlib import ExitStack, contextmanager
from unittest import mock

_MODULES = ("classify.classify", "classify.plan", "shard.tasks")


@contextmanager
def tasks_in_this_process():
    """Within it, the jobs of the ETL take None for a session."""
    with ExitStack() as stack:
        for module in _MODULES:
            stack.enter_context(mock.patch(f"dmix.etl.{module}.run_tasks", _run))
        stack.enter_context(mock.patch("dmix.etl.classify.plan.completed_tasks", return_value=0))
        yield


def _run(spark, task, items):
    return [json.loads(json.dumps(task(item))) for item in items]
