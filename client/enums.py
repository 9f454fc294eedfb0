"""Enums, made anew in a worker with the members that they have here.

cloudpickle makes members of their values, before the class has its methods: those that a program's own `__new__` or
`__init__` has made come out as others, or not at all, and second names of a member are lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, EnumMeta
from typing import Any, Final, NamedTuple

from cloudpickle.cloudpickle import _class_setstate, _lookup_class_or_track, _make_skeleton_enum

_BY_PYTHON: Final = frozenset({"_value_", "_name_", "__objclass__", "_sort_order_"})
"""What a member is given as its class is made."""


class _Member(NamedTuple):
    value: object
    made_by: type
    """The type whose data it holds, if it is no mere object."""
    arguments: tuple[Any, ...]


def with_members(cls: object, made: Any) -> Any:
    """What cloudpickle makes of an enum that it takes by value, with the members as they are."""
    if not isinstance(cls, EnumMeta) or not isinstance(made, tuple) or made[0] is not _make_skeleton_enum:
        return made
    data: Any = cls._member_type_  # type: ignore[attr-defined]  # as `enum` names it for subclasses
    made_by: Any = next((base for base in data.__mro__ if "__getnewargs__" in vars(base)), object)
    if made_by is object and data.__new__ is not object.__new__:
        return made  # nobody can tell how to make its data
    _make, (bases, name, qualname, _values, *rest), (state, slots), *how = made
    named: dict[str, Any] = {**cls.__members__}
    members = {
        name: _Member(one._value_, made_by, () if made_by is object else made_by.__getnewargs__(one))
        for name, one in named.items()
    }
    attributes = {
        name: {key: value for key, value in vars(one).items() if key not in _BY_PYTHON}
        for name, one in named.items()
        if one._name_ == name
    }
    of_class = {key: value for key, value in state.items() if key not in members}
    return make_enum, (bases, name, qualname, members, *rest), (of_class, slots, attributes), *how[:-1], _fill


def make_enum(
    bases: tuple[Any, ...], name: str, qualname: str, members: dict[str, _Member], module: str, mark: str, extra: object
) -> type:
    """`_make_skeleton_enum`, by whose arguments it is called."""
    kind = type(bases[-1])
    namespace: Any = kind.__prepare__(name, bases)
    namespace["__new__"], namespace["__init__"] = _making(iter(members.values())), _made
    for member in members:
        namespace[member] = None
    made = kind.__new__(kind, name, bases, namespace)
    for ours in ("__init__", "__new_member__"):
        delattr(made, ours)
    made.__module__, made.__qualname__ = module, qualname
    return _lookup_class_or_track(mark, made)  # type: ignore[no-any-return]


def _making(members: Iterator[_Member]) -> Any:
    def new(cls: type[Enum], *_value: object) -> Any:
        value, made_by, arguments = next(members)
        member: Any = made_by.__new__(cls, *arguments)
        member._value_ = value
        return member

    return new


def _made(_member: Enum, *_value: object) -> None:
    """In place of the program's, which is called by whoever makes a member here."""


def _fill(cls: Any, state: tuple[dict[str, Any], dict[str, Any], dict[str, dict[str, Any]]]) -> None:
    of_class, slots, attributes = state
    for name, of_member in attributes.items():
        vars(cls[name]).update(of_member)
    _class_setstate(cls, (of_class, slots))
