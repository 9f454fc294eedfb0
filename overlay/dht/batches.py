"""Several records in one message: to one holder, bounded in number and together no longer than one value may be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..errors import LinkLost
from ..wire import records as wire
from ..wire.framing import VALUE_BYTES_MAX
from ..wire.records import BATCH_MAX, Contact, Record
from .service import Dht
from .store import size_bytes


async def fetch(dht: Dht, holder: Contact, places: Sequence[bytes], *, stale: bool = False) -> wire.Fetched:
    """What it has at the first of these places; `covered` says at how many. Raises Unavailable, NotAllowed."""
    share = dht.share
    if holder.node_id == dht.identity.node_id:
        records = [record for place in places for record in share.at(place)]
        return wire.Fetched(0, len(places), records, [place for place in places if not share.syncing.covers(place)])
    wanted = list(places[:BATCH_MAX])
    fetched = await dht.ask(holder, lambda number: wire.Fetch(number, wanted, stale), wire.Fetched)
    if not 0 < fetched.covered <= len(wanted):
        raise LinkLost("a holder answers for none of the places it was asked for")
    return fetched


def cut(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Into batches that one message carries."""
    batch: list[Record] = []
    room_bytes = VALUE_BYTES_MAX
    for record in records:
        if batch and (len(batch) == BATCH_MAX or size_bytes(record) > room_bytes):
            yield batch
            batch, room_bytes = [], VALUE_BYTES_MAX
        batch.append(record)
        room_bytes -= size_bytes(record)
    if batch:
        yield batch


async def store(dht: Dht, holder: Contact, batch: list[Record]) -> list[wire.Verdict]:
    """One verdict for each record of one batch. Raises Unavailable, NotAllowed."""
    if holder.node_id == dht.identity.node_id:
        answers = await dht.share.keep_many(batch)
        return [wire.Verdict(one.accepted, one.code, one.reason) for one in answers]
    stored = await dht.ask(holder, lambda number: wire.StoreMany(number, batch), wire.StoredMany)
    if len(stored.verdicts) != len(batch):
        raise LinkLost("a holder answers for other records than it was sent")
    return stored.verdicts
