"""Certificates of a local network: verified by a real TLS client, renewed in time, and of no use anywhere else."""

import ipaddress
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from orchestrator.access.certificate import authority_of, ensure_certificate, fingerprint, is_local
from tests.support.tls_front import self_signed

HOME, OTHER = ipaddress.ip_address("192.168.1.5"), ipaddress.ip_address("10.0.0.7")
DAY = timedelta(days=1)


def handshake(chain: Path, key: Path, authority: Path, name: str) -> None:
    """Both sides of a TLS connection; raises ssl.SSLError where the client doesn't trust the server."""
    ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=authority)
    ours.load_cert_chain(chain, key)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = ours.wrap_bio(up, down, server_side=True)
    client = theirs.wrap_bio(down, up, server_hostname=name)
    done: set[ssl.SSLObject] = set()
    while len(done) < 2:
        for side in (client, server):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                continue


def serial(path: Path) -> int:
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


def test_client_that_trusts_the_ca_verifies_the_server_at_its_address(tmp_path: Path) -> None:
    files = ensure_certificate(tmp_path, HOME)
    handshake(files.chain, files.key, files.authority, str(HOME))
    with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
        handshake(files.chain, files.key, files.authority, str(OTHER))
    stranger, _ = self_signed(tmp_path / "stranger")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(files.chain, files.key, stranger, str(HOME))


def test_only_the_owner_can_read_what_is_kept(tmp_path: Path) -> None:
    ensure_certificate(tmp_path / "https", HOME)
    files = list((tmp_path / "https").iterdir())
    assert {file.name for file in files} == {"authority.crt", "authority.key", "server.crt", "server.key"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_certificate_is_kept_until_it_is_near_its_end(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    files = ensure_certificate(tmp_path, HOME, now)
    first, authority = serial(files.chain), serial(files.authority)
    ensure_certificate(tmp_path, HOME, now + 365 * DAY)
    assert serial(files.chain) == first
    ensure_certificate(tmp_path, HOME, now + 368 * DAY)
    assert serial(files.chain) != first
    assert serial(files.authority) == authority, "phones that trust the CA need nothing again"


def test_another_address_gets_another_certificate_of_the_same_ca(tmp_path: Path) -> None:
    files = ensure_certificate(tmp_path, HOME)
    authority = serial(files.authority)
    ensure_certificate(tmp_path, OTHER)
    assert serial(files.authority) == authority
    handshake(files.chain, files.key, files.authority, str(OTHER))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(files.chain, files.key, files.authority, str(HOME))


def test_ca_is_renewed_before_it_ends_sooner_than_what_it_signs(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    files = ensure_certificate(tmp_path, HOME, now - 3400 * DAY)
    old = serial(files.authority)
    ensure_certificate(tmp_path, HOME, now)
    assert serial(files.authority) != old
    handshake(files.chain, files.key, files.authority, str(HOME))


@pytest.mark.parametrize("name", ["server.crt", "server.key", "authority.crt", "authority.key"])
@pytest.mark.parametrize("content", [None, "", "-----BEGIN CERTIFICATE-----\nbroken"])
def test_missing_or_damaged_file_is_made_anew(tmp_path: Path, name: str, content: str | None) -> None:
    files = ensure_certificate(tmp_path, HOME)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    ensure_certificate(tmp_path, HOME)
    handshake(files.chain, files.key, files.authority, str(HOME))


@pytest.mark.parametrize("name", ["example.com", "8.8.8.8"])
def test_stolen_ca_can_sign_nothing_of_the_internet(tmp_path: Path, name: str) -> None:
    files = ensure_certificate(tmp_path, HOME)
    ca = x509.load_pem_x509_certificate(files.authority.read_bytes())
    ca_key = load_pem_private_key((tmp_path / "authority.key").read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    alternative: x509.GeneralName
    try:
        alternative = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        alternative = x509.DNSName(name)
    forged = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    (tmp_path / "forged.crt").write_bytes(forged.public_bytes(Encoding.PEM))
    (tmp_path / "forged.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        handshake(tmp_path / "forged.crt", tmp_path / "forged.key", files.authority, name)


def test_address_of_the_internet_gets_none(tmp_path: Path) -> None:
    assert not is_local(ipaddress.ip_address("8.8.8.8")) and not is_local(ipaddress.ip_address("2001:4860::1"))
    with pytest.raises(ValueError, match=r"8\.8\.8\.8 is not an address of a local network"):
        ensure_certificate(tmp_path, ipaddress.ip_address("8.8.8.8"))
    assert list(tmp_path.iterdir()) == []


def test_ca_is_handed_out_from_the_chain_and_its_key_is_not(tmp_path: Path) -> None:
    files = ensure_certificate(tmp_path, HOME)
    der = authority_of(files.chain)
    assert der is not None
    assert x509.load_der_x509_certificate(der).serial_number == serial(files.authority)
    (tmp_path / "leaf.crt").write_text(
        files.chain.read_text().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
    )
    assert authority_of(tmp_path / "leaf.crt") is None, "a chain without its CA, as those that public CAs sign"
    assert len(fingerprint(files.chain).split(":")) == 32
