"""Label selectors, as the core API has them: which namespaces and workloads a rule is for."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from energaizer_operator.schema import AsList, Base, LabelKey, Labels, LabelValue, Rule, unset


class SelectorExpression(Base):
    """One demand of a label selector."""

    rules: ClassVar = (
        Rule(
            "(self.operator in ['In', 'NotIn']) == (size(self.values) > 0)",
            "operators In and NotIn need values; Exists and DoesNotExist take none",
            lambda expression: (
                (expression.operator in ("In", "NotIn")) == (len(expression.values) > 0)
            ),
        ),
    )

    key: LabelKey = Field(description="Label key.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(
        description="How the label is compared."
    )
    values: Annotated[tuple[LabelValue, ...], AsList(16)] = Field(
        default=(), description="Values to compare with, for In and NotIn."
    )


class LabelSelector(Base):
    """A core label selector: all demands must hold; an empty one selects everything."""

    match_labels: Labels | None = unset("Labels with exactly these values.")
    match_expressions: Annotated[tuple[SelectorExpression, ...], AsList(16)] = Field(
        default=(), description="Further demands."
    )


def selects(selector: LabelSelector | None, labels: Mapping[str, str]) -> bool:
    """Return whether a selector picks these labels; an absent or empty one picks all."""
    if selector is None:
        return True
    exact = (selector.match_labels or {}).items()
    return all(labels.get(key) == value for key, value in exact) and all(
        _holds(expression, labels) for expression in selector.match_expressions
    )


def _holds(expression: SelectorExpression, labels: Mapping[str, str]) -> bool:
    present = expression.key in labels
    match expression.operator:
        case "In":
            return present and labels[expression.key] in expression.values
        case "NotIn":  # as in Kubernetes, an absent label is not in the list
            return not present or labels[expression.key] not in expression.values
        case "Exists":
            return present
        case "DoesNotExist":
            return not present
