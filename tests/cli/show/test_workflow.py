"""A command that is one call of a workflow hands its options on and shows the result."""

from dmix.cli.show.result import Result
from dmix.cli.show.workflow import calls_workflow


def taking(given, result):
    def workflow(*, progress, **values):
        given.update(values)
        return result

    return workflow


def test_options_go_to_the_workflow_and_its_facts_to_stdout(capsys):
    given = {}
    command = calls_workflow(lambda: taking(given, Result({"tokens": 3})))
    command(as_json=True, config=None, steps=4)
    assert given == {"steps": 4}
    assert '"tokens": 3' in capsys.readouterr().out


def test_a_rank_without_a_result_shows_nothing(capsys):
    calls_workflow(lambda: taking({}, None))(as_json=False, config=None)
    assert capsys.readouterr() == ("", "")
