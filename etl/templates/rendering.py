"""The process that renders a chat template, which is a program that a stranger wrote.

Jinja2's sandbox keeps it from Python and from files; this process bounds the memory and the processor
time of each conversation, and nothing random or dated is offered, so that a text depends on its record
alone. Requests and answers are lines of JSON: the first request holds `source` and `tokens`, each further
one `messages`; an answer holds `text` or `error`.
"""

import contextlib
import json
import resource
import signal
import sys
from collections.abc import Iterator
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

SECONDS = 2.0
"""Processor time of a conversation, and as much again for each `_BYTES_PER_TURN` of it."""
MEMORY_BYTES = 1 << 30
"""Address space of the process, and `_COPIES` times the conversation."""
_BYTES_PER_TURN, _COPIES = 10 << 20, 12
_MOST_PRODUCT = 1 << 20


class OutOfTimeError(BaseException):
    """No `Exception`, so that nothing between the template and `answer` takes it for one of its own."""


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}`, which marks what an assistant writes: just its content."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(("*", "**"))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sizes = [abs(value) if isinstance(value, int) else len(value) for value in (left, right)]
        if operator == "**" or sizes[0] * sizes[1] > _MOST_PRODUCT:
            raise SecurityError("a product in it is too large")
        return super().call_binop(context, operator, left, right)


def compiled(source: str) -> jinja2.Template:
    """The template, with what transformers offers to chat templates, less the date."""
    environment = _Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[LoopControlExtension, _Generation]
    )
    del environment.globals["lipsum"], environment.filters["random"]
    environment.globals["raise_exception"] = _refuse
    environment.filters["tojson"] = _json
    return environment.from_string(source)


def main() -> None:
    """Answers until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    signal.signal(signal.SIGVTALRM, _out_of_time)
    template, tokens = None, {}
    for line in sys.stdin.buffer:
        try:
            with bounded(len(line)):
                request = json.loads(line)
                if template is None:
                    template, tokens = compiled(request["source"]), request["tokens"]
                    answer = {"text": ""}
                else:
                    answer = {"text": render(template, request["messages"], tokens)}
                written = json.dumps(answer)
        except OutOfTimeError:
            written = json.dumps({"error": f"the template needs more than {SECONDS:.0f} s of processor time"})
        except MemoryError:
            written = json.dumps(
                {"error": f"the template needs more than {MEMORY_BYTES >> 20} MiB of memory"}
            )
        except Exception as error:  # whatever a template makes of its values
            words = str(error) if isinstance(error, TemplateError) else f"{type(error).__name__}: {error}"
            written = json.dumps({"error": " ".join(words.split())[:200]})
        sys.stdout.write(f"{written}\n")
        sys.stdout.flush()


def render(template: jinja2.Template, messages: list[dict[str, str]], tokens: dict[str, str]) -> str:
    """The text of a conversation, whole, without the beginning of an answer."""
    values = {**tokens, "messages": messages, "tools": None, "documents": None}
    return template.render(values, add_generation_prompt=False)


@contextlib.contextmanager
def bounded(size_bytes: int) -> Iterator[None]:
    """Bounds processor time and memory of what is done inside, for a request of this size."""
    memory = MEMORY_BYTES + _COPIES * size_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (memory, hard))
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS * (1 + size_bytes // _BYTES_PER_TURN))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _out_of_time(number: int, frame: object) -> None:
    raise OutOfTimeError


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
