"""Chains of certificates: root → owner → … → node.

One certificate serves as TLS leaf and as statement of who let whom in. It names nobody: subject and issuer are
key ids. Dates run from 2000 to 9999, so that a wrong clock locks nobody out; undoing is done by bans. `CA:TRUE`
is for the root and for owners, never for nodes. An owner who may not let others in has path length 0: it can sign
its own nodes, and a chain in which it has let another owner in is refused by TLS and by `verify_chain` alike.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from ..errors import NotAllowed
from ..ids import NodeId, OwnerId, node_id_of, owner_id_of
from .keys import KeyPair

DEPTH_MAX: Final = 8
_MEMBERS_REMEMBERED: Final = 1024
"""Each takes 3 KiB at most: links come and go, and chains come with records."""
_NOT_BEFORE: Final = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
_NOT_AFTER: Final = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)
_UNUSABLE: Final = (
    ValueError,
    TypeError,
    InternalError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises for certificates that somebody made up."""


class Member(msgspec.Struct, frozen=True):
    """What a verified chain proves about a peer."""

    node_id: NodeId
    owner_id: OwnerId
    node_public_key: bytes
    leaf_der: bytes


def _name(public_key: bytes) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node_id_of(public_key).hex())])


def _serial(issuer: bytes, subject: bytes) -> int:
    """Fixed by the keys, so that issuing again gives the same bytes."""
    return int.from_bytes(hashlib.sha256(issuer + subject).digest()[:8], "big") >> 1 or 1


def issue(issuer: KeyPair, subject_public_key: bytes, *, may_issue: bool, may_invite: bool = True) -> bytes:
    """DER of a certificate by `issuer` for a raw public key: of an owner who may issue, else of a node.

    An owner who may not invite can issue certificates of nodes only.
    """
    path_length = 0 if may_issue and not may_invite else None
    subject_key = Ed25519PublicKey.from_public_bytes(subject_public_key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject_public_key))
        .issuer_name(_name(issuer.public))
        .public_key(subject_key)
        .serial_number(_serial(issuer.public, subject_public_key))
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=may_issue, path_length=path_length), critical=True)
        .add_extension(_key_usage(may_issue), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(subject_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.private.public_key()), critical=False)
    )
    return builder.sign(issuer.private, None).public_bytes(Encoding.DER)


def _key_usage(may_issue: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=may_issue,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def verify_chain(chain: Sequence[bytes], root_der: bytes, leaf_der: bytes) -> Member:
    """Who the owner of `leaf_der` (what TLS proved) is, by the chain it presents: leaf first, root left out.

    Raises NotAllowed when the chain does not begin with that leaf, is too deep, does not lead to the root, or has
    an issuer that may not issue.
    """
    if not chain or chain[0] != leaf_der:
        raise NotAllowed("the chain does not begin with the certificate of the connection")
    if len(chain) > DEPTH_MAX:
        raise NotAllowed(f"a chain of {len(chain)} certificates is too deep")
    return _member(tuple(chain), root_der)


@lru_cache(_MEMBERS_REMEMBERED)
def _member(chain: tuple[bytes, ...], root_der: bytes) -> Member:
    """Follows from these bytes alone, whatever the time and whoever asks; so it is remembered. What is refused is not:
    a stranger cannot fill the memory with it."""
    with _leading_to_the_root():
        leaf, *above = _certificates_to(chain, root_der, owners_below=0)
        if _constraints(leaf).ca:  # else whom an owner let in could pass for a node of that owner
            raise ValueError("the certificate of an owner is not one of a node")
        node_key, owner_key = _public_key(leaf), _public_key(above[0])
    return Member(node_id_of(node_key), owner_id_of(owner_key), node_key, chain[0])


def verify_owners(owner_chain: Sequence[bytes], root_der: bytes) -> None:
    """Raises NotAllowed unless these owners, the lowest first, are of the mesh of that root."""
    if len(owner_chain) >= DEPTH_MAX:
        raise NotAllowed(f"a chain of {len(owner_chain)} owners is too deep")
    with _leading_to_the_root():
        owner, *_ = _certificates_to(owner_chain, root_der, owners_below=1)
        if not _constraints(owner).ca:
            raise ValueError("the certificate of a node is not one of an owner")


@contextmanager
def _leading_to_the_root() -> Iterator[None]:
    try:
        yield
    except _UNUSABLE as error:
        raise NotAllowed(f"the chain does not lead to the root of this mesh: {error}") from error


def _certificates_to(chain: Sequence[bytes], root_der: bytes, *, owners_below: int) -> list[x509.Certificate]:
    """Those of the chain and the root, each issued by the next by one who may."""
    certificates = [x509.load_der_x509_certificate(der) for der in (*chain, root_der)]
    for below, (subject, issuer) in enumerate(pairwise(certificates), owners_below):
        _check_issued(subject, issuer, below)
    return certificates


def owners_of(chain: Sequence[bytes]) -> list[OwnerId]:
    """The owners of a verified chain: whose node it is, who let that one in, and so on up to a founder."""
    return [owner_id_of(public_key) for public_key in public_keys_of(chain[1:])]


def public_keys_of(chain: Sequence[bytes]) -> list[bytes]:
    return [_public_key(x509.load_der_x509_certificate(der)) for der in chain]


def _check_issued(subject: x509.Certificate, issuer: x509.Certificate, owners_below: int) -> None:
    """Every owner counts, also one that bears its issuer's name, which RFC 5280 §6.1.4 would not count."""
    limits = _constraints(issuer)
    if not limits.ca:
        raise ValueError("a certificate was issued by one that may not issue")
    if limits.path_length is not None and owners_below > limits.path_length:
        raise ValueError("an owner was let in by one who may not invite")
    subject.verify_directly_issued_by(issuer)


def may_invite(owner_chain: Sequence[bytes]) -> bool:
    """Whether the owner whose certificate comes first may let another owner in."""
    limits = _constraints(x509.load_der_x509_certificate(owner_chain[0]))
    return limits.ca and limits.path_length is None and len(owner_chain) + 2 <= DEPTH_MAX


def _constraints(certificate: x509.Certificate) -> x509.BasicConstraints:
    return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value


def _public_key(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def to_pem(chain: Sequence[bytes]) -> bytes:
    return b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in chain)
