"""Shapes of configuration: models that read themselves, from annotations in the words of pydantic.

Owns the reading of what is right. Whatever is not plainly right is left to pydantic, whose models of the same shapes
are made when they are first needed (`twins`): to say what is wrong, and to write the schema for editors. To load it
takes a third of a start, and a quarter of the memory.
"""

import re
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    Self,
    TypeAliasType,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
)

type Read = Callable[[Any], Any]


class OddError(Exception):
    """A value that is not plainly right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """What a value has to keep to, beside its type; as pydantic's `Field` says it."""

    ge: float | None = None
    le: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class BeforeValidator:
    """Reads a value before its type is looked at; raises ValueError where it cannot."""

    read: Read


@dataclass(frozen=True, slots=True)
class WithJsonSchema:
    """How editors are told of a type."""

    schema: Mapping[str, Any]


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Model:
    """A mapping without unknown keys; a null value means that the key is absent."""

    model_fields: ClassVar[dict[str, Any]]
    """Annotations by name, in order."""

    def __init_subclass__(cls) -> None:
        cls.model_fields = {name: each for name, each in cls.__annotations__.items() if not name.startswith("_")}

    def __init__(self, **values: Any) -> None:
        for name in self.model_fields:
            object.__setattr__(self, name, values[name] if name in values else copy(getattr(type(self), name)))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} does not change")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    @classmethod
    def model_validate(cls, data: Any) -> Self:
        """Return the model of a mapping.

        Raises:
            OddError: it is not plainly right.
        """
        if data is None:
            data = {}
        if not isinstance(data, dict):
            raise OddError
        readers, read = _readers(cls), {}
        for name, value in data.items():
            reader = readers.get(name)
            if reader is None:
                raise OddError
            if value is not None:
                read[name] = reader(value)
        if any(name not in read and not hasattr(cls, name) for name in readers):
            raise OddError
        return cls(**read)

    def model_dump(self) -> dict[str, Any]:
        """Return the values by name, those of models within as mappings."""
        return {name: value.model_dump() if isinstance(value, Model) else value for name, value in vars(self).items()}


_known: dict[type[Model], dict[str, Read]] = {}


def _readers(model: type[Model]) -> dict[str, Read]:
    """Return what reads each key of a model; made when it is first asked for."""
    if model not in _known:
        _known[model] = {name: _reader(each) for name, each in model.model_fields.items()}
    return _known[model]


def _reader(annotation: Any) -> Read:
    """Return what reads a value of a type."""
    if isinstance(annotation, TypeAliasType):
        return _reader(annotation.__value__)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _annotated(arguments[0], arguments[1:])
    if origin is Literal:
        return _literal(arguments)
    if origin is list:
        return _items(list, _reader(arguments[0]))
    if origin is tuple and arguments[1:] == (...,):
        return _items(tuple, _reader(arguments[0]))
    if origin is dict:
        return _entries(_reader(arguments[0]), _reader(arguments[1]))
    if origin in (Union, UnionType):
        return _first_of([_reader(each) for each in arguments if each is not NoneType])
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation.model_validate
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _member(annotation)
    return _exactly(origin or annotation)


def _annotated(inner: Any, notes: tuple[Any, ...]) -> Read:
    before = [each.read for each in reversed(notes) if isinstance(each, BeforeValidator)]
    checks = [check for each in notes if isinstance(each, Field) for check in _checks(each)]
    after = _reader(inner)

    def read(value: Any) -> Any:
        try:
            for each in before:
                value = each(value)
        except ValueError as error:
            raise OddError from error
        value = after(value)
        if not all(check(value) for check in checks):
            raise OddError
        return value

    return read


def _checks(field: Field) -> list[Callable[[Any], bool]]:
    checks: list[Callable[[Any], bool]] = []
    least, most, shortest, longest = field.ge, field.le, field.min_length, field.max_length
    if least is not None:
        checks.append(lambda value: value >= least)
    if most is not None:
        checks.append(lambda value: value <= most)
    if shortest is not None:
        checks.append(lambda value: len(value) >= shortest)
    if longest is not None:
        checks.append(lambda value: len(value) <= longest)
    if field.pattern is not None:
        found = re.compile(re.sub(r"\$$", r"\\Z", field.pattern), re.ASCII).search  # `$` is no line's end in pydantic's
        checks.append(lambda value: found(value) is not None)
    return checks


def _literal(words: tuple[Any, ...]) -> Read:
    def read(value: Any) -> Any:
        for word in words:
            if type(word) is type(value) and word == value:
                return word
        raise OddError

    return read


def _items(of: type[list[Any]] | type[tuple[Any, ...]], item: Read) -> Read:
    def read(value: Any) -> Any:
        if not isinstance(value, list):
            raise OddError
        return of(map(item, value))

    return read


def _entries(key: Read, item: Read) -> Read:
    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise OddError
        return {key(name): item(each) for name, each in value.items()}

    return read


def _first_of(options: list[Read]) -> Read:
    if len(options) == 1:
        return options[0]

    def read(value: Any) -> Any:
        for option in options:
            try:
                return option(value)
            except OddError:
                continue
        raise OddError

    return read


def _member(kind: type[Enum]) -> Read:
    members = {each.value: each for each in kind}

    def read(value: Any) -> Any:
        if not isinstance(value, str) or value not in members:
            raise OddError
        return members[value]

    return read


def _exactly(kind: type) -> Read:
    def read(value: Any) -> Any:
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind:
            raise OddError
        return value

    return read
