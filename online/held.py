"""Holding on to a tuple of arrays, so that a kernel takes it as one pointer.

numba takes a NamedTuple apart on every call from Python, array by array: a hundred arrays are 25 microseconds. A tuple
that is held was taken apart once; whoever holds it keeps its arrays alive, and sees what is written into them.
"""

from collections.abc import Callable
from typing import Any

from numba import njit, types
from numba.experimental import structref


@structref.register
class HeldType(types.StructRef):
    """numba's type of `Held`."""


class Held(structref.StructRefProxy):
    """A tuple as kernels take it: `held.value`."""


structref.define_boxing(HeldType, Held)  # type: ignore[no-untyped-call]
structref.define_constructor(Held, HeldType, ["value"])  # type: ignore[no-untyped-call]


class Keeper:
    """Holds tuples, and remembers the newest few by what they were made of."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[tuple[tuple[Any, ...], Any]] = []

    def held(self, made_of: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """What was held for the same objects before; else `make()`, held."""
        for known, one in self._kept:
            if all(a is b for a, b in zip(known, made_of, strict=True)):
                return one
        one = hold(make())
        self._kept = [(made_of, one), *self._kept[: self._most - 1]]
        return one


@njit(cache=True)
def hold(value: Any) -> Any:
    """Take `value`, a tuple of arrays and tuples, apart once."""
    return Held(value)  # type: ignore[no-untyped-call]
