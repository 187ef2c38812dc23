"""Holding on to a tuple of arrays, so that a kernel takes it as one pointer.

numba takes a NamedTuple apart on every call from Python, array by array: a hundred arrays are 25 microseconds. A tuple
that is held was taken apart once; whoever holds it keeps its arrays alive, and sees what is written into them.
"""

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


@njit(cache=True)
def hold(value: Any) -> Any:
    """Take `value`, a tuple of arrays and tuples, apart once."""
    return Held(value)  # type: ignore[no-untyped-call]
