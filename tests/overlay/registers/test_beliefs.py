"""What a node believes of the founding while a member lies about it: real keys and chains, every order of what is said.

root ── R ─┬─ A ── its nodes
           ├─ B ── its nodes
           └─ L ─┬─ its nodes          L lies, with everybody it has let in
                 └─ M ── its nodes
"""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from potluck.overlay.identity.bans import BanSet, make_ban
from potluck.overlay.identity.certificates import issue
from potluck.overlay.identity.keys import KeyPair
from potluck.overlay.identity.mesh import Identity, Mesh, found, make_identity
from potluck.overlay.registers.beliefs import Beliefs
from potluck.overlay.registers.witnesses import Witnesses, beyond_one, path_of, stand_for
from potluck.overlay.wire.registers import Configuration, Founded, Witness
from potluck.simulations.entropy import SeededEntropy

ENTROPY = SeededEntropy(1, "beliefs")


def owner_below(above: Mesh) -> Mesh:
    owner = KeyPair.from_seed(ENTROPY.token(32))
    chain = (issue(above.owner, owner.public, may_issue=True), *above.owner_chain)
    return msgspec.structs.replace(above, owner=owner, owner_chain=chain)


ROOT = found(ENTROPY.token(32), KeyPair.from_seed(ENTROPY.token(32)))
A, B, L = owner_below(ROOT), owner_below(ROOT), owner_below(ROOT)
M = owner_below(L)


def node_of(mesh: Mesh) -> Identity:
    return make_identity(mesh, "n", KeyPair.from_seed(ENTROPY.token(32)), ENTROPY)


R1, R2, A1, A2, B1 = (node_of(mesh) for mesh in (ROOT, ROOT, A, A, B))
LIARS = [node_of(mesh) for mesh in (L, L, M, M)]
HONEST = [R1, A1, B1]
TRUE_ID, TRUE_ACCEPTORS = b"\x80truefnd", Configuration(4, [A1.node_id, B1.node_id])
BEFORE = Configuration(2, [A1.node_id])


def news_of(founding: bytes, configuration: Configuration, *witnesses: Identity) -> Founded:
    return Founded(founding, configuration, [stand_for(one, founding) for one in witnesses])


TRUE = news_of(TRUE_ID, TRUE_ACCEPTORS, R1, A1)
OLDER = news_of(TRUE_ID, BEFORE, R1, A1)


def path(identity: Identity) -> tuple[bytes, ...]:
    return path_of(identity.chain, ROOT.root_der)


def beliefs_of(identity: Identity, bans: BanSet | None = None) -> Beliefs:
    bans = BanSet(ROOT.root_der) if bans is None else bans
    return Beliefs(path(identity), Witnesses(ROOT.root_der, bans.is_banned))


def tell(beliefs: Beliefs, teller: Identity, news: Founded) -> None:
    beliefs.told(teller.node_id, path(teller), news)


def lies() -> st.SearchStrategy[Founded]:
    """Everything that L and those below it can make: other foundings with their own signatures and with copied ones,
    and the true founding with acceptors of their choice."""
    configurations = st.builds(Configuration, st.integers(0, 1 << 40), st.just([LIARS[0].node_id]))
    copied = [*TRUE.witnesses, *news_of(TRUE_ID, BEFORE, B1).witnesses]

    def lie(founding: bytes, configuration: Configuration, tellers: list[Identity], copies: bool) -> Founded:
        own = news_of(founding, configuration, *tellers)
        return msgspec.structs.replace(own, witnesses=[*own.witnesses, *(copied if copies else [])])

    foundings = st.sampled_from([bytes(8), b"\x80truefnc", b"\xff" * 8, TRUE_ID])
    tellers = st.lists(st.sampled_from(LIARS), max_size=3)
    return st.builds(lie, foundings, configurations, tellers, st.booleans())


LIES = st.lists(st.tuples(st.sampled_from(LIARS), lies()), max_size=5)


