"""Frozen, checked descriptions: pydantic's validators, built from annotations when first needed.

A description of a GPU, a model or a workload is a subclass of `Record`: annotated fields, bounds
beside them. What checks it is pydantic-core, the engine of pydantic, with the same rules, messages
and JSON as a frozen `pydantic.BaseModel`. The classes of pydantic itself take a third of the start
of a command, since each field is examined when its class is defined, whether or not a value ever
comes; here a class is defined in microseconds, and its validator is built with its first value.

In models of pydantic records serve as fields like any other type.
"""

import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from operator import itemgetter
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Final,
    Literal,
    NoReturn,
    Self,
    cast,
    dataclass_transform,
)

from pydantic_core import (
    CoreSchema,
    InitErrorDetails,
    SchemaSerializer,
    SchemaValidator,
    ValidationError,
)

from energaizer.fields import (
    AS_IT_IS,
    MISSING,
    Field,
    FieldInfo,
    Schema,
    field_validator,
    model_validator,
    schema_of,
)

_NOTHING: Final[Mapping[str, Any]] = {}
__all__ = ["AS_IT_IS", "Field", "Record", "field_validator", "model_validator"]


class _Built:
    """An attribute of each class that is built when somebody first asks for it."""

    def __init__(self, name: str, build: Callable[[Any], Any]) -> None:
        self._name, self._build = name, build

    def __get__(self, instance: object, owner: type) -> Any:
        value = self._build(owner)
        setattr(owner, self._name, value)
        return value


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field,))
class Record:
    """A frozen description; unknown keys are refused.

    NaN and infinity are refused too. With the class argument `extra="ignore"` unknown keys are
    dropped instead.
    """

    __slots__ = (  # the engine sets them
        "__dict__", "__pydantic_extra__", "__pydantic_fields_set__", "__pydantic_private__",
    )  # fmt: skip

    model_fields: ClassVar[dict[str, FieldInfo]] = {}
    _checks: ClassVar[dict[str, tuple[str, str]]] = {}
    _config: ClassVar[dict[str, Any]] = {"extra_fields_behavior": "forbid", "allow_inf_nan": False}
    if TYPE_CHECKING:
        __pydantic_validator__: ClassVar[SchemaValidator]
        __pydantic_serializer__: ClassVar[SchemaSerializer]
        __pydantic_core_schema__: ClassVar[Schema]
        _key: ClassVar[Any]

    def __init_subclass__(
        cls, *, extra: Literal["forbid", "ignore"] | None = None, **options: Any
    ) -> None:
        """Note the fields and checks of a class; nothing is built."""
        super().__init_subclass__(**options)
        own = dict(cls.__dict__)
        if extra is not None:
            cls._config = cls._config | {"extra_fields_behavior": extra}
        fields, checks = {}, {}
        for name, hint in cls.__annotations__.items():
            if name.startswith("_") or _of_class(hint):
                continue
            given = own.get(name, MISSING)
            fields[name] = given if isinstance(given, FieldInfo) else FieldInfo(given)
            if given is not MISSING:
                delattr(cls, name)
        for name, value in own.items():
            check = getattr(value, "__dict__", _NOTHING).get("__checks__")
            if check is not None:
                checks[name] = check
        cls.model_fields = cls.model_fields | fields
        cls._checks = cls._checks | checks
        for name, built in _BUILT.items():  # not what a parent class has built
            setattr(cls, name, built)

    def __init__(self, /, **fields: Any) -> None:
        """Check the fields.

        Raises:
            pydantic_core.ValidationError: A field is missing, unknown or impossible.
        """
        self.__pydantic_validator__.validate_python(fields, self_instance=self)

    @classmethod
    def model_validate(cls, given: Any) -> Self:
        """Return a checked record of some fields; a record of this class is returned as it is.

        Raises:
            pydantic_core.ValidationError: A field is missing, unknown or impossible.
        """
        found: Self = cls.__pydantic_validator__.validate_python(given)
        return found

    @classmethod
    def model_validate_json(cls, text: str | bytes) -> Self:
        """Return a checked record of a JSON text.

        Raises:
            pydantic_core.ValidationError: It is no JSON, or a field is missing or impossible.
        """
        found: Self = cls.__pydantic_validator__.validate_json(text)
        return found

    @classmethod
    def model_construct(cls, **fields: Any) -> Self:
        """Return a record of fields that are known to be right; the rest are defaults."""
        told = {
            name: info.default_factory() if info.default_factory else info.default
            for name, info in cls.model_fields.items()
        }
        return cls.__new__(cls)._placed(told | fields)

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self:
        """Return a copy in which some fields are others, which nobody checks."""
        return type(self).__new__(type(self))._placed({**self.__dict__, **(update or {})})

    def model_dump(
        self,
        *,
        mode: Literal["python", "json"] = "python",
        include: Collection[str] | None = None,
        exclude: Collection[str] | None = None,
        exclude_none: bool = False,
    ) -> dict[str, Any]:
        """Return the fields as a dictionary, records inside as dictionaries too.

        Args:
            mode: In json, only what JSON has: lists for tuples, values of enumerations.
            include: Only these fields; None: all.
            exclude: Without these fields.
            exclude_none: Without fields that are None.
        """
        found: dict[str, Any] = self.__pydantic_serializer__.to_python(
            self,
            mode=mode,
            include=None if include is None else set(include),
            exclude=None if exclude is None else set(exclude),
            exclude_none=exclude_none,
        )
        return found

    def model_dump_json(
        self,
        *,
        indent: int | None = None,
        exclude_none: bool = False,
        exclude_defaults: bool = False,
    ) -> str:
        """Return the fields as a JSON text, if asked without those that are None or defaults."""
        text: bytes = self.__pydantic_serializer__.to_json(
            self, indent=indent, exclude_none=exclude_none, exclude_defaults=exclude_defaults
        )
        return text.decode()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Schema:
        """Return what checks a field of this type in a model of pydantic."""
        return cls.__pydantic_core_schema__

    def _placed(self, fields: dict[str, Any]) -> Self:
        object.__setattr__(self, "__dict__", fields)
        object.__setattr__(self, "__pydantic_fields_set__", set(fields))
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse: a description is frozen."""
        self._refuse(name, value)

    def __delattr__(self, name: str) -> None:
        """Refuse: a description is frozen."""
        self._refuse(name, None)

    def _refuse(self, name: str, value: Any) -> NoReturn:
        fault = InitErrorDetails(type="frozen_instance", loc=(name,), input=value)
        raise ValidationError.from_exception_data(type(self).__name__, [fault])

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields, for copies and pickles."""
        return self.__dict__

    def __setstate__(self, fields: dict[str, Any]) -> None:
        """Take the fields of a copy."""
        self._placed(dict(fields))

    def __eq__(self, other: object) -> bool:
        """Return whether the other is of the same class and says the same."""
        if type(self) is not type(other):
            return NotImplemented
        return self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        """Return a hash of the fields; a record that holds a dictionary has none."""
        return hash(self._key(self.__dict__))

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Yield each field with its value."""
        yield from self.__dict__.items()

    def __repr__(self) -> str:
        """Return the class and its fields."""
        return f"{type(self).__name__}({self._told(', ')})"

    def __str__(self) -> str:
        """Return the fields."""
        return self._told(" ")

    def _told(self, between: str) -> str:
        shown = (name for name, info in self.model_fields.items() if info.repr)
        return between.join(f"{name}={self.__dict__[name]!r}" for name in shown)


def _of_class(hint: Any) -> bool:
    """Return whether an annotation is that of a class, not of its instances."""
    if isinstance(hint, str):
        return hint.startswith("ClassVar")
    return getattr(hint, "__origin__", None) is ClassVar


def _hints(cls: type[Record]) -> dict[str, Any]:
    """Return the types of all fields, those that are written as text looked up."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, Record):
            seen = vars(sys.modules[base.__module__])
            found |= {
                name: eval(hint, seen) if isinstance(hint, str) else hint  # noqa: S307 (our code)
                for name, hint in base.__annotations__.items()
                if name in cls.model_fields
            }
    return found


