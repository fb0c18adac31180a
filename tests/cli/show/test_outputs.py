"""Paths that cannot be written are refused before a command works."""

import os

import click
import pytest
from click.testing import CliRunner

from dmix.cli.show.outputs import OutputPath, refusal


def test_new_paths_and_existing_ones_may_be_written(tmp_path):
    (tmp_path / "there").write_text("")
    assert [refusal(tmp_path / name) for name in (".", "there", "new", "no/such/folder/new")] == [""] * 4


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("file/new", "file/deep/new"):
        said = refusal(tmp_path / name)
        assert f"{tmp_path / 'file'} is a file" in said and str(tmp_path / name) in said


def test_a_dangling_link_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert f"{tmp_path / 'link'} is no folder" in refusal(tmp_path / "link" / "new")


@pytest.mark.parametrize(("read_only", "said"), [(True, "read-only file system"), (False, "permit")])
def test_a_folder_that_refuses_writes_is_named(tmp_path, monkeypatch, read_only, said):
    monkeypatch.setattr(os, "access", lambda path, mode: False)

    class State:
        f_flag = os.ST_RDONLY if read_only else 0

    monkeypatch.setattr(os, "statvfs", lambda path: State)
    refused = refusal(tmp_path / "no" / "new")
    assert said in refused and f"{tmp_path} " in refused and str(tmp_path / "no" / "new") in refused


def test_a_command_exits_with_2_and_names_its_flag(tmp_path):
    @click.command()
    @click.option("--out", type=OutputPath(file_okay=False))
    def command(out):
        raise AssertionError("it ran")

    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(command, ["--out", str(tmp_path / "file" / "new")])
    assert result.exit_code == 2 and "'--out'" in result.output


def test_every_flag_and_argument_for_output_is_checked():
    from dmix.cli.main import COMMANDS, dmix

    def commands(command, context):
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                yield from commands(command.get_command(context, name), context)
        yield command

    assert COMMANDS
    found = [
        (command.name, parameter.name, type(parameter.type))
        for command in commands(dmix, click.Context(dmix))
        for parameter in command.params
        if parameter.name in ("out", "export_to", "work", "results")
    ]
    assert len(found) >= 10
    assert [one for one in found if one[2] is not OutputPath] == []
