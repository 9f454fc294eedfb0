"""Only a chain root → owner → … → node proves anything, and nothing but NotAllowed comes of all others."""

from __future__ import annotations

import random
from datetime import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.errors import NotAllowed
from potluck.overlay.identity.certificates import DEPTH_MAX, issue, may_invite, owners_of, to_pem, verify_chain
from potluck.overlay.identity.keys import KeyPair, derive, signed_by
from potluck.overlay.ids import node_id_of, owner_id_of

from ...strategies.identities import key, member, mesh

ROOT = mesh().root_der


def chain_of(depth: int, *, owners_may_issue: bool = True) -> list[bytes]:
    """A node under `depth - 1` owners, each let in by the one before; the root's own key is not known here."""
    chain = list(mesh().owner_chain)
    issuer = mesh().owner
    for n in range(depth - 2):
        chain.insert(0, issue(issuer, key(2000 + n).public, may_issue=owners_may_issue))
        issuer = key(2000 + n)
    return [issue(issuer, key(1).public, may_issue=False), *chain]


@given(depth=st.integers(2, DEPTH_MAX))
def test_a_right_chain_proves_the_node_and_its_owner(depth: int) -> None:
    chain = chain_of(depth)
    proved = verify_chain(chain, ROOT, chain[0])
    owner = mesh().owner if depth == 2 else key(2000 + depth - 3)
    assert proved.node_id == node_id_of(key(1).public)
    assert proved.owner_id == owner_id_of(owner.public)
    assert proved.node_public_key == key(1).public
    assert proved.leaf_der == chain[0]


def test_members_of_one_data_directory_share_their_owner_and_nothing_else() -> None:
    one, other = (verify_chain(member(n).chain, ROOT, member(n).chain[0]) for n in (1, 2))
    assert one.owner_id == other.owner_id == member(1).owner_id
    assert one.node_id == member(1).node_id != other.node_id


@pytest.mark.parametrize("depth", [DEPTH_MAX + 1, DEPTH_MAX + 5])
def test_a_chain_that_is_too_deep_proves_nothing(depth: int) -> None:
    with pytest.raises(NotAllowed, match="too deep"):
        verify_chain(chain_of(depth), ROOT, chain_of(depth)[0])


def test_the_chain_must_begin_with_the_certificate_that_tls_proved() -> None:
    one, other = member(1).chain, member(2).chain
    for chain in ((), one, other[1:], (*other, *one)):
        leaf = one[0] if chain != one else other[0]
        with pytest.raises(NotAllowed):
            verify_chain(chain, ROOT, leaf)


def test_a_node_lets_nobody_in() -> None:
    node = member(1)
    by_node = issue(node.key, key(7).public, may_issue=False)
    for chain in ([by_node, *node.chain], [by_node, *node.chain[1:]]):
        with pytest.raises(NotAllowed):
            verify_chain(chain, ROOT, by_node)
    owner_by_node = issue(node.key, key(8).public, may_issue=True)
    leaf = issue(key(8), key(7).public, may_issue=False)
    with pytest.raises(NotAllowed):
        verify_chain([leaf, owner_by_node, *node.chain], ROOT, leaf)


def test_an_owner_who_may_not_let_others_in_cannot() -> None:
    chain = chain_of(4, owners_may_issue=False)
    with pytest.raises(NotAllowed):
        verify_chain(chain, ROOT, chain[0])


def crafted(name: x509.Name, subject: KeyPair, signer: KeyPair, *, ca: bool) -> bytes:
    """Subject and issuer bear the same name, which RFC 5280 does not count as a step of the path; we do."""
    builder = x509.CertificateBuilder(name, name, subject.private.public_key(), 1)
    builder = builder.not_valid_before(datetime(2000, 1, 1)).not_valid_after(datetime(9999, 1, 1))
    builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    return builder.sign(signer.private, None).public_bytes(Encoding.DER)


def guest_chain(*, named_like_its_issuer: bool) -> list[bytes]:
    """A node whose owner was let in by a guest, who may not invite."""
    guest = issue(mesh().owner, key(3000).public, may_issue=True, may_invite=False)
    if named_like_its_issuer:
        name = x509.load_der_x509_certificate(guest).subject
        second = crafted(name, key(3001), key(3000), ca=True)
        return [crafted(name, key(1), key(3001), ca=False), second, guest, *mesh().owner_chain]
    second = issue(key(3000), key(3001).public, may_issue=True)
    return [issue(key(3001), key(1).public, may_issue=False), second, guest, *mesh().owner_chain]


def test_a_guest_has_nodes_of_its_own_but_lets_no_owner_in() -> None:
    guest = issue(mesh().owner, key(3000).public, may_issue=True, may_invite=False)
    leaf = issue(key(3000), key(1).public, may_issue=False)
    assert verify_chain([leaf, guest, *mesh().owner_chain], ROOT, leaf).owner_id == owner_id_of(key(3000).public)
    assert not may_invite((guest, *mesh().owner_chain))
    for named_like_its_issuer in (False, True):
        chain = guest_chain(named_like_its_issuer=named_like_its_issuer)
        with pytest.raises(NotAllowed, match="may not invite"):
            verify_chain(chain, ROOT, chain[0])


def test_an_owner_may_invite_while_the_chain_has_room() -> None:
    for depth in range(2, DEPTH_MAX + 1):
        chain = chain_of(depth)
        assert may_invite(chain[1:]) == (depth < DEPTH_MAX)
        assert owners_of(chain)[-1] == owner_id_of(mesh().owner.public)
        assert len(owners_of(chain)) == depth - 1


