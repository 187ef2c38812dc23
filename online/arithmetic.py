"""exp, log, tanh and sigmoid out of + - * / alone: the same bits on every machine (law 2).

A libm's or NumPy's `exp` changes its last bit with the processor's features and the library's version, and one bit
is enough to part two replays of one log. IEEE 754 defines + - * / sqrt and comparisons exactly, so a function that
is built from those in a fixed order, without fused multiply-adds, is one function everywhere. All are within three
units in the last place of the true value in the ranges that `tests/online/test_arithmetic.py` walks.
"""

import numpy as np

from online.compiling import kernel

_LN2 = 0.6931471805599453
_LOG2_E = 1.4426950408889634
# ln 2 in two parts: the product of _LN2_HIGH with an integer below 2**11 is exact (Cody and Waite, 1980).
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10


@kernel
def _power(n: int) -> float:
    """2**n for -1022 <= n <= 1023, by its bits."""
    return np.int64((n + 1023) << 52).view(np.float64)


@kernel
def _scaled_exp(r: float, n: int) -> float:
    """e**r * 2**n for |r| <= ln(2) / 2: Taylor's series, thirteen terms (the next is below 2e-17)."""
    p = 1.0 / 6227020800.0
    p = p * r + 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    if n < -1022:
        return p * _power(n + 54) * 5.551115123125783e-17  # 2**-54: only the last step rounds
    if n > 1023:
        return p * 2.0 * _power(n - 1)
    return p * _power(n)


@kernel
def exp(x: float) -> float:
    """e**x. Overflows to inf above 709.78, to 0 below -745.13; NaN stays NaN."""
    if x != x:
        return x
    if x > 709.782712893384:
        return np.inf
    if x < -745.1332191019412:
        return 0.0
    n = int(np.floor(x * _LOG2_E + 0.5))
    return _scaled_exp((x - n * _LN2_HIGH) - n * _LN2_LOW, n)


@kernel
def exp2(x: float) -> float:
    """2**x: exact for integers; what decay by half-lives uses."""
    if x != x:
        return x
    if x >= 1024.0:
        return np.inf
    if x < -1074.0:
        return 0.0
    n = int(np.floor(x + 0.5))
    return _scaled_exp((x - n) * _LN2, n)


@kernel
def _log_parts(x: float) -> tuple[float, int]:
    """(ln m, n) with x = m * 2**n, sqrt(1/2) <= m < sqrt(2): ln m = 2 artanh((m-1)/(m+1)), as a series."""
    shift = 0
    if x < 2.2250738585072014e-308:  # below the normal numbers: 2**54 brings it up, exactly
        x *= 18014398509481984.0
        shift = -54
    bits = np.float64(x).view(np.int64)
    n = (bits >> 52) - 1023 + shift
    m = np.int64((bits & 0x000FFFFFFFFFFFFF) | 0x3FF0000000000000).view(np.float64)
    if m > 1.4142135623730951:
        m *= 0.5
        n += 1
    f = m - 1.0
    t = f / (m + 1.0)
    s = t * t
    p = 1.0 / 23.0
    p = p * s + 1.0 / 21.0
    p = p * s + 1.0 / 19.0
    p = p * s + 1.0 / 17.0
    p = p * s + 1.0 / 15.0
    p = p * s + 1.0 / 13.0
    p = p * s + 1.0 / 11.0
    p = p * s + 1.0 / 9.0
    p = p * s + 1.0 / 7.0
    p = p * s + 0.2
    p = p * s + 1.0 / 3.0
    # ln m = 2t + 2t s p, and 2t = f - f t: the large part is exact, as in fdlibm's e_log.c.
    return f - t * (f - 2.0 * (s * p)), n  # type: ignore[return-value]


@kernel
def log(x: float) -> float:
    """Natural logarithm. -inf at 0, NaN below."""
    if x != x or x < 0.0:
        return np.nan
    if x == 0.0:
        return -np.inf
    if x == np.inf:
        return x
    part, n = _log_parts(x)
    return n * _LN2_HIGH + (part + n * _LN2_LOW)


@kernel
def log2(x: float) -> float:
    """Logarithm to the base 2: exact for powers of two."""
    if x != x or x < 0.0:
        return np.nan
    if x == 0.0:
        return -np.inf
    if x == np.inf:
        return x
    part, n = _log_parts(x)
    return n + part * _LOG2_E


@kernel
def log1p(x: float) -> float:
    """ln(1 + x), accurate near 0 (Kahan's correction); x >= -1."""
    y = 1.0 + x
    if y == 1.0:
        return x
    if y == np.inf:
        return y
    return log(y) - ((y - 1.0) - x) / y


@kernel
def sigmoid(x: float) -> float:
    """1 / (1 + e**-x), without overflow on either side."""
    if x >= 0.0:
        return 1.0 / (1.0 + exp(-x))
    e = exp(x)
    return e / (1.0 + e)


@kernel
def tanh(x: float) -> float:
    """Hyperbolic tangent; odd, bit for bit."""
    if x != x:
        return x
    a = -x if x < 0.0 else x
    if a > 22.0:
        y = 1.0
    elif a < 0.125:
        # Lambert's continued fraction: no cancellation near 0.
        s = a * a
        y = a / (1.0 + s / (3.0 + s / (5.0 + s / (7.0 + s / (9.0 + s / (11.0 + s / 13.0))))))
    else:
        y = 1.0 - 2.0 / (exp(2.0 * a) + 1.0)
    return -y if x < 0.0 else y
