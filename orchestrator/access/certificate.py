"""Certificates for a server in a local network: a CA of this machine's own, and one for the address that it signs.

Phones that trust the CA once go on trusting the server when its certificate is renewed or its address changes. The CA
can sign for addresses of local networks alone (name constraints, RFC 5280, 4.2.1.10): whoever steals its key can't pose
as a site of the internet to those phones.
"""

from __future__ import annotations

import contextlib
import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from orchestrator.private_file import write_private

LOCAL_NETWORKS = tuple(
    map(
        ipaddress.ip_network,
        (  # which the internet doesn't route: RFC 6890, RFC 4193
            "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.2.0/24",
            "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "::1/128", "fc00::/7",
        ),
    )
)  # fmt: skip
"""Networks for whose addresses a certificate can be made."""
# Of names too, else all of them would be allowed.
_MAY_SIGN = [x509.DNSName("localhost"), *(x509.IPAddress(network) for network in LOCAL_NETWORKS)]
_CA_LASTS = timedelta(days=3650)
_LASTS = timedelta(days=397)  # the most that browsers take
_RENEWED_BEFORE = timedelta(days=30)
_CLOCKS_DIFFER = timedelta(days=1)

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class ServerCertificate:
    """Files of a server in a local network, all PEM; `chain` is its certificate and then the CA's."""

    chain: Path
    key: Path
    authority: Path


def is_local(address: IpAddress) -> bool:
    """Whether a certificate can be made for this address."""
    return any(address in network for network in LOCAL_NETWORKS if network.version == address.version)


def ensure_certificate(folder: Path, address: IpAddress, now: datetime | None = None) -> ServerCertificate:
    """The certificate for an address of a local network, in a folder of its own; only its owner can read the files.

    What is there is used. The server's is made anew where it is damaged, ends within 30 days, or is for another
    address; the CA where it is damaged or ends before a certificate that it would sign. Raises OSError, and ValueError
    for an address that is not local.
    """
    if not is_local(address):
        raise ValueError(f"{address} is not an address of a local network")
    now = now or datetime.now(UTC)
    files = ServerCertificate(folder / "server.crt", folder / "server.key", folder / "authority.crt")
    ca = _kept(files.authority, folder / "authority.key")
    if ca is None or ca[0].not_valid_after_utc < now + _LASTS:
        ca = _new_authority(now)
        _write(folder / "authority.key", files.authority, ca[1], ca[0])
    kept = _kept(files.chain, files.key)
    if kept is None or not _serves(kept[0], ca[0], address, now):
        certificate, key = _new_certificate(ca, address, now)
        _write(files.key, files.chain, key, certificate, ca[0])
    return files


def authority_of(chain: Path) -> bytes | None:
    """The CA's certificate as DER, where a chain ends in one that signed itself; None for any other chain.

    Raises OSError and ValueError where the file can't be read.
    """
    last = x509.load_pem_x509_certificates(chain.read_bytes())[-1]
    return last.public_bytes(Encoding.DER) if _is_signed_by(last, last) and _is_authority(last) else None


def fingerprint(certificate: Path) -> str:
    """SHA-256 of the file's first certificate, as browsers show it."""
    return x509.load_pem_x509_certificate(certificate.read_bytes()).fingerprint(hashes.SHA256()).hex(":").upper()


def _new_authority(now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("latentsync-realtime, this machine's own CA")
    certificate = (
        _builder(name, name, key, now, now + _CA_LASTS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.NameConstraints(_MAY_SIGN, None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def _new_certificate(
    ca: tuple[x509.Certificate, ec.EllipticCurvePrivateKey], address: IpAddress, now: datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    authority, ca_key = ca
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    name = _name(f"latentsync-realtime at {address}")  # the bare address would be checked as a DNS name
    certificate = (
        _builder(name, authority.subject, key, now, now + _LASTS)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(address)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return certificate, key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(until - _CLOCKS_DIFFER)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _kept(certificate: Path, key: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None:
    """What the files hold; None where one is missing or damaged, or where they don't belong together."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        secret = load_pem_private_key(key.read_bytes(), None)
        if isinstance(secret, ec.EllipticCurvePrivateKey) and secret.public_key() == found.public_key():
            return found, secret
    return None


def _serves(certificate: x509.Certificate, authority: x509.Certificate, address: IpAddress, now: datetime) -> bool:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return (
        certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - _RENEWED_BEFORE
        and names.get_values_for_type(x509.IPAddress) == [address]
        and _is_signed_by(certificate, authority)
    )


def _is_authority(certificate: x509.Certificate) -> bool:
    with contextlib.suppress(x509.ExtensionNotFound):
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    return False


def _is_signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):  # of another name, or of another kind of key
        return False
    return True


def _write(
    key_path: Path, certificate_path: Path, key: ec.EllipticCurvePrivateKey, *certificates: x509.Certificate
) -> None:
    # The key first: where the second file isn't written any more, they don't belong together, and both are made anew.
    write_private(key_path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
    write_private(certificate_path, "".join(each.public_bytes(Encoding.PEM).decode() for each in certificates))
