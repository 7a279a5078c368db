"""Makes the keys, certificates, tokens and kubeconfigs of one instance; they die with it."""

from __future__ import annotations

import secrets
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from localcluster.places import write_private

USERS = {
    "admin": ("energaizer-admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kwok": ("system:kwok", "system:masters"),
}
"""Token holders: name of the kubeconfig -> user and group."""

LIFETIME = timedelta(days=30)


@dataclass(frozen=True)
class Credentials:
    """Files and tokens under the `pki` folder of an instance."""

    folder: Path
    tokens: dict[str, str]

    @property
    def authority(self) -> Path:
        """Certificate of the authority that signed the server's."""
        return self.folder / "ca.crt"


def create(instance: Path, services: IPv4Network) -> Credentials:
    """Write fresh credentials.

    Args:
        instance: The folder of the instance.
        services: Its service range; the certificate covers the address of `kubernetes`.
    """
    folder = instance / "pki"
    folder.mkdir(mode=0o700)
    ca_key, server_key, account_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localcluster")])
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
    ca = (
        _certificate(ca_name, ca_name, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    addresses = [IPv4Address("127.0.0.1"), services[1]]
    alternatives = [*map(x509.DNSName, names), *map(x509.IPAddress, addresses)]
    server = (
        _certificate(server_name, ca_name, server_key)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    write_private(folder / "ca.crt", ca.public_bytes(pem).decode())
    write_private(folder / "apiserver.crt", server.public_bytes(pem).decode())
    write_private(folder / "apiserver.key", _private_text(server_key))
    write_private(folder / "accounts.key", _private_text(account_key))
    public = account_key.public_key().public_bytes(
        pem, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    write_private(folder / "accounts.pub", public.decode())
    tokens = {name: secrets.token_urlsafe(32) for name in USERS}
    rows = [
        ",".join(filter(None, (tokens[name], user, user, group)))
        for name, (user, group) in USERS.items()
    ]
    write_private(folder / "tokens.csv", "\n".join(rows) + "\n")
    return Credentials(folder, tokens)


def write_kubeconfig(
    path: Path,
    *,
    context: str,
    server: str,
    authority: Path,
    token: str,
    namespace: str = "default",
) -> None:
    """Write a kubeconfig for one token, readable by its owner alone.

    Args:
        path: The file.
        context: Name of its only context, shown in prompts.
        server: URL of the API server.
        authority: Certificate of the authority, copied into the file.
        token: Bearer token.
        namespace: Namespace where none is given.
    """
    ca = b64encode(authority.read_bytes()).decode()
    chosen = {"cluster": context, "user": context, "namespace": namespace}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": context, "cluster": {"server": server, "certificate-authority-data": ca}}
        ],
        "users": [{"name": context, "user": {"token": token}}],
        "contexts": [{"name": context, "context": chosen}],
        "current-context": context,
    }
    write_private(path, yaml.safe_dump(content, sort_keys=False))


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    """Return an unsigned certificate of `key`, valid from an hour ago."""
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """Return the key usage of an authority or of a server."""
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _private_text(key: ec.EllipticCurvePrivateKey) -> str:
    """Return a private key as PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
