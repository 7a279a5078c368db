"""Whom we ask and as whom: a kubeconfig, or the pod's own account, as the client takes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.request import getproxies

from kubernetes.aio import config
from kubernetes.aio.client import Configuration

from energaizer_operator.failures import ClusterError
from energaizer_operator.settings import Settings

_DEFAULT_NAMESPACE = "default"
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_SEPARATOR = config.kube_config.ENV_KUBECONFIG_PATH_SEPARATOR


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach the API server, for a library that opens connections of its own."""

    server: str
    ca_path: str | None
    certificate_path: str | None
    private_key_path: str | None
    token: str | None
    insecure: bool

    @classmethod
    def of(cls, known: Configuration) -> Self:
        """Return the parameters of a configuration, with a fresh token; from any thread."""
        if known.refresh_api_key_hook is not None:
            known.refresh_api_key_hook(known)
        token = known.api_key.get("BearerToken")
        return cls(
            server=known.host,
            ca_path=known.ssl_ca_cert,
            certificate_path=known.cert_file,
            private_key_path=known.key_file,
            token=None if token is None else token.split(" ", 1)[-1],
            insecure=not known.verify_ssl,
        )


async def configuration(settings: Settings) -> tuple[Configuration, str]:
    """Return what the client needs to know, and the namespace of whoever names none.

    Nothing is asked of the cluster.

    Raises:
        ClusterError: There is no usable kubeconfig, and no account of a pod.
    """
    # Without a proxy the environment is not asked: aiohttp would look for a netrc at each call.
    made = Configuration(client_session_kwargs={"trust_env": bool(getproxies())})
    where = settings.kubeconfig or "the pod's service account"
    try:
        if settings.kubeconfig is None:
            config.load_incluster_config(client_configuration=made)  # type: ignore[no-untyped-call]
            namespace = _OWN_NAMESPACE.read_text("utf-8").strip() if _OWN_NAMESPACE.exists() else ""
        else:
            loaded = await config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=_present(settings.kubeconfig),
                context=settings.context,
                client_configuration=made,
                persist_config=False,
            )
            namespace = loaded.current_context["context"].get("namespace")
    except OSError as error:
        raise _unusable(where, error.strerror or str(error)) from error
    except config.ConfigException as error:
        raise _unusable(where, str(error)) from error
    except Exception as error:
        # The library looks into whatever YAML there is, and trips over what is no kubeconfig.
        raise _unusable(where, f"it is no kubeconfig ({type(error).__name__})") from error
    return made, namespace or _DEFAULT_NAMESPACE


def _present(kubeconfig: Path) -> str:
    """Return a kubeconfig, or several as `KUBECONFIG` lists them, of which one must be there.

    The library takes a file that is absent for an empty one.

    Raises:
        ConfigException: None is there.
    """
    for part in filter(None, str(kubeconfig).split(_SEPARATOR)):
        if Path(part).expanduser().exists():
            return str(kubeconfig)
    raise config.ConfigException("no such file")


def _unusable(where: object, why: str) -> ClusterError:
    return ClusterError(
        f"no cluster: cannot use {where}: {why}; "
        "set ENERGAIZER_OPERATOR_KUBECONFIG, or pass --kubeconfig or --context"
    )
