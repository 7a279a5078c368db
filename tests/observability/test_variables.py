"""The page of settings: what stands in a row comes from model, templates and values."""

from energaizer_operator.settings import Settings
from observability.pages import CHART
from observability.variables import settings_page


def rows() -> dict[str, list[str]]:
    lines = settings_page(CHART).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "`" in line[:3]]
    return {name.strip("`").lower(): rest for name, *rest in cells}


def test_every_setting_has_a_row_and_a_meaning() -> None:
    found = rows()
    assert list(found) == list(Settings.model_fields)
    assert [name for name, (*_, meaning) in found.items() if len(meaning) < 10] == []


def test_a_row_says_what_is_taken_by_default_and_where_the_chart_sets_it() -> None:
    found = rows()
    assert found["audit_s"][:3] == ["number above 0", "`300`", "`settings.audit_s`"]
    assert found["kueue"][:3] == ["`true`, `false`", "`false`", "`kueue.enabled`, `true`"]
    assert found["drain_s"][0] == "number, 0 to 25"
    assert found["trusted_controllers"][2] == "`webhook.trustedControllers`"
    assert {name for name, cells in found.items() if cells[2] == "set by it"} == {
        *("namespace", "identity", "probe_address", "webhook_address"),
        *("webhook_service", "webhook_configuration", "controller_account"),
    }
