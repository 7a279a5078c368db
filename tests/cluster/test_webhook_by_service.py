"""A webhook named by its Service is reached in a process of this machine that binds its address."""

from __future__ import annotations

import json
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from localcluster import Cluster
from polling import until

PORT = 9443
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "judge", "namespace": "default"},
    "spec": {"ports": [{"port": PORT}]},
}


class Refuse(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        review["response"] = {
            "uid": review["request"]["uid"],
            "allowed": False,
            "status": {"code": 403, "message": "refused by a process of this machine"},
        }
        body = json.dumps(review).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    paths = folder / "tls.crt", folder / "tls.key"
    paths[0].write_bytes(signed.public_bytes(pem))
    paths[1].write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    return paths


@pytest.fixture
def judge(cluster: Cluster, tmp_path: Path) -> Iterator[str]:
    """Serve refusals at the address of a Service; return the authority for the webhook."""
    cluster.kubectl("apply", "-f", "-", input=json.dumps(SERVICE))
    address = cluster.kubectl("get", "service", "judge", "-o", "jsonpath={.spec.clusterIP}").stdout
    paths = certificate(tmp_path, "judge.default.svc")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*paths)
    with HTTPServer((address, PORT), Refuse) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield b64encode(paths[0].read_bytes()).decode()
        server.shutdown()
        thread.join()
    cluster.kubectl("delete", "service", "judge")


def test_a_webhook_by_service_judges_objects(cluster: Cluster, judge: str) -> None:
    service = {"namespace": "default", "name": "judge", "port": PORT, "path": "/"}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"]}
    configuration = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "judge"},
        "webhooks": [
            {
                "name": "judge.localcluster.test",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "rules": [{**rule, "resources": ["configmaps"]}],
                "matchConditions": [
                    {"name": "ours", "expression": 'object.metadata.name.startsWith("judged")'}
                ],
                "clientConfig": {"service": service, "caBundle": judge},
            }
        ],
    }
    cluster.kubectl("apply", "-f", "-", input=json.dumps(configuration))
    try:
        create = ("create", "configmap", "judged", "--dry-run=server")
        until(  # the API server learns of a new webhook by a watch of its own
            lambda: "refused by a process of this" in cluster.kubectl(*create, check=False).stderr,
            lambda: cluster.kubectl(*create, check=False),
        )
        cluster.kubectl("create", "configmap", "free")
    finally:
        cluster.kubectl("delete", "validatingwebhookconfiguration", "judge")
