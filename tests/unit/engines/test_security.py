"""Certificates of a run: what they are good for, and what not."""

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from timeeval.engines.security import Authority


def certificate(credentials):
    return x509.load_pem_x509_certificate(credentials.certificate.encode())


def uses(credentials):
    return set(certificate(credentials).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_a_client_can_never_be_a_server():
    authority = Authority.make("run")

    assert uses(authority.issue("client")) == {ExtendedKeyUsageOID.CLIENT_AUTH}
    both = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    assert uses(authority.issue("worker")) == uses(authority.issue("scheduler")) == both


def test_a_leaf_cannot_sign():
    leaf = certificate(Authority.make("run").issue("worker"))

    assert leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign is False


def test_certificates_bear_clocks_that_differ_and_end():
    leaf = certificate(Authority.make("run").issue("worker"))
    now = datetime.now(UTC)

    assert leaf.not_valid_before_utc < now - timedelta(hours=12)
    assert now + timedelta(days=30) < leaf.not_valid_after_utc < now + timedelta(days=100)


def test_runs_share_nothing():
    one, other = (Authority.make("run").issue("worker") for _ in range(2))

    assert one.authority != other.authority
    assert one.key != other.key


def handshake(tmp_path, server, client, authority):
    """Do a TLS 1.3 handshake in memory; both sides demand a certificate of the authority."""

    def context(purpose, credentials):
        file = tmp_path / f"{credentials.role}.pem"
        file.write_text(credentials.certificate + credentials.key)
        made = ssl.create_default_context(purpose, cadata=authority.issue("client").authority)
        made.minimum_version = ssl.TLSVersion.TLSv1_3
        made.verify_mode, made.check_hostname = ssl.CERT_REQUIRED, False
        made.load_cert_chain(file)
        return made

    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        context(ssl.Purpose.SERVER_AUTH, client).wrap_bio(to_client, to_server),
        context(ssl.Purpose.CLIENT_AUTH, server).wrap_bio(to_server, to_client, server_side=True),
    ]
    done = set()
    for _ in range(10):
        for end in ends:
            if end not in done:
                try:
                    end.do_handshake()
                    done.add(end)
                except ssl.SSLWantReadError:
                    continue
    return len(done) == 2


def test_roles_of_one_run_meet(tmp_path):
    authority = Authority.make("run")

    assert handshake(tmp_path, authority.issue("scheduler"), authority.issue("client"), authority)


def test_another_runs_server_is_refused(tmp_path):
    authority = Authority.make("run")

    with pytest.raises(ssl.SSLError):
        handshake(tmp_path, Authority.make("run").issue("scheduler"), authority.issue("client"), authority)


def test_a_client_key_does_not_serve(tmp_path):
    authority = Authority.make("run")

    with pytest.raises(ssl.SSLError, match="purpose"):
        handshake(tmp_path, authority.issue("client"), authority.issue("worker"), authority)
