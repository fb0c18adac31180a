"""Where the text of a record is: flags that name it, and what contradicts itself."""

import shlex

import pytest

from dmix.etl.templates.settings import PLAIN_TEXT, TextSettings
from dmix.warehouse_schema.errors import InputError


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"text_column": ()}, "--text-column"),
        ({"text_column": ("a", "")}, "--text-column"),
        ({"text_column": ("a", "b", "a")}, "'a'"),
        ({"text_column": ("a",), "template": "chat"}, "--text-column or --template"),
    ],
)
def test_columns_that_are_empty_twice_or_beside_a_template_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        TextSettings(**given)


def test_one_column_may_be_a_text():
    assert TextSettings(text_column="body") == TextSettings(text_column=("body",))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (PLAIN_TEXT, []),
        (TextSettings(template="{a}\n{b}"), ["--template", "{a}\n{b}"]),
        (TextSettings(text_column=("my text", "b")), ["--text-column", "my text", "--text-column", "b"]),
    ],
)
def test_flags_can_be_pasted_into_a_shell(settings, words):
    assert shlex.split(settings.flags()) == words


@pytest.mark.parametrize(
    ("template", "absolute"),
    [
        (None, None),
        ("chat", "chat"),
        ("model:", "model:"),
        ("model:/m", "model:/m"),
        ("model:m", "model:{cwd}/m"),
        ("model:m,first:a,b", "model:{cwd}/m,first:a,b"),
        ("chat,first:a,b", "chat,first:a,b"),
    ],
)
def test_the_path_of_a_checkpoint_becomes_absolute(template, absolute, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = absolute if absolute is None else absolute.replace("{cwd}", str(tmp_path))
    assert TextSettings(template=template).absolute().template == expected