@settings(max_examples=60, deadline=None)
@given(lies=LIES, holder=st.sampled_from([R2, A2, B1]))
def test_who_is_sure_is_moved_by_no_lie_of_one_member(lies: list[tuple[Identity, Founded]], holder: Identity) -> None:
    beliefs = beliefs_of(holder)
    beliefs.learned(TRUE)
    for liar, news in lies:
        tell(beliefs, liar, news)
        assert beliefs.known is not None
        assert (beliefs.known.founding, beliefs.known.configuration) == (TRUE_ID, TRUE_ACCEPTORS)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), lies=LIES, newcomer=st.sampled_from([node_of(A), node_of(B), node_of(owner_below(ROOT))]))
def test_who_is_new_believes_what_is_true_once_the_others_speak(
    data: st.DataObject, lies: list[tuple[Identity, Founded]], newcomer: Identity
) -> None:
    """Whatever comes first. Two who do not stand above the newcomer are enough, or one who does."""
    truths = data.draw(st.sampled_from([[(R1, TRUE)], [(A1, TRUE), (B1, TRUE)], [(A1, OLDER), (R1, TRUE)]]))
    beliefs = beliefs_of(newcomer)
    for teller, news in data.draw(st.permutations([*lies, *truths])):
        tell(beliefs, teller, news)
    assert beliefs.known is not None
    assert (beliefs.known.founding, beliefs.known.configuration) == (TRUE_ID, TRUE_ACCEPTORS)


class Counting(Witnesses):
    """How many witnesses it has been asked for."""

    asked = 0

    def path(self, founding: bytes, witness: Witness) -> tuple[bytes, ...]:
        self.asked += 1
        return super().path(founding, witness)


def test_what_all_say_alike_is_weighed_as_seldom_as_what_one_says() -> None:
    """Every node tells every neighbour of a founding: else a mesh is still for as long as all of that takes."""
    counting = Counting(ROOT.root_der, BanSet(ROOT.root_der).is_banned)
    beliefs = Beliefs(path(A2), counting)
    asked = []
    for teller in [node_of(owner) for owner in (ROOT, A, B) for _ in range(20)]:
        before = counting.asked
        beliefs.told(teller.node_id, path(teller), msgspec.msgpack.decode(msgspec.msgpack.encode(TRUE), type=Founded))
        asked.append(counting.asked - before)
    assert beliefs.known == TRUE and asked[-1] <= asked[1]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), ids=st.lists(st.binary(min_size=8, max_size=8), min_size=2, max_size=4, unique=True))
def test_who_has_heard_the_same_of_several_foundings_agrees_on_one(data: st.DataObject, ids: list[bytes]) -> None:
    heard = []
    for number, founding in enumerate(ids):
        stand = data.draw(st.lists(st.sampled_from([R1, A1, B1, *LIARS]), min_size=1, max_size=4))
        heard.append((HONEST[number % 3], news_of(founding, BEFORE, *stand)))
    believed = set()
    for hearer in (R2, A2):
        beliefs = beliefs_of(hearer)
        beliefs.learned(heard[0][1])
        for _ in range(2):  # everybody tells at every new link
            for teller, news in data.draw(st.permutations(heard)):
                tell(beliefs, teller, news)
        tellers = {teller.node_id: news for teller, news in heard}
        assert beliefs.known is not None and len(tellers) <= 3
        believed.add(beliefs.known.founding)
    if len(ids) <= len(HONEST):
        assert len(believed) == 1


def test_acceptors_that_have_moved_are_believed_of_more_than_one_could_invent() -> None:
    beliefs = beliefs_of(A2)
    beliefs.learned(OLDER)
    tell(beliefs, B1, TRUE)
    assert beliefs.known is not None and beliefs.known.configuration == BEFORE
    tell(beliefs, node_of(owner_below(ROOT)), TRUE)
    assert beliefs.known.configuration == TRUE_ACCEPTORS


