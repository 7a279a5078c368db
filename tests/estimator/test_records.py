"""Records and pydantic's own models say the same of the same input."""

import copy
import json
import math
import pickle
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import pydantic
import pytest
from pydantic import TypeAdapter, ValidationError

from energaizer import catalog, records
from energaizer.gpu import Gpu
from energaizer.records import Record


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Lax(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class LaxRecord(Record, extra="ignore"):
    pass


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Kit(NamedTuple):
    """What both ways of describing are made of."""

    base: Any
    lax: Any
    field: Any
    whole: Any
    of_field: Any
    as_it_is: Any


class Classes(NamedTuple):
    """What is made with a kit."""

    Whole: Any
    Longer: Any


OURS = Kit(
    Record, LaxRecord, records.Field, records.model_validator, records.field_validator,
    lambda kind: Annotated[kind, records.AS_IT_IS],
)  # fmt: skip
THEIRS = Kit(
    Strict, Lax, pydantic.Field, pydantic.model_validator,
    partial(pydantic.field_validator, mode="before"), lambda kind: pydantic.SerializeAsAny[kind],
)  # fmt: skip


def described(kit):
    """Return the same classes, made with one kit."""
    field = kit.field

    class Part(kit.base):
        size: int = field(ge=1, le=9, description="of a part")

        @kit.whole(mode="after")
        def _consistent(self):
            if self.size == 5:
                raise ValueError("no part has five")
            return self

    class Longer(Part):
        length: float = field(default=2.0, gt=0)

    class Loose(kit.lax):
        width: int = 1

    class Whole(kit.base):
        seen: ClassVar[int] = 7
        kind: Literal["a", "b"] = "a"
        name: str = field(pattern="^[a-z]+$")
        colour: Colour | None = None
        count: int = field(default=3, ge=1, lt=100)
        ratio: float | None = field(default=None, gt=0)
        flag: bool = False
        curve: tuple[tuple[float, float], ...] | None = None
        edges: tuple[int, int] = (1, 2)
        rates: dict[str, Annotated[float, field(gt=0)]] = field(min_length=1)
        anything: dict[str, Any] = field(default_factory=dict)
        first: Part
        parts: tuple[Part, ...] = field(default=(), max_length=2)
        wide: kit.as_it_is(Part)
        either: "int | str" = 5
        several: Part | Loose | None = None
        loose: Loose = Loose()
        hidden: int = field(default=1, exclude=True, repr=False)

        @kit.whole(mode="before")
        @classmethod
        def _renamed(cls, given):
            return {"name": "anon", **given} if isinstance(given, dict) else given

        @kit.of_field("first")
        @classmethod
        def _sized(cls, given):
            return {"size": 9} if given == "largest" else given

        @kit.whole(mode="after")
        def _consistent(self):
            if self.count == 50:
                raise ValueError("fifty is not a count")
            return self

    return Classes(Whole, Longer)


BOTH = described(OURS), described(THEIRS)
GOOD = {
    "name": "whole", "colour": "red", "ratio": 1.5, "curve": [[1, 2.5], [2, 3]], "rates": {"x": 1},
    "anything": {"k": [None, 1]}, "first": {"size": 3}, "parts": [{"size": 1}, {"size": 2}],
    "wide": {"size": 4}, "several": {"width": 2, "unknown": 1}, "loose": {"more": 1},
}  # fmt: skip
VALUES = (
    None, "x", "largest", -1, 0, 5, 50, 1.5, "1", "red", True, math.inf, math.nan, 2**70, [], [1],
    [1, 2, 3], {}, {"size": 0}, {"size": 5}, {"size": 7}, {"x": 0}, {"x": "y"}, {1: 2},
)  # fmt: skip


def said(call, classes):
    """Return all that a class says of an input: the faults, or the texts of what it made."""
    try:
        made = call(classes)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        inputs = [repr(fault.pop("input")) for fault in faults]
        return error.title, str(error), faults, inputs
    dumps = [made.model_dump(), made.model_dump(mode="json", exclude_none=True)]
    dumps.append(made.model_dump(include={"name", "parts"}))
    texts = [made.model_dump_json(indent=1), made.model_dump_json(exclude_defaults=True)]
    return repr(made), str(made), repr(dumps), texts


def alike(call):
    """Return what both kits say of an input, which is the same."""
    ours, theirs = (said(call, classes) for classes in BOTH)
    assert ours == theirs
    return ours


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("name", [*GOOD, "kind", "count", "flag", "edges", "either", "unknown"])
def test_a_record_says_what_a_model_of_pydantic_says(name, value):
    given = GOOD | {name: value}
    alike(lambda classes: classes.Whole.model_validate(given))
    alike(lambda classes: classes.Whole(**given))
    alike(lambda classes: classes.Whole.model_validate_json(json.dumps(given)))


@pytest.mark.parametrize("name", GOOD)
def test_a_field_that_is_missing(name):
    given = {key: value for key, value in GOOD.items() if key != name}
    alike(lambda classes: classes.Whole.model_validate(given))


@pytest.mark.parametrize("given", [None, 1, "text", [], {}])
def test_what_is_no_record_at_all(given):
    alike(lambda classes: classes.Whole.model_validate(given))
    alike(lambda classes: classes.Whole.model_validate_json("[1"))


def test_a_subclass_adds_fields_and_is_dumped_by_its_own_class_where_asked():
    told = alike(
        lambda classes: classes.Whole(
            **GOOD | dict.fromkeys(("first", "wide"), classes.Longer(size=2))
        )
    )
    assert '"first": {\n  "size": 2\n }' in told[-1][0]
    assert '"wide": {\n  "size": 2,\n  "length": 2.0\n }' in told[-1][0]


def test_copies_pickles_and_equality():
    gpu = catalog.gpu("h100-sxm")
    for again in (copy.copy(gpu), copy.deepcopy(gpu), pickle.loads(pickle.dumps(gpu))):
        assert again == gpu
        assert again is not gpu
    assert Gpu.model_validate(gpu) is gpu
    assert gpu.model_copy(update={"power_limit_w": 1.0}) != gpu
    assert gpu.model_copy().model_dump_json() == gpu.model_dump_json()
    assert hash(gpu.link) == hash(gpu.link.model_copy())
    assert gpu.link != gpu.source
    assert dict(gpu.link) == {"kind": "NVLink", "bandwidth": gpu.link.bandwidth}
    assert Gpu.model_construct(name="bare").clock_step_hz == 15e6


def test_a_record_is_frozen():
    link = catalog.gpu("h100-sxm").link
    for change in (lambda: setattr(link, "kind", "PCIe"), lambda: delattr(link, "kind")):
        with pytest.raises(ValidationError, match="Instance is frozen"):
            change()
    assert link.kind == "NVLink"


def test_a_record_is_a_field_of_a_model_of_pydantic():
    link = catalog.gpu("h100-sxm").link
    adapter = TypeAdapter(dict[str, type(link)])
    assert adapter.validate_python({"a": link.model_dump()}) == {"a": link}
    assert adapter.dump_python({"a": link}) == {"a": link.model_dump()}


def test_a_type_or_a_bound_that_no_record_knows_is_refused():
    class Listed(Record):
        names: list[str]

    class Misspelt(Record):
        size: int | None = records.Field(gte=1)

    with pytest.raises(TypeError, match="list"):
        Listed(names=[])
    with pytest.raises(TypeError, match="no bound gte"):
        Misspelt(size=1)
