"""Engine of what goes out of a node's share: what a node that leaves owes to those after it, and copies that nobody
needs any more.

    leaving    Who holds a place once this node is gone, its heirs, are the nearest of the others. Where most of them
               have what is here, reads and writes go on as before, and the rest fetch it from each other. Where fewer
               have it, each heir that lacks it is given it before the goodbye.
    surplus    A place that this node neither holds nor keeps a further copy of. Its copy goes once every holder has
               listed all that is here, so that dropping it never leaves fewer copies than there should be.

Both hold for any listings, however old: a copy is only ever added by the one, and dropped by the other only beside
`replicas` others that said they have it. What is stale is left to `syncing`, which knows whether it was deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..ids import NodeId
from ..wire.records import Holding
from .syncing import Listing, View, adds

Holdings = Mapping[bytes, Holding]
Listings = Mapping[NodeId, Listing]


def owed(view: View, own: Holdings, listings: Listings) -> dict[NodeId, list[bytes]]:
    """By heir, the places to give it. `listings`: of all the others in the view that answer."""
    given: dict[NodeId, list[bytes]] = {}
    for place, mine in own.items():
        if mine.stale:
            continue
        heirs = view.heirs(place, listings)
        lacking = [heir for heir in heirs if not _has(listings[heir], mine)]
        if 2 * len(lacking) >= len(heirs):
            for heir in lacking:
                given.setdefault(heir, []).append(place)
    return given


def spare(view: View, own: Holdings, keepers: Callable[[bytes], int]) -> list[bytes]:
    """Places that are none of this node's affair. `keepers(place)`: how many of the nearest nodes keep it."""
    return [place for place, mine in own.items() if not mine.stale and view.rank(place) >= keepers(place)]


def surplus(view: View, spared: Holdings, listings: Listings) -> list[bytes]:
    """Of those, the ones that every holder has listed."""
    return [
        place
        for place, mine in spared.items()
        if all(_has(listings.get(NodeId(holder)), mine) for holder in view.nearest(place))
    ]


def _has(listing: Listing | None, mine: Holding) -> bool:
    """Whether there is all of what is here, or something later."""
    theirs = None if listing is None else listing.holdings.get(mine.place)
    return theirs is not None and not theirs.stale and not adds(mine, theirs)
