"""Engine of what one node believes of the founding, by what its neighbours say.

| known      | what happens                                        | becomes of it                                   |
|------------|-----------------------------------------------------|-------------------------------------------------|
| nothing    | a founding with a witness is told                   | taken up, with the acceptors that most tell of  |
| a founding | the same with other witnesses                       | witnesses unite                                 |
| a founding | another that outweighs it (`witnesses`)             | gives way to it, and is remembered              |
| a founding | any other                                           | nothing                                         |
| a founding | those who stand for it are banned                   | gives way to the heaviest remembered or told;   |
|            |                                                     | none if there is no other, unless it is in use  |
| acceptors  | later ones are told by more than one could invent   | later ones                                      |
| acceptors  | others are told by one who could have invented them | nothing, if the present ones are sure           |
| acceptors  | an own operation finds later ones                   | later ones                                      |

A founding is *in use* once an own operation has found its root: then this node stands for it where nobody else does.
Acceptors are *sure* once more than one could invent have said them, or they follow by own operations from such, or from
a founding of one's own. A node that is new believes anybody until it knows better.

What must hold: no message of one member that stands below the founding's witnesses makes a node leave it, or leave
acceptors that are sure; and whatever one member makes a new node believe ends when others speak, or the liar is banned.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ..wire.registers import Configuration, Founded, Witness
from .witnesses import Path, Witnesses, beyond_one


class _Said(msgspec.Struct, frozen=True):
    path: Path
    news: Founded


class Held(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a founding, as it lies on disk."""

    news: Founded
    sure: bool = False
    in_use: bool = False


class Beliefs:
    def __init__(self, own: Path, witnesses: Witnesses) -> None:
        self._own = own
        self._witnesses = witnesses
        self._said: dict[bytes, _Said] = {}
        """What each neighbour has said last."""
        self._former: Held | None = None
        """The founding that has given way last."""
        self.held: Held | None = None

    @property
    def known(self) -> Founded | None:
        return None if self.held is None else self.held.news

    def told(self, teller: bytes, path: Path, news: Founded) -> None:
        """By a neighbour."""
        if self._witnesses.best(news.founding, news.witnesses):
            self._said[teller] = _Said(path, self._as_told_before(news))
            self.reconsider()

    def _as_told_before(self, news: Founded) -> Founded:
        """What neighbours say alike, as nearly all do, is one object, and weighed once however many there are."""
        return next((said.news for said in self._said.values() if said.news == news), news)

    def _sayings(self) -> Iterable[tuple[Founded, list[Path]]]:
        """What is said, and where those stand who say it."""
        by_news: dict[int, tuple[Founded, list[Path]]] = {}
        for said in self._said.values():
            by_news.setdefault(id(said.news), (said.news, []))[1].append(said.path)
        return by_news.values()

    def gone(self, teller: bytes) -> None:
        """It is a neighbour no more: what it said counts no more."""
        self._said.pop(teller, None)

    def learned(self, news: Founded) -> None:
        """The root as an own operation has found it."""
        held = self.held
        if held is None:
            self.held = Held(news, sure=True, in_use=True)
        elif held.news.founding == news.founding:
            latest = max(held.news.configuration, news.configuration, key=lambda one: one.number)
            self.held = Held(msgspec.structs.replace(held.news, configuration=latest), held.sure, in_use=True)
        self.reconsider()

    def reconsider(self) -> None:
        """By everything that is said now, and by who is banned."""
        heaviest = self._heaviest()
        if heaviest is None:
            return
        held, former = self.held, self._former
        if not heaviest.witnesses and not (held is not None and held.in_use):
            self.held = None
            return
        if held is not None and heaviest.founding != held.news.founding:
            former, self._former = self._former, held
            held = former if former is not None and former.news.founding == heaviest.founding else None
        self.held = self._with_acceptors(heaviest, held)

    def _heaviest(self) -> Founded | None:
        """The founding that outweighs all others, with all its witnesses."""
        by_founding: dict[bytes, list[Founded]] = {}
        kept = [one.news for one in (self.held, self._former) if one is not None]
        for news in (*kept, *(said for said, _ in self._sayings())):
            by_founding.setdefault(news.founding, []).append(news)
        heaviest = None
        for alike in by_founding.values():
            news = self._united(alike)
            if heaviest is None or self._witnesses.outweighs(news, heaviest):
                heaviest = news
        return heaviest

    def _united(self, alike: list[Founded]) -> Founded:
        all_of_them: Iterable[Witness] = (witness for news in alike for witness in news.witnesses)
        return msgspec.structs.replace(alike[0], witnesses=self._witnesses.best(alike[0].founding, all_of_them))

    def _with_acceptors(self, news: Founded, held: Held | None) -> Held:
        present = None if held is None else held.news.configuration
        sure = held is not None and held.sure
        tellers: dict[bytes, tuple[Configuration, list[Path]]] = {}
        for said, paths in self._sayings():
            if said.founding == news.founding:
                configuration = said.configuration
                tellers.setdefault(msgspec.msgpack.encode(configuration), (configuration, []))[1].extend(paths)
        proved = [one for one, paths in tellers.values() if beyond_one(paths, self._own)]
        chosen = present
        if proved:
            latest = max(proved, key=lambda one: one.number)
            if not sure or present is None or latest.number > present.number:
                chosen = latest
            sure = True
        elif tellers and not sure:
            chosen = max(tellers.values(), key=lambda one: (len(set(one[1])), one[0] == present, one[0].number))[0]
        in_use = held is not None and held.in_use
        return Held(msgspec.structs.replace(news, configuration=chosen or news.configuration), sure, in_use)
