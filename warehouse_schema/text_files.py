"""Text files that people write: label files, mixtures, environments, settings, tokenizer configurations.

Editors store them as UTF-8, with or without a byte order mark, or (on Windows, "Unicode") as
UTF-16 with one; all are read. Anything else is refused with a sentence, since a wrong guess would
change names and labels in silence. A name that a YAML file gives twice is refused too: PyYAML
keeps the last value and says nothing. An escape that is half a surrogate pair is refused, since no file,
table or terminal takes the text that it makes.
"""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmix.warehouse_schema.errors import InputError, NotFoundError

if TYPE_CHECKING:
    import yaml

# UTF-32's mark begins with that of UTF-16, so it comes first
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")

MOST_YAML_VALUES = 1_000_000
"""Values of a YAML file, those that aliases repeat counted every time."""
MOST_YAML_CHARACTERS = 16 << 20
"""Characters of a YAML file: it takes minutes to read so many, and gigabytes of memory to read more."""
_OF_SHELLS = ("/dev/fd/", "/dev/stdin", "/dev/null", "/proc/self/fd/")
_MOST_DIGITS = 1_000
"""Characters of a number in a YAML file; Python prints no integer of more than 4,300 digits."""


def read_text(path: str | Path) -> str:
    """The text of a file, without its byte order mark.

    Raises:
        NotFoundError: If there is no such file.
        InputError: If it is not text, or may not be read.
    """
    return decoded(_content(path), where=str(path))


def excerpt(text: str, most: int) -> str:
    """The beginning of a text, at most so many characters, cut at white space."""
    if len(text) <= most:
        return text
    words = text[:most].rsplit(maxsplit=1)
    return words[0] if words else text[:most]


