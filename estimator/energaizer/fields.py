"""What a class says of its fields, and what pydantic-core is told of their types.

Types may be: numbers, `str`, `bool`, `Any`, literals, enumerations, records, unions, tuples and
dictionaries of those, and any class, whose instances are then taken as they are.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NamedTuple,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

_F = TypeVar("_F", bound=Callable[..., Any])
_PLAIN: Final = {int: "int", float: "float", str: "str", bool: "bool"}
Schema = dict[str, Any]
MISSING: Final = object()
"""The default of a field that has none."""
_ORDER, _LENGTH = frozenset({"ge", "gt", "le", "lt"}), frozenset({"min_length", "max_length"})
_BOUNDS: Final = {
    "int": _ORDER, "float": _ORDER, "str": _LENGTH | {"pattern"}, "dict": _LENGTH, "tuple": _LENGTH,
}  # fmt: skip


class FieldInfo(NamedTuple):
    """What is said about one field beside its type."""

    default: Any = MISSING
    default_factory: Callable[[], Any] | None = None
    bounds: tuple[tuple[str, Any], ...] = ()
    exclude: bool = False
    repr: bool = True
    description: str = ""


def Field(  # noqa: N802 (stands where a value would)
    *,
    default: Any = MISSING,
    default_factory: Callable[[], Any] | None = None,
    description: str = "",
    exclude: bool = False,
    repr: bool = True,  # noqa: A002
    **bounds: Any,
) -> Any:
    """Return what a record's class says about a field.

    Args:
        default: Its value where none is given; without it and a factory the field is required.
        default_factory: What makes that value.
        description: For who reads the class.
        exclude: Leave it out of dumps.
        repr: Show it in `repr`.
        bounds: As pydantic-core names them: ge, gt, le, lt, pattern, min_length, max_length.
    """
    return FieldInfo(default, default_factory, tuple(bounds.items()), exclude, repr, description)


AS_IT_IS: Final = object()
"""In `Annotated`: dump the value by its own class, which may say more than the annotation does."""


def model_validator(*, mode: Literal["before", "after"]) -> Callable[[_F], _F]:
    """Return a decorator: check a whole record, or (a class method) what is to become one."""
    return _marked(mode, "")


def field_validator(name: str) -> Callable[[_F], _F]:
    """Return a decorator of a class method: turn what is given for a field into what it takes."""
    return _marked("before", name)


def _marked(mode: str, field: str) -> Callable[[_F], _F]:
    def mark(function: _F) -> _F:
        function.__dict__["__checks__"] = (mode, field)
        return function

    return mark


def schema_of(hint: Any, bounds: Mapping[str, Any]) -> Schema:
    """Return what checks a value of a type within bounds.

    Raises:
        TypeError: The type is none of those above, or has no such bound.
    """
    if isinstance(hint, type) and hint is not Any:
        return _within(_single(hint), bounds)
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        for told in parts[1:]:
            bounds = {**dict(told.bounds), **bounds} if isinstance(told, FieldInfo) else bounds
        found = schema_of(parts[0], bounds)
        return found | {"serialization": {"type": "any"}} if AS_IT_IS in parts[1:] else found
    if origin in (Union, UnionType):
        choices = [schema_of(part, bounds) for part in parts if part is not NoneType]
        found = choices[0] if len(choices) == 1 else {"type": "union", "choices": choices}
        return {"type": "nullable", "schema": found} if NoneType in parts else found
    return _within({"type": "any"} if hint is Any else _composed(origin, parts), bounds)


def _within(found: Schema, bounds: Mapping[str, Any]) -> Schema:
    unknown = bounds.keys() - _BOUNDS.get(found["type"], frozenset())
    if unknown:
        raise TypeError(f"{found['type']} has no bound {', '.join(unknown)}")
    return {**found, **bounds}


def _single(hint: type) -> Schema:
    """Return what checks a value of a class."""
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    known: Schema | None = getattr(hint, "__pydantic_core_schema__", None)
    if known is not None:
        return known
    if issubclass(hint, Enum):
        sub_type = {"sub_type": "str"} if issubclass(hint, str) else {}
        return {"type": "enum", "cls": hint, "members": list(hint), **sub_type}
    return {"type": "is-instance", "cls": hint}


def _composed(origin: Any, parts: tuple[Any, ...]) -> Schema:
    """Return what checks a literal, a dictionary or a tuple."""
    if origin is Literal:
        return {"type": "literal", "expected": list(parts)}
    if origin is dict:
        keys, values = (schema_of(part, {}) for part in parts)
        return {"type": "dict", "keys_schema": keys, "values_schema": values}
    if origin is not tuple:
        raise TypeError(f"a field of a record cannot be {origin}")
    items = [schema_of(part, {}) for part in parts if part is not Ellipsis]
    length = {"variadic_item_index": 0} if Ellipsis in parts else {}
    return {"type": "tuple", "items_schema": items, **length}
