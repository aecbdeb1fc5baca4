"""Certificate files that cannot be used, each told with what to do."""

import datetime as dt
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from structlog.testing import capture_logs

from server.certificates import Certificates, TlsFiles
from server.errors import StartError
from tests.certificates import certificate


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    pem, key = certificate()
    (tmp_path / "tls.crt").write_bytes(pem)
    (tmp_path / "tls.key").write_bytes(key)
    return TlsFiles(tmp_path / "tls.crt", tmp_path / "tls.key")


def told_of(files: TlsFiles) -> str:
    with pytest.raises(StartError) as raised:
        Certificates(files)
    return str(raised.value)


def test_a_file_that_is_not_there_or_holds_something_else_is_named(files: TlsFiles, tmp_path: Path) -> None:
    assert "tls.crt cannot be read" not in told_of(TlsFiles(files.certificate, tmp_path / "none"))
    assert "none cannot be read" in told_of(TlsFiles(tmp_path / "none", files.key))
    assert "tls.key holds no certificate" in told_of(TlsFiles(files.key, files.key))
    assert "tls.crt holds no key" in told_of(TlsFiles(files.certificate, files.certificate))
    assert "tls.key holds no certificate" in told_of(TlsFiles(files.certificate, files.key, files.key))


def test_a_key_of_another_certificate_is_told(files: TlsFiles) -> None:
    files.key.write_bytes(certificate()[1])
    assert "is not that of the certificate" in told_of(files)


def test_an_encrypted_key_is_told_with_how_to_decrypt_it(files: TlsFiles) -> None:
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    files.key.write_bytes(key.private_bytes(*form, serialization.BestAvailableEncryption(b"password")))
    assert "openssl pkey -in" in told_of(files)


def test_a_certificate_that_has_expired_is_served_and_warned_of(files: TlsFiles) -> None:
    pem, key = certificate(valid_for=-dt.timedelta(hours=1))
    files.certificate.write_bytes(pem)
    files.key.write_bytes(key)
    with capture_logs() as lines:
        Certificates(files)
    assert [(line["event"], line["log_level"]) for line in lines] == [("the certificate has expired", "warning")]


def test_new_files_are_read_once_also_behind_a_link_and_broken_ones_leave_the_old_context(
    files: TlsFiles, tmp_path: Path
) -> None:
    link = tmp_path / "link.crt"
    link.symlink_to(files.certificate)
    certificates = Certificates(TlsFiles(link, files.key))
    first = certificates.context
    certificates.look()
    assert certificates.context is first
    good = files.certificate.read_bytes()
    with capture_logs() as lines:
        files.certificate.write_bytes(b"half a file")
        certificates.look()
        certificates.look()
        files.certificate.unlink()
        certificates.look()
    assert [line["log_level"] for line in lines] == ["error", "error"]
    assert certificates.context is first
    renamed = tmp_path / "new"
    renamed.write_bytes(good)
    renamed.replace(files.certificate)
    certificates.look()
    assert certificates.context is not first