def _described(cls: type[Record]) -> Schema:
    """Return what checks and dumps the records of a class, in the form of pydantic-core."""
    checks = [(getattr(cls, name), *check) for name, check in cls._checks.items()]
    hints = _hints(cls)
    fields: dict[str, Schema] = {}
    for name, info in cls.model_fields.items():
        schema = _checked(schema_of(hints[name], dict(info.bounds)), checks, "before", name)
        if info.default_factory is not None:
            schema = {"type": "default", "schema": schema, "default_factory": info.default_factory}
        elif info.default is not MISSING:
            schema = {"type": "default", "schema": schema, "default": info.default}
        fields[name] = {"type": "model-field", "schema": schema}
        if info.exclude:
            fields[name]["serialization_exclude"] = True
    inner = {"type": "model-fields", "fields": fields, "model_name": cls.__name__}
    whole = {
        "type": "model",
        "cls": cls,
        "schema": _checked(inner, checks, "before", ""),
        "config": {"title": cls.__name__, **cls._config},
    }
    return _checked(whole, checks, "after", "")


def _checked(schema: Schema, checks: list[tuple[Any, str, str]], mode: str, name: str) -> Schema:
    """Return a schema with the checks of a class around it that are of one mode and field."""
    for function, when, field in checks:
        if (when, field) == (mode, name):
            call = {"type": "no-info", "function": function}
            schema = {"type": f"function-{mode}", "function": call, "schema": schema}
    return schema


def _validator(cls: type[Record]) -> SchemaValidator:
    return SchemaValidator(cast(CoreSchema, cls.__pydantic_core_schema__), {"title": cls.__name__})


def _serializer(cls: type[Record]) -> SchemaSerializer:
    return SchemaSerializer(cast(CoreSchema, cls.__pydantic_core_schema__))


_BUILT: Final = {
    name: _Built(name, build)
    for name, build in {
        "__pydantic_core_schema__": _described,
        "__pydantic_validator__": _validator,
        "__pydantic_serializer__": _serializer,
        "_key": lambda cls: itemgetter(*cls.model_fields),
    }.items()
}
