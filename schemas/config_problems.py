"""What pydantic found wrong in a configuration, as sentences: file, line, path, what was found, what is allowed."""

import re
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Final, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from schemas.config_file import Document, Path_, dotted

MASK: Final = "***"

# In names, not in values: a key that carries a secret says so (sasl.password, oauth.client.secret, ssl.key.pem).
_SECRET_NAME: Final = re.compile(r"password|passwd|secret|token|credential|jaas|pem|key$", re.IGNORECASE)
_USER_INFO: Final = re.compile(r"://[^/\s]*@")
_LONGEST_SHOWN: Final = 80
_BYTES: Final = "a whole number of bytes, or a number with a unit, like 500MB or 2GiB"


def sentences(error: ValidationError, root: type[BaseModel], document: Document) -> list[str]:
    """Return one sentence for each problem in `error`, in the order of the lines of `document`."""
    located: dict[tuple[int, Path_], str] = {}
    for detail in error.errors(include_url=False, include_context=True, include_input=False):
        path = tuple(part for part in detail["loc"] if part != "[key]")
        line = document.line(path)
        found, allowed = _found(path, document), _allowed(detail, path, root)
        located.setdefault((line, path), f"{document.path}:{line}: {dotted(path)} is {found}; allowed: {allowed}")
    return [text for _, text in sorted(located.items(), key=lambda item: (item[0][0], dotted(item[0][1])))]


def shown(path: Path_, value: object, document: Document) -> str:
    """Return `value` as it may stand in a message: secrets masked, long texts cut, lists and mappings named only."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if path in document.masked or any(isinstance(part, str) and _SECRET_NAME.search(part) for part in path):
        return MASK
    if isinstance(value, str):
        text = MASK if _SECRET_NAME.search(value) else repr(_USER_INFO.sub(f"://{MASK}@", value))
        return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "..."
    return "empty" if value is None else repr(value).lower()


def _found(path: Path_, document: Document) -> str:
    value: object = document.data
    for depth, part in enumerate(path):
        if not isinstance(value, dict | list):
            return shown(path[:depth], value, document)  # a single value that stands for a list of one
        try:
            value = value[part]  # type: ignore[index]  # a wrong kind of index is as missing as a wrong one
        except (KeyError, IndexError, TypeError):
            return "missing"
    return shown(path, value, document)


def _allowed(detail: ErrorDetails, path: Path_, root: type[BaseModel]) -> str:
    context = detail.get("ctx", {})
    kind = detail["type"]
    if kind == "extra_forbidden":
        return _known_keys(path, root)
    if kind == "missing":
        field = _field(path, root)
        return "needed" if field is None else f"needed. {field.description}".rstrip(".")
    # pydantic says what should be, in its own words for most types; "Input should be" is already in our sentence.
    words = {
        "value_error": "{error}",
        "literal_error": "{expected}",
        "string_pattern_mismatch": "text that matches {pattern}",
        "model_type": "a mapping",
        "dict_type": "a mapping",
        "tuple_type": "a list",
        "byte_size": _BYTES,
        "byte_size_unit": _BYTES,
    }.get(kind)
    return detail["msg"].removeprefix("Input should be ") if words is None else words.format_map(context)


def _known_keys(path: Path_, root: type[BaseModel]) -> str:
    model = _type_at(path[:-1], root)
    names = list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
    close = get_close_matches(str(path[-1]), names, n=1)
    return ", ".join(names) + (f" (did you mean {close[0]}?)" if close else "")


def _field(path: Path_, root: type[BaseModel]) -> FieldInfo | None:
    model = _type_at(path[:-1], root)
    if isinstance(model, type) and issubclass(model, BaseModel):
        return model.model_fields.get(str(path[-1]))
    return None


def _type_at(path: Path_, root: type[BaseModel]) -> object:
    """Return the type that `root` has at `path`, without None and annotations."""
    current: object = root
    for part in path:
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(str(part))
            current = None if field is None else field.annotation
        else:
            # The values of a dict come last among its arguments, the items of a list or tuple first.
            arguments = get_args(current) or (None,)
            current = arguments[-1] if get_origin(current) is dict else arguments[0]
        current = _bare(current)
    return current


def _bare(annotation: object) -> object:
    while get_origin(annotation) in {Annotated, Union, UnionType}:
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    return annotation
