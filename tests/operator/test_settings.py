from pathlib import Path

import pytest

from energaizer_operator.settings import Settings, SettingsError

IN_CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


def test_defaults_are_those_of_the_contract() -> None:
    settings = Settings.from_environment(IN_CLUSTER)
    lease = (settings.lease_duration_s, settings.lease_renew_deadline_s, settings.lease_retry_s)
    assert lease == (15, 10.0, 2.0)
    assert (settings.workers, settings.resync_s, settings.page_size) == (10, 600.0, 500)
    assert (settings.webhook_port, settings.probe_port, settings.metrics_port) == (9443, 8081, 8443)
    assert settings.kubeconfig is None


def test_variables_are_read_and_options_win() -> None:
    environment = {
        "ENERGAIZER_OPERATOR_LOG_LEVEL": "debug",
        "ENERGAIZER_OPERATOR_WORKERS": "3",
        "ENERGAIZER_OPERATOR_TRUSTED_CONTROLLERS": "system:a, system:b",
    }
    settings = Settings.from_environment(environment, workers=4)
    assert (settings.log_level, settings.workers) == ("debug", 4)
    assert settings.trusted_controllers == ("system:a", "system:b")


def test_kubeconfig_outside_a_cluster() -> None:
    assert Settings.from_environment({"KUBECONFIG": "/a"}).kubeconfig == Path("/a")
    ours = {"KUBECONFIG": "/a", "ENERGAIZER_OPERATOR_KUBECONFIG": "/b"}
    assert Settings.from_environment(ours).kubeconfig == Path("/b")
    assert Settings.from_environment({}).kubeconfig == Path("~/.kube/config").expanduser()


@pytest.mark.parametrize(
    ("variable", "value"),
    [("WORKERS", "0"), ("WORKER", "3"), ("PROBE_PORT", "65536"), ("LOG_FORMAT", "xml")],
)
def test_illegal_value_or_unknown_name_is_refused_by_name(variable: str, value: str) -> None:
    name = f"ENERGAIZER_OPERATOR_{variable}"
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment({name: value})


def test_a_misspelt_name_is_told_the_right_one() -> None:
    name = "ENERGAIZER_OPERATOR_PROB_PORT"
    with pytest.raises(SettingsError) as raised:
        Settings.from_environment({name: "9"})
    right = "ENERGAIZER_OPERATOR_PROBE_PORT"
    assert str(raised.value) == f"{name}: no such setting; did you mean {right}?"


@pytest.mark.parametrize(
    ("duration", "deadline", "retry"), [("10", "10", "2"), ("3", "10", "2"), ("15", "2", "2")]
)
def test_periods_by_which_two_could_lead_are_refused(
    duration: str, deadline: str, retry: str
) -> None:
    periods = {"DURATION_S": duration, "RENEW_DEADLINE_S": deadline, "RETRY_S": retry}
    stated = {f"ENERGAIZER_OPERATOR_LEASE_{name}": text for name, text in periods.items()}
    with pytest.raises(SettingsError, match="must be below"):
        Settings.from_environment(stated)


def test_variables_that_the_kubelet_makes_of_a_service_are_not_ours() -> None:
    links = {
        "ENERGAIZER_OPERATOR_WEBHOOK_PORT": "tcp://10.0.0.7:9443",
        "ENERGAIZER_OPERATOR_WEBHOOK_SERVICE_HOST": "10.0.0.7",
        "ENERGAIZER_OPERATOR_WEBHOOK_SERVICE_PORT_ADMISSION": "9443",
        "ENERGAIZER_OPERATOR_WEBHOOK_PORT_9443_TCP_ADDR": "10.0.0.7",
    }
    assert Settings.from_environment(IN_CLUSTER | links).webhook_port == 9443


def test_two_processes_of_one_machine_have_two_names() -> None:
    assert Settings.from_environment({}).identity != Settings.from_environment({}).identity
