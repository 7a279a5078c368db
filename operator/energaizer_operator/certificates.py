"""Makes and inspects the webhook's own certificates, as bytes.

The API server calls a webhook only over TLS that it can verify, and a cluster without cert-manager
has nobody to issue such a certificate. So the webhook is its own authority: a CA of ten years signs
leaves of ninety days. Everything that is stored, and everything that is decided about it, is one
frozen `Material`; `renew` takes the stored one and the time and returns the next one, or the same.

A new CA is first published beside the old one and signs a leaf only when it is trusted everywhere,
so no connection ever meets a certificate that its caller does not know.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=90)
CLOCK_SKEW = timedelta(minutes=5)  # validity starts this much earlier, for clocks that lag
ROTATE_AT = 2 / 3  # of the lifetime: a month is left to notice that rotation fails


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True)
class Material:
    """What the Secret holds: a serving pair, the CA that signs the next one, every CA to trust."""

    leaf: KeyPair
    authority: KeyPair
    trusted: bytes  # PEM bundle for `caBundle`; the current CA first, then older ones still valid


def make_authority(name: str, now: datetime, lifetime: timedelta = AUTHORITY_LIFETIME) -> KeyPair:
    """Return a self-signed CA, ECDSA P-256, whose serial keeps it apart from its predecessors."""
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, name[:64]),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, f"{serial:x}"),
        ]
    )
    builder = (
        _builder(subject, subject, key.public_key(), now, lifetime)
        .serial_number(serial)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _pair(builder.sign(key, hashes.SHA256()), key)


def make_leaf(
    authority: KeyPair, names: tuple[str, ...], now: datetime, lifetime: timedelta = LEAF_LIFETIME
) -> KeyPair:
    """Return a serving certificate for the DNS `names`, signed by `authority`."""
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    issuer_key = _private_key(authority.key)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    builder = (
        _builder(subject, issuer.subject, key.public_key(), now, lifetime)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    return _pair(builder.sign(issuer_key, hashes.SHA256()), key)


def make(names: tuple[str, ...], now: datetime) -> Material:
    """Return a first CA with a first leaf for `names`."""
    authority = make_authority(_authority_name(names), now)
    return Material(make_leaf(authority, names, now), authority, authority.certificate)


def renew(stored: Material | None, names: tuple[str, ...], now: datetime, known: bytes) -> Material:
    """Return what should be stored at `now`: `stored` itself while nothing is due.

    Args:
        stored: What the Secret holds; None if it is empty or unreadable.
        names: DNS names under which the API server calls the webhook.
        now: The time, aware.
        known: The CA bundle that every caller trusts already, PEM; empty if there is none yet.
    """
    if stored is None or not _fits(stored.authority, now):
        fresh = make(names, now)
        old = b"" if stored is None else _valid(stored.trusted, now)
        return Material(fresh.leaf, fresh.authority, fresh.trusted + old)
    authority = stored.authority
    trusted = authority.certificate + _valid(stored.trusted, now, authority.certificate)
    if not is_sound(stored, now):
        return Material(make_leaf(authority, names, now), authority, trusted)
    if needs_rotation(authority.certificate, now):
        authority = make_authority(_authority_name(names), now)
        return Material(stored.leaf, authority, authority.certificate + trusted)
    leaf = stored.leaf
    if is_issued_by(leaf.certificate, authority.certificate):
        due = needs_rotation(leaf.certificate, now, names)
    else:
        due = contains(known, authority.certificate)  # every caller knows the new CA: let it sign
    return Material(make_leaf(authority, names, now) if due else leaf, authority, trusted)


def needs_rotation(certificate: bytes, now: datetime, names: tuple[str, ...] = ()) -> bool:
    """Say whether two thirds of a certificate's life are over, or it lacks one of `names`."""
    loaded = x509.load_pem_x509_certificate(certificate)
    start, end = loaded.not_valid_before_utc, loaded.not_valid_after_utc
    if not start <= now < start + (end - start) * ROTATE_AT:
        return True
    return not set(names) <= set(dns_names(certificate))


def is_sound(material: Material, now: datetime) -> bool:
    """Say whether `material` can serve at `now`: readable, keys that fit, valid, issuer trusted."""
    if not (_fits(material.leaf, now) and _fits(material.authority, now)):
        return False
    try:
        bundle = split(material.trusted)
    except ValueError:
        return False
    return any(is_issued_by(material.leaf.certificate, authority) for authority in bundle)


def is_issued_by(certificate: bytes, authority: bytes) -> bool:
    """Say whether `authority` signed `certificate`, both PEM."""
    try:
        x509.load_pem_x509_certificate(certificate).verify_directly_issued_by(
            x509.load_pem_x509_certificate(authority)
        )
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def belong_together(pair: KeyPair) -> bool:
    """Say whether certificate and key are readable PEM, of any algorithm, and one pair."""
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate)
        key = serialization.load_pem_private_key(pair.key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return certificate.public_key() == key.public_key()


def contains(bundle: bytes, authority: bytes) -> bool:
    """Say whether a PEM bundle holds `authority`; an unreadable bundle holds nothing."""
    try:
        wanted = x509.load_pem_x509_certificate(authority)
        return wanted in x509.load_pem_x509_certificates(bundle) if bundle.strip() else False
    except ValueError:
        return False


def split(bundle: bytes) -> list[bytes]:
    """Return the certificates of a PEM bundle, one by one.

    Raises:
        ValueError: There is none, or one is unreadable.
    """
    certificates = x509.load_pem_x509_certificates(bundle)
    return [certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates]


def expiry(certificate: bytes) -> datetime:
    """Return the end of a certificate's validity, aware."""
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc


def dns_names(certificate: bytes) -> tuple[str, ...]:
    """Return the DNS names that a certificate speaks for."""
    loaded = x509.load_pem_x509_certificate(certificate)
    try:
        names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(names.value.get_values_for_type(x509.DNSName))


def _authority_name(names: tuple[str, ...]) -> str:
    return f"{names[0]} CA"


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + lifetime)
    )


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    return KeyPair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _private_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("not an elliptic-curve key")
    return key


def _fits(pair: KeyPair, now: datetime) -> bool:
    """Say whether a pair is readable, its key is the certificate's, and it is valid at `now`."""
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate)
        if certificate.public_key() != _private_key(pair.key).public_key():
            return False
    except (ValueError, TypeError):
        return False
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc


def _valid(bundle: bytes, now: datetime, but: bytes = b"") -> bytes:
    """Return the certificates of a bundle that have not expired; nothing of an unreadable one."""
    try:
        return b"".join(pem for pem in split(bundle) if now < expiry(pem) and pem != but)
    except ValueError:
        return b""
