"""The contract of a cluster names every reason that a condition or an event may carry."""

from pathlib import Path

import pytest

from energaizer_operator.names import ConditionType, EventReason, Reason

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def contract() -> str:
    """Return chapter 5 of the contract."""
    text = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    return text[text.index("\n## 5 ") : text.index("\n## 6 ")]


@pytest.mark.parametrize("names", [ConditionType, Reason, EventReason])
def test_the_contract_names_each(
    contract: str, names: type[ConditionType] | type[Reason] | type[EventReason]
) -> None:
    assert [str(one) for one in names if f"`{one}`" not in contract] == []


@pytest.mark.parametrize("names", ["ConditionType", "Reason", "EventReason"])
def test_each_is_used(names: str) -> None:
    """A name that nobody writes would be a promise that nobody keeps."""
    rooms = (ROOT / "operator" / "energaizer_operator").rglob("*.py")
    code = "\n".join(room.read_text(encoding="utf-8") for room in rooms if room.stem != "names")
    members = {"ConditionType": ConditionType, "Reason": Reason, "EventReason": EventReason}[names]
    assert [one.name for one in members if f"{names}.{one.name}" not in code] == []
