"""TLS for those who have no proxy: certificates from files, read again when they change."""

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from server.errors import StartError
from server.settings import Settings
from server.watched_file import Stamp, stamp_of

T = TypeVar("T")

LOOK_EVERY: Final = 1.0
"""Seconds between two looks at the files' times."""


class TlsFiles(msgspec.Struct, frozen=True):
    """PEM files: the certificate with its chain, its key, and who signs clients' certificates, if they need one."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> "TlsFiles | None":
        """Return what the settings name; None for plain HTTP."""
        if settings.tls_cert is None or settings.tls_key is None:
            return None
        return cls(settings.tls_cert, settings.tls_key, settings.tls_client_ca)

    def stamps(self) -> tuple[Stamp | None, ...]:
        """Return what changes when one of them does."""
        return tuple(stamp_of(path) for path in (self.certificate, self.key, self.client_ca) if path is not None)


class Certificates:
    """The files as a TLS context, which new handshakes take; those who are connected go on with theirs.

    Raises `StartError` if the files cannot be used.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._stamps = files.stamps()
        self._logger = structlog.get_logger("tls")
        self.context = self._read()

    async def follow(self) -> None:
        """Look at the files for ever. Ends when cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            self.look()

    def look(self) -> None:
        """Take new files over. If they cannot be used (yet), the old ones stay, and the log says why, once."""
        stamps = self._files.stamps()
        if stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            self.context = self._read()
        except StartError as error:
            self._logger.error("new certificate not taken", reason=str(error))  # noqa: TRY400 - the message is all
        else:
            self._logger.info("new certificate taken")

    def _read(self) -> ssl.SSLContext:
        expires = _checked(self._files)
        if expires < datetime.now(UTC):
            self._logger.warning("the certificate has expired", file=str(self._files.certificate), on=str(expires))
        return _context(self._files)


def _checked(files: TlsFiles) -> datetime:
    """Return when the certificate expires. OpenSSL's own words name neither the file nor what to do."""
    certificate = _parsed(files.certificate, lambda pem: x509.load_pem_x509_certificates(pem)[0], "certificate")
    key = _parsed(files.key, lambda pem: load_pem_private_key(pem, None), "key")
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if certificate.public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
        raise StartError(f"The key in {files.key} is not that of the certificate in {files.certificate}.")
    if files.client_ca is not None:
        _parsed(files.client_ca, x509.load_pem_x509_certificates, "certificate")
    return certificate.not_valid_after_utc


def _parsed(path: Path, parse: Callable[[bytes], T], what: str) -> T:
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise StartError(f"{path} cannot be read ({error.strerror}); it must hold a {what} in PEM form.") from None
    except TypeError:  # how the library says that a password is needed
        raise StartError(
            f"The key in {path} is encrypted, and nobody is there to type its password; write it without one: "
            f"openssl pkey -in {path} -out FILE"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise StartError(f"{path} holds no {what} in PEM form that can be read.") from None


def _context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(files.certificate, files.key)
        if files.client_ca is not None:
            context.load_verify_locations(files.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (ssl.SSLError, OSError) as error:
        raise StartError(f"OpenSSL does not take {files.certificate} with {files.key} ({error}).") from None
    return context
