"""Values of any wire type, within the bounds that the type itself states."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import msgspec.inspect as mi
from hypothesis import strategies as st
from potluck.overlay.wire import control, pairing, rotation, worker
from potluck.overlay.wire.beacon import BEACON, SEEKING
from potluck.overlay.wire.codec import Codec, Message
from potluck.overlay.wire.peer import PEER

CODECS: dict[str, Codec[Any]] = {
    "peer": PEER,
    "to_node": control.TO_NODE,
    "to_program": control.TO_PROGRAM,
    "to_worker": worker.TO_WORKER,
    "from_worker": worker.FROM_WORKER,
    "beacon": BEACON,
    "seeking": SEEKING,
    "to_inviter": pairing.TO_INVITER,
    "to_joiner": pairing.TO_JOINER,
    "admission": pairing.ADMISSION,
    "to_new_root": rotation.TO_NEW_ROOT,
    "to_returning": rotation.TO_RETURNING,
}
"""Everything that is spoken, by who reads it."""

_SIZE_MAX = 24
"""Texts and byte strings are drawn no longer than this, unless their type wants more."""
_ITEMS_MAX = 3
_INT64 = (-(1 << 63), (1 << 63) - 1)


@cache
def of_type(wire_type: Any) -> st.SearchStrategy[Any]:
    """Legal values of a msgspec type."""
    return _strategy(mi.type_info(wire_type))


def _strategy(info: mi.Type) -> st.SearchStrategy[Any]:
    match info:
        case mi.NoneType():
            return st.none()
        case mi.BoolType():
            return st.booleans()
        case mi.IntType():
            return _integers(info)
        case mi.FloatType():
            return st.floats(info.ge, info.le, allow_nan=False)
        case mi.StrType(pattern=str(pattern)):
            return st.from_regex(pattern).filter(lambda text: len(text) <= (info.max_length or len(text)))
        case mi.StrType():
            return st.text(min_size=info.min_length or 0, max_size=_longest(info, _SIZE_MAX))
        case mi.BytesType():
            return st.binary(min_size=info.min_length or 0, max_size=_longest(info, _SIZE_MAX))
        case mi.ListType():
            most = _longest(info, _ITEMS_MAX)
            return st.lists(_strategy(info.item_type), min_size=info.min_length or 0, max_size=most)
        case mi.VarTupleType():
            return st.lists(_strategy(info.item_type), max_size=_longest(info, _ITEMS_MAX)).map(tuple)
        case mi.TupleType():
            return st.tuples(*map(_strategy, info.item_types))
        case mi.DictType():
            return st.dictionaries(_strategy(info.key_type), _strategy(info.value_type), max_size=_ITEMS_MAX)
        case mi.UnionType():
            return st.one_of([_strategy(one) for one in info.types])
        case mi.LiteralType() | mi.EnumType():
            return st.sampled_from(list(info.values) if isinstance(info, mi.LiteralType) else list(info.cls))
        case mi.StructType():
            return st.builds(info.cls, **{field.name: _strategy(field.type) for field in info.fields})
    raise AssertionError(f"the wire carries no {info}")


def _integers(info: mi.IntType) -> st.SearchStrategy[int]:
    low = _INT64[0] if info.ge is None else info.ge
    high = _INT64[1]
    if info.le is not None:
        high = info.le
    if info.lt is not None:
        high = info.lt - 1
    return st.one_of(st.integers(low, high), st.sampled_from([low, high]))


def _longest(info: mi.StrType | mi.BytesType | mi.ListType | mi.VarTupleType, usual: int) -> int:
    most = usual if info.max_length is None else min(usual, info.max_length)
    return max(most, info.min_length or 0)


def simplest(wire_type: Any) -> Any:
    """The smallest legal value of a type; the same every time."""
    return _simplest(mi.type_info(wire_type))


def _simplest(info: mi.Type) -> Any:
    match info:
        case mi.NoneType():
            return None
        case mi.BoolType():
            return True
        case mi.IntType():
            return info.ge or 0
        case mi.FloatType():
            return 0.0
        case mi.StrType():
            return "x" * (info.min_length or 0)
        case mi.BytesType():
            return bytes(info.min_length or 0)
        case mi.ListType():
            return [_simplest(info.item_type)] * (info.min_length or 0)
        case mi.VarTupleType():
            return (_simplest(info.item_type),) * (info.min_length or 0)
        case mi.TupleType():
            return tuple(map(_simplest, info.item_types))
        case mi.DictType():
            return {}
        case mi.UnionType():
            return _simplest(info.types[0])
        case mi.LiteralType():
            return info.values[0]
        case mi.EnumType():
            return next(iter(info.cls))
        case mi.StructType():
            return info.cls(**{field.name: _simplest(field.type) for field in info.fields if field.required})
    raise AssertionError(f"the wire carries no {info}")


def fullest(wire_type: Any) -> Any:
    """A legal value of a type in which nothing is left out; the same every time."""
    return _fullest(mi.type_info(wire_type))


def _fullest(info: mi.Type) -> Any:
    match info:
        case mi.IntType():
            return max(info.ge or 0, 1)
        case mi.FloatType():
            return 0.5
        case mi.StrType():
            return "x" * max(info.min_length or 0, 1)
        case mi.BytesType():
            return b"x" * max(info.min_length or 0, min(info.max_length or 4, 4))
        case mi.ListType():
            return [_fullest(info.item_type)] * max(info.min_length or 0, 1)
        case mi.VarTupleType():
            return (_fullest(info.item_type),) * max(info.min_length or 0, 1)
        case mi.TupleType():
            return tuple(map(_fullest, info.item_types))
        case mi.DictType():
            return {_fullest(info.key_type): _fullest(info.value_type)}
        case mi.UnionType():
            return _fullest(next(one for one in info.types[::-1] if not isinstance(one, mi.NoneType)))
        case mi.EnumType():
            return list(info.cls)[-1]
        case mi.LiteralType():
            return info.values[-1]
        case mi.StructType():
            return info.cls(**{field.name: _fullest(field.type) for field in info.fields})
    return _simplest(info)


def structs_of(codec: Codec[Any]) -> dict[type[msgspec.Struct], mi.StructType]:
    """Every struct that a codec's messages are made of, the messages included."""
    found: dict[type[msgspec.Struct], mi.StructType] = {}
    waiting: list[mi.Type] = [mi.type_info(message) for message in codec.messages]
    while waiting:
        info = waiting.pop()
        match info:
            case mi.StructType() if info.cls not in found:
                found[info.cls] = info
                waiting += [field.type for field in info.fields]
            case mi.ListType() | mi.VarTupleType():
                waiting.append(info.item_type)
            case mi.TupleType():
                waiting += info.item_types
            case mi.DictType():
                waiting += [info.key_type, info.value_type]
            case mi.UnionType():
                waiting += info.types
    return found


def messages_of(codec: Codec[Any]) -> st.SearchStrategy[Message]:
    return st.sampled_from(codec.messages).flatmap(of_type)
