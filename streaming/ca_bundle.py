"""Finds the certificate authorities that this machine trusts."""

from __future__ import annotations

import os
import ssl
from functools import cache
from pathlib import Path

_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)


@cache
def ca_bundle() -> str | None:
    """Path of a PEM file with trusted CA certificates, `SSL_CERT_FILE` first; None where there is none.

    ffmpeg is always given a file: a static build searches in the paths of the machine that it was built on.
    """
    candidates = (os.environ.get("SSL_CERT_FILE"), ssl.get_default_verify_paths().cafile, *_BUNDLES)
    found = next((path for path in candidates if path and Path(path).is_file()), None)
    if found is not None:
        return found
    try:
        import certifi  # a machine with a bundle of its own needs no other
    except ImportError:
        return None
    return certifi.where()
