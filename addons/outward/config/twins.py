"""The shapes of the configuration as pydantic models: for errors in its words, and the schema for editors.

Loads pydantic; see `shapes`, which reads what is right without it.
"""

from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pydantic
from pydantic import BaseModel, ConfigDict, create_model, model_validator

from outward.config.shapes import BeforeValidator, Field, Model, WithJsonSchema


class _Twin(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        if data is None:
            return {}
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}


_made: dict[type[Model], type[BaseModel]] = {}


def twin(model: type[Model]) -> type[BaseModel]:
    """Return the pydantic model of a shape."""
    if model not in _made:
        fields: dict[str, Any] = {
            name: (_annotation(each), _default(getattr(model, name, ...))) for name, each in model.model_fields.items()
        }
        _made[model] = create_model(
            model.__name__, __base__=_Twin, __doc__=model.__doc__, __module__=model.__module__, **fields
        )
    return _made[model]


def read[M: Model](model: type[M], data: Any) -> M:
    """Return the model of a mapping.

    Raises:
        pydantic.ValidationError: it is none.
    """
    return _shape(model, twin(model).model_validate(data))


def _shape[M: Model](model: type[M], found: BaseModel) -> M:
    return model(**{name: _value(each, getattr(found, name)) for name, each in model.model_fields.items()})


def _value(annotation: Any, value: Any) -> Any:
    """Return a value of pydantic's with our models in the place of their twins."""
    if isinstance(value, BaseModel):
        return next(_shape(each, value) for each in models_in(annotation) if isinstance(value, twin(each)))
    if isinstance(value, list):
        return [_value(annotation, each) for each in value]
    return {key: _value(annotation, each) for key, each in value.items()} if isinstance(value, dict) else value


def _annotation(annotation: Any) -> Any:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return Annotated[_annotation(arguments[0]), *map(_note, arguments[1:])]
    if origin in (Union, UnionType):
        return Union[*map(_annotation, arguments)]
    if origin in (list, dict, tuple):
        return origin[*map(_annotation, arguments)]
    return twin(annotation) if isinstance(annotation, type) and issubclass(annotation, Model) else annotation


def _note(note: Any) -> Any:
    if isinstance(note, Field):
        said = {name: getattr(note, name) for name in note.__slots__}
        return pydantic.Field(**{name: value for name, value in said.items() if value is not None})
    if isinstance(note, BeforeValidator):
        return pydantic.BeforeValidator(note.read)
    return pydantic.WithJsonSchema(dict(note.schema)) if isinstance(note, WithJsonSchema) else note


def _default(value: Any) -> Any:
    return twin(type(value))() if isinstance(value, Model) else value


def models_in(annotation: Any) -> list[type[Model]]:
    """Return the models that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return [annotation]
    return [model for argument in get_args(annotation) if argument is not NoneType for model in models_in(argument)]