def test_the_certificate_of_an_owner_is_not_one_of_a_node() -> None:
    """Else whoever an owner lets in could pass for a node of that owner."""
    for chain in ([issue(mesh().owner, key(9).public, may_issue=True), *mesh().owner_chain], list(mesh().owner_chain)):
        with pytest.raises(NotAllowed):
            verify_chain(chain, ROOT, chain[0])


def test_a_member_of_another_mesh_is_none_of_this_one() -> None:
    stranger = member(3, secret=2, owner=2)
    for chain in (stranger.chain, (stranger.chain[0], *mesh().owner_chain), (*stranger.chain, *member(1).chain)):
        with pytest.raises(NotAllowed):
            verify_chain(chain, ROOT, stranger.chain[0])
    copied_names = issue(key(1), key(7).public, may_issue=False)
    with pytest.raises(NotAllowed):
        verify_chain([copied_names, *mesh().owner_chain], ROOT, copied_names)


@given(depth=st.integers(2, 6), data=st.data())
def test_a_chain_in_another_order_or_with_gaps_proves_nothing(depth: int, data: st.DataObject) -> None:
    chain = chain_of(depth)
    rest = data.draw(st.permutations(chain[1:]).map(lambda part: part[: data.draw(st.integers(0, len(part)))]))
    if rest != chain[1:]:
        with pytest.raises(NotAllowed):
            verify_chain([chain[0], *rest], ROOT, chain[0])


@given(junk=st.lists(st.binary(max_size=100), min_size=1, max_size=4), at=st.integers(0, 3))
def test_random_bytes_prove_nothing(junk: list[bytes], at: int) -> None:
    chain = [*member(1).chain[:at], *junk]
    with pytest.raises(NotAllowed):
        verify_chain(chain, ROOT, chain[0])


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_certificate_proves_nothing(seed: int) -> None:
    """Every certificate of the chain, damaged in many places; what the parser makes of it does not matter."""
    chance = random.Random(seed)
    for _ in range(250):
        chain = list(member(1).chain)
        which = chance.randrange(len(chain))
        damaged = bytearray(chain[which])
        for _ in range(chance.choice([1, 1, 1, 2, 4])):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        if bytes(damaged) != chain[which]:
            chain[which] = bytes(damaged)
            with pytest.raises(NotAllowed):
                verify_chain(chain, ROOT, chain[0])


def test_a_certificate_of_a_version_that_does_not_exist_proves_nothing() -> None:
    leaf = member(1).chain[0]
    for version in range(3, 256, 7):
        odd = leaf.replace(b"\xa0\x03\x02\x01\x02", bytes([0xA0, 3, 2, 1, version]), 1)
        assert odd != leaf
        with pytest.raises(NotAllowed):
            verify_chain([odd, *member(1).chain[1:]], ROOT, odd)
        with pytest.raises(NotAllowed):
            verify_chain([leaf, odd, *member(1).chain[1:]], ROOT, leaf)


def test_keys_of_other_kinds_prove_nothing() -> None:
    owner = x509.load_der_x509_certificate(mesh().owner_chain[0])
    for private, digest in (
        (ec.generate_private_key(ec.SECP256R1()), SHA256()),
        (ed448.Ed448PrivateKey.generate(), None),
    ):
        builder = (
            x509.CertificateBuilder()
            .subject_name(owner.subject)
            .issuer_name(owner.subject)
            .public_key(private.public_key())
            .serial_number(1)
            .not_valid_before(owner.not_valid_before_utc)
            .not_valid_after(owner.not_valid_after_utc)
        )
        der = builder.sign(private, digest).public_bytes(Encoding.DER)
        for chain in ([der, *mesh().owner_chain], [der], [member(1).chain[0], der]):
            with pytest.raises(NotAllowed):
                verify_chain(chain, ROOT, chain[0])


def test_issuing_again_gives_the_same_bytes_and_names_nobody() -> None:
    again = issue(mesh().owner, key(1).public, may_issue=False)
    assert again == member(1).chain[0]
    certificate = x509.load_der_x509_certificate(again)
    assert certificate.not_valid_before_utc.year == 2000
    assert certificate.not_valid_after_utc.year == 9999
    assert certificate.subject.rfc4514_string() == f"CN={member(1).node_id.hex()}"
    assert to_pem(member(1).chain).count(b"BEGIN CERTIFICATE") == 2


@given(data=st.binary(max_size=64), junk=st.binary(max_size=80))
def test_a_signature_is_of_one_key_and_one_text(data: bytes, junk: bytes) -> None:
    signature = key(1).sign(data)
    assert signed_by(key(1).public, signature, data)
    assert not signed_by(key(2).public, signature, data)
    assert not signed_by(key(1).public, signature, data + b"x")
    assert not signed_by(junk, signature, data)
    assert not signed_by(key(1).public, junk, data)


@given(secret=st.binary(min_size=32, max_size=32))
def test_what_is_derived_for_one_purpose_says_nothing_of_another(secret: bytes) -> None:
    assert derive(secret, "root") == derive(secret, "root") != derive(secret, "beacon tag")
    assert KeyPair.from_seed(secret).public == KeyPair.from_pem(KeyPair.from_seed(secret).to_pem(), "x").public