def test_what_a_neighbour_said_counts_as_long_as_it_is_one() -> None:
    beliefs = beliefs_of(A2)
    beliefs.learned(OLDER)
    tell(beliefs, B1, TRUE)
    beliefs.gone(B1.node_id)
    tell(beliefs, node_of(owner_below(ROOT)), TRUE)
    assert beliefs.known is not None and beliefs.known.configuration == BEFORE


def test_a_false_founding_ends_with_the_ban_of_who_stands_for_it() -> None:
    """Where nobody nearer to the root was there when it was founded, one alone can outweigh one alone."""
    bans = BanSet(ROOT.root_der)
    alone = news_of(TRUE_ID, TRUE_ACCEPTORS, B1)
    beliefs = beliefs_of(B1, bans)
    beliefs.learned(alone)
    false = news_of(bytes(8), Configuration(9, [LIARS[0].node_id]), *LIARS)
    tell(beliefs, LIARS[0], false)
    assert beliefs.known is not None and beliefs.known.founding == bytes(8)
    bans.learn([make_ban(LIARS[0].chain[1:], ROOT.owner, ROOT.root_der)])
    beliefs.gone(LIARS[0].node_id)
    beliefs.reconsider()
    assert beliefs.known == alone
    assert beliefs.held is not None and beliefs.held.sure


def test_a_founding_by_the_banned_alone_is_none_unless_it_is_in_use() -> None:
    for in_use in (False, True):
        bans = BanSet(ROOT.root_der)
        beliefs = beliefs_of(A1, bans)
        theirs = news_of(TRUE_ID, TRUE_ACCEPTORS, *LIARS)
        tell(beliefs, LIARS[0], theirs)
        if in_use:
            beliefs.learned(theirs)
        bans.learn([make_ban(LIARS[0].chain[1:], ROOT.owner, ROOT.root_der)])
        beliefs.reconsider()
        assert (beliefs.known is not None) == in_use
        tell(beliefs, B1, theirs)
        assert (beliefs.known is not None) == in_use


def test_witnesses_of_one_founding_unite_and_of_too_many_those_nearest_to_the_root_stay() -> None:
    beliefs = beliefs_of(A2)
    tell(beliefs, A1, news_of(TRUE_ID, TRUE_ACCEPTORS, *(node_of(owner_below(A)) for _ in range(8))))
    tell(beliefs, B1, news_of(TRUE_ID, TRUE_ACCEPTORS, B1))
    tell(beliefs, R1, news_of(TRUE_ID, TRUE_ACCEPTORS, R1, R2))
    assert beliefs.known is not None
    witnesses = Witnesses(ROOT.root_der, lambda _: False)
    assert witnesses.weight(beliefs.known) == (1, 1, 6, 0, 0, 0, 0)


def test_a_signature_of_another_mesh_or_founding_is_nobodys_word() -> None:
    elsewhere = node_of(found(ENTROPY.token(32), KeyPair.from_seed(ENTROPY.token(32))))
    beliefs = beliefs_of(A2)
    tell(beliefs, R1, news_of(TRUE_ID, TRUE_ACCEPTORS, elsewhere))
    tell(beliefs, R1, Founded(TRUE_ID, TRUE_ACCEPTORS, [stand_for(R1, b"\x80another")]))
    assert beliefs.known is None


def test_whose_word_one_member_could_have_invented() -> None:
    liars, hearer = [path(one) for one in LIARS], path(A2)
    assert not beyond_one(liars, hearer)
    assert not beyond_one([path(B1)], hearer)
    assert beyond_one([path(B1), liars[0]], hearer)
    assert beyond_one([path(A1)], hearer), "of one's own owner"
    assert beyond_one([path(R1)], hearer), "a founder"
    assert beyond_one(liars, liars[2]), "those whom it has let in are its to rule"
    assert not beyond_one([], hearer)
