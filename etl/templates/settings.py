"""Where the text of a record is: what a user chooses; light, so that the command line can import it."""

import shlex
from dataclasses import dataclass, replace

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.names import from_home
from dmix.warehouse_schema.settings import setting

DEFAULT_COLUMN = "text"


@dataclass(frozen=True, kw_only=True)
class TextSettings:
    """Where the text of a record is.

    Raises:
        InputError: If a column has no name, or columns are named beside a template.
    """

    text_column: tuple[str, ...] = setting(
        (DEFAULT_COLUMN,),
        help="Column of JSON Lines and Parquet files that contains the text. Repeat the flag to join "
        "several columns with a blank line.",
    )
    template: str | None = setting(
        None,
        help="Template that turns a record into one text. The template 'chat' reads the column messages "
        "or conversations. 'instruction' reads the columns prompt and response, instruction and output, or "
        "question and answer. 'model:PATH' reads any of these columns, and writes the text with the chat "
        "template of the checkpoint in PATH. 'first:text,content' reads the column text or, if this column "
        "is empty, the column content. 'chat,first:text,content' reads messages; from a record without "
        "messages, it reads text or content. You can also give a text with columns in braces, such as "
        "'{title}\\n\\n{body}'.",
    )

    def __post_init__(self) -> None:
        if isinstance(self.text_column, str):  # from Python, where one name is enough
            object.__setattr__(self, "text_column", (self.text_column,))
        if not self.text_column or "" in self.text_column:
            raise InputError("text_column is empty; give a column with --text-column")
        twice = next((name for name in self.text_column if self.text_column.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"text_column has {twice!r} twice; give each column once")
        if self.template is not None and self.text_column != (DEFAULT_COLUMN,):
            raise InputError(
                "--template already gives the columns; leave out either --text-column or --template"
            )

    def absolute(self) -> "TextSettings":
        """These settings with the absolute path of a checkpoint."""
        kind, _, rest = (self.template or "").partition(":")
        path, comma, columns = rest.partition(",first:")
        if kind != "model" or not path:
            return self
        return replace(self, template=f"{kind}:{from_home(path).absolute()}{comma}{columns}")

    def flags(self) -> str:
        """The flags that give these settings, to be pasted into a shell; empty for the defaults."""
        if self.template is not None:
            return f" --template {shlex.quote(self.template)}"
        if self.text_column == (DEFAULT_COLUMN,):
            return ""
        return "".join(f" --text-column {shlex.quote(name)}" for name in self.text_column)


PLAIN_TEXT = TextSettings()
"""Text in the column `text`."""
