"""What the environment tells the two processes, read once, checked, frozen.

Every field is one environment variable: its name in capitals behind `ENERGAIZER_OPERATOR_`.
Sequences are separated by commas. A variable of that prefix that names no field is an error, since
a misspelt one would silently leave a default in force.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

PREFIX = "ENERGAIZER_OPERATOR_"


class SettingsError(ValueError):
    """A variable has an illegal value or an unknown name; the message names the variable."""


def _split(value: object) -> object:
    """Return the parts of a comma-separated string, anything else as it is."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _service_link(name: str, value: str) -> bool:
    """Say whether the kubelet set this variable for a Service named like us, not our chart."""
    links = ("_SERVICE_HOST", "_SERVICE_PORT", "_PORT_")
    return value.startswith(("tcp://", "udp://", "sctp://")) or any(link in name for link in links)


def _identity() -> str:
    """Return a name that no other process has, two on one machine included."""
    return f"{socket.gethostname()}-{secrets.token_hex(3)}"


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseModel):
    """Settings of the controller and the webhook; docs/settings.md is made of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kubeconfig: Path | None = None
    """Kubeconfig file of our account; absent: the pod's own account, else `KUBECONFIG`."""
    context: str | None = None
    """Context within the kubeconfig; absent: its current one."""
    namespace: str = "energaizer-system"
    """Our own namespace: Lease, Secret and Service live here, and it is never judged."""
    identity: str = Field(default_factory=_identity)
    """Name of this replica in the Lease and in events; unique among replicas."""

    log_format: Literal["text", "json"] = "text"
    """Form of a log line."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is logged."""

    request_timeout_s: PositiveFloat = 30.0
    """Longest wait for an API request, s; a watch is not a request."""
    page_size: PositiveInt = 500
    """Objects of one page of a list; a page of 500 pods is about 3 MB."""
    watch_timeout_s: PositiveInt = 290
    """After this time the server ends a watch and we open it anew, s; below usual proxies' 300."""
    watch_silence_s: PositiveFloat = 90.0
    """A watch without event or bookmark this long is reopened, s; bookmarks come every 60."""

    feedback_prometheus_url: str = ""
    """Prometheus that scrapes the GPU exporters, such as `http://prometheus:9090`; empty measures
    nothing."""
    feedback_source: Literal["auto", "DCGM", "Kepler", "ROCm"] = "auto"
    """Exporter whose energy counts; `auto` takes the first that has samples."""
    feedback_s: PositiveFloat = 300.0
    """Length of a window of measured energy, s; windows do not overlap."""

    metrics_workload_limit: PositiveInt = 5000
    """Most AIWorkloads with series of their own; the predictions of others are summed."""
    metrics_candidates: bool = False
    """Whether each candidate GPU, clock and cap of a workload has a series of its energy."""

    probe_address: str = ""
    """Address of probes and metrics; empty is every address."""
    probe_port: Port = 8081
    """Port of `/livez` and `/readyz`; 0 takes a free one."""
    metrics_port: Port = 8443
    """Port of `/metrics`; 0 takes a free one."""
    drain_s: Annotated[float, Field(ge=0, le=25)] = 5.0
    """Time between not ready and the end of serving at SIGTERM, s."""

    hold: bool = True
    """Whether budgets that hold may let Jobs and JobSets wait; else they are refused, like what
    cannot wait."""

    power_resource: bool = False
    """Whether GPU nodes advertise `energaizer.io/watts` and pods request their predicted share."""

    node_labels: bool = False
    """Whether nodes get our label `energaizer.io/gpu-profile`, one dialect beside several."""
    annotate_owners: bool = False
    """Whether workloads get their estimate as annotations, as pods do."""

    kueue: bool = False
    """Whether Kueue's AdmissionChecks that name us are answered, where Kueue is installed, and what
    waits for one is not held by budgets too."""
    kueue_retry_s: PositiveInt = 60
    """What a budget has no room for yet is asked about again by Kueue after this time, s."""

    workers: PositiveInt = 10
    """Objects that the leader reconciles at the same time."""
    estimator_threads: PositiveInt = 2
    """Threads on which the leader estimates."""
    resync_s: PositiveFloat = 600.0
    """Every object is reconciled again after this time, s."""
    audit_s: PositiveFloat = 300.0
    """Between two searches for GPU workloads that have no AIWorkload, s."""
    charge_s: PositiveFloat = 60.0
    """Running workloads are charged what they took this often, s."""
    budget_resync_s: PositiveFloat = 300.0
    """The book of reservations is compared with the API server this often, s."""
    lease_duration_s: PositiveInt = 15
    """Age at which a Lease that nobody renewed may be taken over, s."""
    lease_renew_deadline_s: PositiveFloat = 10.0
    """A leader that could not renew for this long stops, s; below the duration."""
    lease_retry_s: PositiveFloat = 2.0
    """Between two attempts to take or renew the Lease, s."""
    event_interval_s: PositiveFloat = 60.0
    """Least time between two events of one object and reason, s."""

    webhook_address: str = ""
    """Address on which admission is served; empty is every address."""
    webhook_port: Port = 9443
    """Port on which admission is served; 0 takes a free one."""
    webhook_share_port: bool = False
    """Whether several replicas of one machine listen on the same address and port."""
    webhook_service: str = "energaizer-webhook"
    """Service through which the API server reaches admission; names the certificate."""
    certificates: Literal["self", "secret"] = "self"
    """Who makes the certificates: `self` makes and rotates them and tells the API server whom to
    trust; `secret` reads what cert-manager or an admin put into the Secret, and writes nothing."""
    certificate_secret: str = "energaizer-webhook-certificate"  # noqa: S105, the name of an object
    """Secret of our own namespace that holds the certificates."""
    certificate_check_s: PositiveFloat = 20.0
    """Between two looks at that Secret, s: a new certificate is served this long after."""
    authority_settling_s: PositiveFloat = 600.0
    """From publishing a new CA of our own to the first leaf that it signs, s: in this time every
    API server must have heard of the new `caBundle`. A watch takes milliseconds."""
    controller_account: str = "energaizer-controller"
    """Account of the controller in our own namespace: what it writes is not judged again."""
    webhook_configuration: str = "energaizer"
    """Name of both webhook configurations, whose `caBundle` the rotator keeps."""
    validation_deadline_s: PositiveFloat = 1.5
    """Time for one validating review, s; the API server waits 3."""
    mutation_deadline_s: PositiveFloat = 1.0
    """Time for one mutating review, s; the API server waits 2."""
    estimate_deadline_s: PositiveFloat = 0.25
    """Time for one estimate at admission, s; a late one fills the cache."""
    owner_deadline_s: PositiveFloat = 0.1
    """Time to read what made an object that is judged, s; too late, it speaks for itself."""
    estimate_cache_size: PositiveInt = 4096
    """Estimates kept, by digest of their inputs."""
    trusted_controllers: Names = (
        "system:kube-controller-manager",
        "system:serviceaccount:kube-system:job-controller",
        "system:serviceaccount:kube-system:replicaset-controller",
        "system:serviceaccount:kube-system:statefulset-controller",
        "system:serviceaccount:jobset-system:jobset-controller-manager",
    )
    """Users whose children of a judged workload are not judged again."""

    @model_validator(mode="after")
    def _one_leader(self) -> Self:
        """Refuse periods of a Lease by which two replicas could lead at once."""
        if not self.lease_retry_s < self.lease_renew_deadline_s < self.lease_duration_s:
            raise ValueError(
                f"LEASE_RETRY_S ({self.lease_retry_s:g}) must be below LEASE_RENEW_DEADLINE_S "
                f"({self.lease_renew_deadline_s:g}), and that below LEASE_DURATION_S "
                f"({self.lease_duration_s})"
            )
        return self

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, **options: object
    ) -> Settings:
        """Return the settings of `environment`, by default the process's own.

        Args:
            environment: Variables by name.
            options: Fields that the command line states; they win.

        Raises:
            SettingsError: A variable has an illegal value or an unknown name.
        """
        variables = os.environ if environment is None else environment
        given: dict[str, Any] = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in variables.items()
            if name.startswith(PREFIX) and value and not _service_link(name, value)
        }
        given |= options
        if "kubeconfig" not in given and "KUBERNETES_SERVICE_HOST" not in variables:
            given["kubeconfig"] = variables.get("KUBECONFIG") or "~/.kube/config"
        if "kubeconfig" in given:
            given["kubeconfig"] = Path(given["kubeconfig"]).expanduser()
        try:
            return cls(**given)
        except ValidationError as error:
            raise SettingsError(_fault(error)) from None


def _fault(error: ValidationError) -> str:
    """Return the first fault in the words of whoever set the variables."""
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if not first["loc"]:
        return message
    variable = PREFIX + "_".join(str(part) for part in first["loc"]).upper()
    if first["type"] != "extra_forbidden":
        return f"{variable}: {message}"
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    close = get_close_matches(variable, known, n=1)
    return f"{variable}: no such setting" + (f"; did you mean {close[0]}?" if close else "")
