"""The chat template of a checkpoint: read once, then rendered by a process of its own in each worker."""

import contextlib
import functools
import json
import os
import selectors
import subprocess
import sys
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from dmix.etl.templates.alternatives import Alternatives
from dmix.etl.templates.conversations import COLUMNS, SHAPES, Message, Refusal, turns_of
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.names import from_home
from dmix.warehouse_schema.files.processes import starting_workers
from dmix.warehouse_schema.text_files import read_json_object, read_text

MODEL = "model:"

_START = "from dmix.etl.templates.rendering import main; main()"
_PATIENCE_SECONDS = 120
"""More than any bound of `dmix.etl.templates.rendering`, on a machine that does other things."""
_EXAMPLE = [Message("user", "Name a planet."), Message("assistant", "Mars.")]


@dataclass(frozen=True)
class ModelTemplate:
    """Messages, or a question and its answer, as the chat template of a checkpoint writes them.

    Attributes:
        source: The template, in Jinja.
        tokens: Names and texts of the special tokens that it may use, such as `bos_token`.
        written: Special tokens that it writes. No message may hold one: it would end a turn.
        path: Folder of the checkpoint; nothing depends on it.
    """

    source: str
    tokens: tuple[tuple[str, str], ...]
    written: tuple[str, ...]
    path: str = field(default="", compare=False)

    @property
    def alternatives(self) -> Alternatives:
        return Alternatives(f"{MODEL}{self.path}")

    @property
    def columns(self) -> tuple[str, ...]:
        return COLUMNS

    @property
    def shapes(self) -> tuple[tuple[str, ...], ...]:
        return SHAPES

    @property
    def identity(self) -> tuple[object, ...]:
        return ("model", 1, self.source, self.tokens, self.written)

    def text_of(self, record: Mapping[str, object]) -> str | Refusal:
        """The text of a record, or why there is none."""
        messages = turns_of(record)
        if isinstance(messages, Refusal):
            return messages
        if isinstance(messages, str):
            return self.plain(messages)
        for number, message in enumerate(messages, 1):
            found = next((token for token in self.written if token in message.content), None)
            if found is not None:
                return Refusal("special_token", f"message {number} contains {found!r}")
        return self.render(messages)

    def plain(self, text: str) -> str | Refusal:
        """A text that needs no template, unless it holds a special token."""
        found = next((token for token in self.written if token in text), None)
        return text if found is None else Refusal("special_token", f"the text contains {found!r}")

    def render(self, messages: list[Message]) -> str | Refusal:
        """What the template writes, or why it fails."""
        return _renderer(self).render(messages)


def model_template(path: str) -> ModelTemplate:
    """The chat template of a checkpoint, tried on one conversation.

    Args:
        path: Folder with `chat_template.jinja`, or a `tokenizer_config.json` that holds a `chat_template`.

    Raises:
        NotFoundError: If there is no such folder.
        InputError: If it holds no template, or one that fails.
    """
    folder = from_home(path)
    if not folder.is_dir():
        raise NotFoundError(
            f"--template model:{path}: {folder} is not a folder; download the checkpoint and give its folder"
        )
    config = _read(folder / "tokenizer_config.json")
    source = _source(folder, config)
    if source is None:
        raise InputError(
            f"--template model:{path}: the checkpoint has no chat template in chat_template.jinja or "
            "tokenizer_config.json; use --template chat"
        )
    tokens = _tokens({**_read(folder / "special_tokens_map.json"), **config})
    template = ModelTemplate(source, tuple(sorted(tokens.items())), ())
    text = template.render(_EXAMPLE)
    if isinstance(text, Refusal):
        raise InputError(f"--template model:{path}: {text.detail}; use --template chat")
    specials = {*tokens.values(), *_special_texts(folder, config)}
    written = tuple(sorted(token for token in specials if token and (token in text or token in source)))
    return ModelTemplate(template.source, template.tokens, written, path)


def _read(path: Path) -> dict[str, Any]:
    return read_json_object(path) if path.is_file() else {}


def _source(folder: Path, config: Mapping[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return read_text(file)
    found = config.get("chat_template")
    if isinstance(found, list):  # several, by name
        by_name = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
        found = by_name.get("default")
    return found if isinstance(found, str) else None


def _tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """Texts of the special tokens that a configuration names."""
    named = {
        name: value.get("content") if isinstance(value, dict) else value
        for name, value in config.items()
        if name.endswith("_token")
    }
    return {name: text for name, text in named.items() if isinstance(text, str)}


def _special_texts(folder: Path, config: Mapping[str, Any]) -> set[str]:
    """Texts of all special tokens of the tokenizer."""
    added = config.get("added_tokens_decoder")
    entries = list(added.values()) if isinstance(added, dict) else []
    more = _read(folder / "tokenizer.json").get("added_tokens")
    entries += more if isinstance(more, list) else []
    return {
        entry["content"]
        for entry in entries
        if isinstance(entry, dict) and entry.get("special") and isinstance(entry.get("content"), str)
    }


@functools.lru_cache(maxsize=2)
def _renderer(template: ModelTemplate) -> "_Renderer":
    return _Renderer(template)


class _Renderer:
    """The process that renders one template; started when it is needed, and again after its end."""

    def __init__(self, template: ModelTemplate) -> None:
        self._hello = {"source": template.source, "tokens": dict(template.tokens)}
        self._process: subprocess.Popen[bytes] | None = None
        self._ending: weakref.finalize[Any, Any] | None = None

    def render(self, messages: list[Message]) -> str | Refusal:
        answer: Mapping[str, str] = {"text": ""}
        if self._process is None:
            self._process = _started()
            self._ending = weakref.finalize(self, _end, self._process)
            answer = self._asked(self._hello)
        if "error" not in answer:
            answer = self._asked({"messages": [message._asdict() for message in messages]})
        else:
            self.end()  # it has no template
        if "error" in answer:
            return Refusal("template_failed", f"the chat template fails: {answer['error']}")
        return answer["text"]

    def end(self) -> None:
        """Ends the process, if there is one."""
        if self._ending is not None:
            self._ending()
        self._process = None

    def _asked(self, request: Mapping[str, Any]) -> Mapping[str, str]:
        """The answer to a request; an error where the process ends or hangs."""
        assert self._process is not None
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            line = _line(self._process.stdout)
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):
            self.end()
            return {"error": "the template ended its process"}
        found: Mapping[str, str] = json.loads(line)
        return found


def _started() -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with starting_workers():  # its death would be a reject
        return subprocess.Popen(
            [sys.executable, "-P", "-c", _START],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        with contextlib.suppress(BrokenPipeError):
            if stream is not None:
                stream.close()


def _line(stream: IO[bytes]) -> bytes:
    """The next line; empty if none comes."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return stream.readline() if selector.select(_PATIENCE_SECONDS) else b""
