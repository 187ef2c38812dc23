"""A logarithm that is quick, and the same on every machine."""

import numpy as np

from online.compiling import kernel


@kernel
def log2_plain(x: np.float32) -> np.float32:
    """log2 of a positive normal number to about 1e-5, out of exact operations: exponent by bits, mantissa by a
    series."""
    bits = np.float32(x).view(np.int32)
    n = (bits >> 23) - 127
    m = np.int32((bits & 0x007FFFFF) | 0x3F800000).view(np.float32)
    t = (m - np.float32(1.4142135)) / (m + np.float32(1.4142135))
    s = t * t
    p = t * (np.float32(2.8853901) + s * (np.float32(0.9617967) + s * np.float32(0.5770780)))
    return (np.float32(n) + np.float32(0.5)) + p
