"""How the kernels of the fold and of the decisions are compiled.

numba counts references: each array that a function takes out of a tuple costs an atomic instruction to hold it, and one
to let it go. Our kernels hand on tuples of a hundred arrays, and counting was a fifth of a decision. Whoever calls a
kernel from Python holds its arrays meanwhile, so none has to be counted: `_nrt=False` leaves that out, as numba's own
sorting functions do. A kernel that makes an array, or takes apart what is held (`online.held`), needs it and says so.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile a function that counts no references; where it has to, numba refuses it ("NRT required")."""
    compiled: Function = njit(cache=True, _nrt=False)(function)  # type: ignore[call-overload]
    return compiled


def counting_kernel(function: Function) -> Function:
    """Compile a function that makes arrays, or takes apart what is held."""
    compiled: Function = njit(cache=True, _nrt=True)(function)  # type: ignore[call-overload]
    return compiled