def read_json_object(path: str | Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        NotFoundError: If there is no such file.
        InputError: If it is not text, not JSON, no object, or may not be read.
    """
    text = read_text(path)
    try:
        value = parse_json(text)
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error}); repair or remove the file") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} contains a {type(value).__name__}, expected a JSON object; repair the file")
    return value


def parse_json(content: str | bytes, *, paths: bool = False) -> Any:
    """The value of a JSON document.

    Args:
        content: The document.
        paths: It names files, whose names may be no UTF-8: Python makes halves of surrogate pairs of them.

    Raises:
        ValueError: If it is no JSON, nested too deeply, has a number of more digits than Python reads, or an
            escape in it is half a surrogate pair.
    """
    try:
        value = json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if (b"\\ud" if isinstance(content, bytes) else "\\ud") in content.lower():  # type: ignore[operator]
        json.dumps(value, ensure_ascii=False).encode(errors="surrogateescape" if paths else "strict")
    return value


def decoded(content: bytes, *, where: str) -> str:
    """Bytes as text: UTF-8, or the UTF that their byte order mark names.

    Args:
        content: What a file holds.
        where: What messages call the file.

    Raises:
        InputError: If the bytes are not such text.
    """
    encoding, mark = "utf-8", b""
    for known, name in _MARKS:
        if content.startswith(known):
            encoding, mark = name, known
            break
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where} is not {encoding.upper()} text (byte {error.start + len(mark)}: {error.reason}); "
            "save the file as UTF-8"
        ) from None
    if "\0" in text:
        raise InputError(
            f"{where} has zero bytes, so it may be UTF-16 without a byte order mark; save the file as UTF-8"
        )
    return text


def parse_yaml(text: str, *, where: str) -> Any:
    """The value of a YAML document; None if it is empty.

    Args:
        text: The document.
        where: What messages call it.

    Raises:
        InputError: If it is no YAML, gives a name twice, has half a surrogate pair, is too large, or its
            aliases or its nesting explode.
    """
    import yaml  # commands that read none need not wait for it

    if len(text) > MOST_YAML_CHARACTERS:
        raise InputError(
            f"{where} has {len(text):,} characters, expected at most {MOST_YAML_CHARACTERS:,}; "
            "give a smaller file"
        )
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node, where)
        _check_nodes(node, where)
        return loader.construct_document(node)
    except RecursionError:
        raise InputError(f"{where} has too many levels; use fewer") from None
    # the constructors of PyYAML (6) raise what they meet, as for `!!bool x` and `!!timestamp x`
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where} is not valid YAML: {' '.join(str(error).split())[:500]}") from None
    finally:
        if loader is not None:
            loader.dispose()


def refuse_pipe(path: str | Path) -> None:
    """Refuses a named pipe or a device in the place of a file, which nobody may ever end.

    A shell's own pipes (`<(command)`) are files here, and what does not exist is fine too.

    Raises:
        InputError: If it is one.
    """
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir() or str(path).startswith(_OF_SHELLS)):
        raise InputError(f"{path} is a pipe or a device, expected a file; restore it from a copy")


def _content(path: str | Path) -> bytes:
    try:
        refuse_pipe(path)
        return Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(f"file {path} does not exist; correct the path") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, expected a file") from None
    except PermissionError:
        raise InputError(f"dmix may not read {path}; check its permissions") from None
    except OSError as error:
        raise InputError(f"{str(path)[:300]} cannot be read ({error.strerror}); correct the path") from None


def _children(node: "yaml.Node") -> "Iterator[yaml.Node]":
    import yaml

    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield from (name, value)
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _check_size(root: "yaml.Node", where: str) -> None:
    """Refuses what is small as a file and huge as values, and what holds itself."""
    sizes: dict[int, int | None] = {}

    def size(node: "yaml.Node") -> int:
        known = sizes.get(id(node), 0)
        if known is None:
            raise InputError(
                f"{where} has an alias that refers to itself; write the value instead of the alias"
            )
        if not known:
            sizes[id(node)] = None
            known = sizes[id(node)] = 1 + sum(map(size, _children(node)))
            if known > MOST_YAML_VALUES:
                raise InputError(
                    f"{where} expands to more than {MOST_YAML_VALUES:,} values; write values "
                    "instead of aliases"
                )
        return known

    size(root)


def _check_nodes(root: "yaml.Node", where: str) -> None:
    """Refuses names that a mapping gives twice, halves of surrogate pairs, and numbers of other bases."""
    import yaml

    waiting, done = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in done:
            continue
        done.add(id(node))
        waiting += _children(node)
        if isinstance(node, yaml.ScalarNode):
            _refuse_long_numbers(node, where)
            node.value = _whole_characters(node, where)
            _refuse_other_bases(node, where)
        if not isinstance(node, yaml.MappingNode):
            continue
        _refuse_twice(node, where)


def _refuse_twice(mapping: "yaml.MappingNode", where: str) -> None:
    """Refuses names that are one value, or one text, however they are written: yes and true, 1 and "1"."""
    import yaml

    loader, lines = yaml.SafeLoader(""), dict[object, int]()
    for name, _ in mapping.value:
        if not isinstance(name, yaml.ScalarNode):
            continue
        plain = name.tag in (_TEXT, _MERGE)
        value = name.value if plain else loader.construct_object(name)
        line = name.start_mark.line + 1
        for key in {value, str(value)}:
            if key in lines:
                raise InputError(
                    f"{where} contains {name.value!r} twice (lines {lines[key]} and {line}); keep one of them"
                )
            lines[key] = line


def _refuse_long_numbers(node: "yaml.ScalarNode", where: str) -> None:
    """Refuses numbers that nobody can print, and the character that no path may have."""
    line = node.start_mark.line + 1
    if node.tag in _NUMBERS and len(node.value) > _MOST_DIGITS:
        raise InputError(
            f"{where} has a number of {len(node.value):,} characters in line {line}, expected at most"
            f" {_MOST_DIGITS:,}; shorten it, or quote it if it is text"
        )
    if "\0" in node.value:
        raise InputError(f"{where} has a zero character in line {line}; remove the escape")


def _refuse_other_bases(node: "yaml.ScalarNode", where: str) -> None:
    """Refuses numbers that YAML 1.1 reads in base 8 or 60, which nobody means who writes 010 or 1:30."""
    digits = node.value.lstrip("+-")
    if node.tag not in _NUMBERS or not (
        ":" in digits or (len(digits) > 1 and digits.isdecimal() and digits[0] == "0")
    ):
        return
    raise InputError(
        f"{where}, line {node.start_mark.line + 1}: YAML reads the number {node.value} in base"
        f" {60 if ':' in digits else 8}; write it in base 10, or in quotes if it is text"
    )


def _whole_characters(node: "yaml.ScalarNode", where: str) -> str:
    """The text of a value; JSON writes characters beyond 16 bits as two escapes, which PyYAML keeps apart.

    Halves that Python makes of the names of files that are no UTF-8 stay.
    """
    text: str = node.value
    if text.isascii():
        return text
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    try:
        text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        raise InputError(
            f"{where}, line {node.start_mark.line + 1}: {node.value!r} has half a surrogate pair, which is no"
            " character; correct it"
        ) from None
    return text
