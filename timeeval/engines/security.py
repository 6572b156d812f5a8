"""A certificate authority that lives for one run in the driver's memory, and the credentials of each role.

Dask does not compare names in certificates: whoever holds any credentials of the authority is inside. So each run has
its own authority, its key is never written and is forgotten when the run ends, and each role gets only its own key.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Role = Literal["scheduler", "worker", "client"]

VALID_FOR = timedelta(days=92)
CLOCK_SKEW = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one role needs, as PEM texts; never shown by `repr`."""

    role: Role
    authority: str
    certificate: str
    key: str

    def __repr__(self) -> str:
        return f"Credentials(role={self.role!r})"

    def dask_config(self) -> dict[str, object]:
        """Return the value of ``distributed.comm.tls`` for this role."""
        own = {"cert": self.certificate, "key": self.key}
        return {"min-version": 1.3, "ca-file": self.authority, self.role: own}


class Authority:
    """A certificate authority for one run.

    Parameters
    ----------
    certificate : x509.Certificate
        Its own certificate.
    key : ec.EllipticCurvePrivateKey
        Its key; stays in this object.
    """

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def make(cls, run_id: str) -> Self:
        """Return a new authority that nobody else has the key of."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"timeeval run {run_id}"[:64])
        certificate = (
            _builder(name, name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    def issue(self, role: Role) -> Credentials:
        """Return new credentials; only a scheduler's and a worker's may be those of a listening socket."""
        key = ec.generate_private_key(ec.SECP256R1())
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if role != "client":
            uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
        certificate = (
            _builder(_name(f"timeeval {role}"), self._certificate.subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(f"{role}.timeeval.invalid")]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._certificate.public_key()),  # type: ignore[arg-type]
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Credentials(role, _pem(self._certificate), _pem(certificate), private.decode())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + VALID_FOR)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
