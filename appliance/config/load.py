"""Text of the configuration file -> `Configuration`, or a `ConfigurationError` that says where,
what and how to mend it.

Called by the command line, workers and control (at start and on SIGHUP). Looks at the text only;
whether files exist and belong together is `check`'s work.
"""

import difflib
import re
import types
import typing
from collections.abc import Hashable, Iterable
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
import yaml

from appliance.config.schema import Configuration
from appliance.config.values import decoding_hook

CONFIGURATION_BYTES_MAX = 4 * 1024 * 1024

LOCATED = re.compile(r"(?s)\A(?P<what>.*?)(?: - at `(?P<path>\$[^`]*)`)?\Z")
UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(?P<name>.*)`\Z", re.S)
MISSING_FIELD = re.compile(r"Object missing required field `(?P<name>.*)`\Z", re.S)
BAD_ENUM = re.compile(r"Invalid enum value (?P<value>.*)\Z", re.S)
OWN_FIELD = re.compile(r"`(?P<field>\.[a-z_.]+)`", re.S)
STEP = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\[([0-9]+|\.\.\.)\]")


class ConfigurationError(ValueError):
    """What is wrong, at `path` (like `$.targets[0].tls.mode`), and how to mend it (`hint`, may be
    '').
    """

    def __init__(self, message: str, path: str = "$", hint: str = "", file: str = "") -> None:
        self.message = message
        self.path = path
        self.hint = hint
        self.file = file
        where = f"{file}: {path}" if file else path
        super().__init__(f"{where}: {message}" + (f" ({hint})" if hint else ""))


class UniqueKeyLoader(yaml.SafeLoader):
    """Plain YAML would silently take the last of two equal keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key!r} is written twice", key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep)


def load(path: Path | str) -> Configuration:
    """Raises ConfigurationError, also when the file cannot be read. Relative paths start at the
    file's folder.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(CONFIGURATION_BYTES_MAX + 1)
        text = content.decode()
    except OSError as error:
        raise ConfigurationError(
            f"cannot be read: {error.strerror}", file=str(path), hint="is the path right?"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError("is not UTF-8 text", file=str(path)) from error
    if len(content) > CONFIGURATION_BYTES_MAX:
        raise ConfigurationError("is longer than 4 MiB", file=str(path))
    return parse(text, folder=path.resolve().parent, file=str(path))


def parse(text: str, folder: Path | None = None, file: str = "") -> Configuration:
    """Relative paths are taken from `folder` (None = left alone). Raises ConfigurationError."""
    tree = read_yaml(text, file)
    if not isinstance(tree, dict):
        raise ConfigurationError("expected keys and values at the top", file=file)
    try:
        return msgspec.convert(tree, Configuration, dec_hook=decoding_hook(folder))
    except msgspec.ValidationError as error:
        raise explained(str(error), Configuration, file) from error


def read_yaml(text: str, file: str = "") -> Any:
    """YAML (or JSON) as plain lists and dictionaries; a key written twice is an error."""
    try:
        return yaml.load(text, Loader=UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "$"
        hint = "YAML is indented with spaces, not tabs" if "\\t" in str(error.problem) else ""
        raise ConfigurationError(str(error.problem), where, hint, file) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError("is not YAML", file=file) from error


def explained(text: str, root: Any, file: str = "") -> ConfigurationError:
    """msgspec's message -> ours."""
    match = LOCATED.match(text)
    assert match is not None
    what, path = match["what"], match["path"] or "$"
    kind = type_at(root, path)
    if unknown := UNKNOWN_FIELD.match(what):
        return ConfigurationError(
            "unknown key",
            f"{path}.{unknown['name']}",
            closest(unknown["name"], field_names(kind)),
            file,
        )
    if missing := MISSING_FIELD.match(what):
        hint = f"add `{missing['name']}:`"
        return ConfigurationError("is missing", f"{path}.{missing['name']}", hint, file)
    if bad := BAD_ENUM.match(what):
        return ConfigurationError(
            f"{bad['value']} is not allowed",
            path,
            "one of " + ", ".join(allowed_values(kind)),
            file,
        )
    return own_message(what, path, kind, file)


def own_message(what: str, path: str, kind: Any, file: str) -> ConfigurationError:
    """Messages raised by the schema itself: a leading `.field` extends the path, ' | ' begins the
    hint.
    """
    what, _, hint = what.partition(" | ")
    if match := OWN_FIELD.match(what):
        return ConfigurationError(what.replace("`.", "`", 1), path + match["field"], hint, file)
    if what.startswith("Expected `str`, got `bool`"):
        hint = "YAML reads yes, no, on and off as true and false; put it in quotes"
    elif what.startswith("Expected `str`, got "):
        hint = "put it in quotes"
    elif what.startswith("Expected `array`"):
        hint = "a list: `[a, b]`, or lines that begin with `- `"
    elif "matching regex" in what:
        what, hint = "is not a valid name", "letters, digits, . _ and -, at most 63"
    elif values := allowed_values(kind):
        hint = "one of " + ", ".join(values)
    return ConfigurationError(what[:1].lower() + what[1:], path, hint, file)


def closest(name: str, names: Iterable[str]) -> str:
    names = sorted(names)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean `{near[0]}`?"
    return "known here: " + ", ".join(names) if names else ""


def type_at(root: Any, path: str) -> Any:
    """The annotated type at msgspec's path, None when it cannot be told (a union of several)."""
    kind = bare(root)
    for name, index in STEP.findall(path):
        if name:
            if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
                return None
            kind = typing.get_type_hints(kind, include_extras=True).get(name)
        elif index:
            arguments = [a for a in typing.get_args(kind) if a is not Ellipsis]
            kind = arguments[-1] if arguments else None
        kind = bare(kind)
    return kind


def bare(kind: Any) -> Any:
    """Without Annotated and `| None`."""
    while True:
        if typing.get_origin(kind) is typing.Annotated:
            kind = typing.get_args(kind)[0]
            continue
        if typing.get_origin(kind) in {types.UnionType, typing.Union}:
            members = [a for a in typing.get_args(kind) if a is not types.NoneType]
            structured = [m for m in members if typing.get_origin(bare(m)) is not typing.Literal]
            if len(structured) == 1 or len(members) == 1:
                kind = (structured or members)[0]
                continue
        return kind


def field_names(kind: Any) -> tuple[str, ...]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind.__struct_encode_fields__
    return ()


def allowed_values(kind: Any) -> list[str]:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [str(member.value) for member in kind]
    if typing.get_origin(kind) is typing.Literal:
        return [str(value) for value in typing.get_args(kind)]
    return []
