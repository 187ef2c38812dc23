"""Laws of the project's own exp, log and friends."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from online import arithmetic


def bits(x: float) -> str:
    return struct.pack(">d", x).hex()


def ulps(found: float, true: float) -> float:
    if found == true:
        return 0.0
    return abs(found - true) / math.ulp(true)


# Bit patterns written down once: a change of any of them would part old logs from their state.
PINNED = {
    ("exp", 1.0): "4005bf0a8b14576a",
    ("exp", -0.1): "3fecf46d99d52b3a",
    ("exp", 10.5): "40e1bb7015e84d3b",
    ("exp2", 0.3): "3ff3b2c47bff8329",
    ("exp2", -7.0): "3f80000000000000",
    ("log", 10.0): "40026bb1bbb55516",
    ("log", 0.7): "bfd6d3c324e13f50",
    ("log2", 8.0): "4008000000000000",
    ("log2", 3.0): "3ff95c01a39fbd69",
    ("log1p", 1e-9): "3e112e0be801f1d9",
    ("sigmoid", 1.5): "3fea2991f2a97914",
    ("tanh", 0.05): "3fa99424e535f6f8",
    ("tanh", -1.25): "bfeb2523bb6b2dee",
}


@pytest.mark.parametrize(("name", "x"), PINNED)
def test_the_bits_never_change(name: str, x: float) -> None:
    assert bits(getattr(arithmetic, name)(x)) == PINNED[name, x]


@given(st.floats(-700, 700))
def test_exp_is_within_three_units_of_the_last_place(x: float) -> None:
    assert ulps(arithmetic.exp(x), math.exp(x)) <= 3


@given(st.floats(-1000, 1000))
def test_exp2_is_within_three_units_of_the_last_place(x: float) -> None:
    assert ulps(arithmetic.exp2(x), math.exp2(x)) <= 3


@given(st.floats(1e-300, 1e300))
def test_log_is_within_three_units_of_the_last_place(x: float) -> None:
    assert ulps(arithmetic.log(x), math.log(x)) <= 3


@given(st.floats(0.6, 1.6))
def test_log_keeps_its_precision_around_one(x: float) -> None:
    assert ulps(arithmetic.log(x), math.log(x)) <= 3


@given(st.floats(1e-300, 1e300))
def test_log2_is_close(x: float) -> None:
    assert arithmetic.log2(x) == pytest.approx(math.log2(x), rel=1e-14, abs=1e-15)


@given(st.floats(-0.9, 1e6))
def test_log1p_is_close(x: float) -> None:
    assert arithmetic.log1p(x) == pytest.approx(math.log1p(x), rel=1e-14, abs=1e-300)


@given(st.floats(-800, 800))
def test_sigmoid_and_tanh_stay_in_their_ranges_and_are_close(x: float) -> None:
    assert 0.0 <= arithmetic.sigmoid(x) <= 1.0
    assert arithmetic.tanh(x) == pytest.approx(math.tanh(x), rel=1e-14, abs=1e-300)
    assert arithmetic.tanh(-x) == -arithmetic.tanh(x)
    assert arithmetic.sigmoid(x) + arithmetic.sigmoid(-x) == pytest.approx(1.0, abs=1e-15)


@given(st.integers(-1074, 1023))
def test_powers_of_two_are_exact_both_ways(n: int) -> None:
    assert arithmetic.exp2(float(n)) == math.ldexp(1.0, n)
    assert arithmetic.log2(math.ldexp(1.0, n)) == n


def test_the_ends_of_the_range() -> None:
    assert arithmetic.exp(1000.0) == math.inf
    assert arithmetic.exp(-1000.0) == 0.0
    assert arithmetic.exp2(5000.0) == math.inf
    assert arithmetic.log(0.0) == -math.inf
    assert math.isnan(arithmetic.log(-1.0))
    assert arithmetic.log(math.inf) == math.inf
    for f in (arithmetic.exp, arithmetic.exp2, arithmetic.log, arithmetic.log2, arithmetic.tanh):
        assert math.isnan(f(math.nan))


@njit
def _many(x: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(x)):
        out[i] = arithmetic.exp(x[i]) + arithmetic.log(x[i] * x[i] + 0.5) * arithmetic.tanh(x[i])


def test_inside_a_loop_the_bits_are_those_of_a_single_call() -> None:
    x = np.linspace(-30.0, 30.0, 10_001)
    out = np.empty_like(x)
    _many(x, out)
    one = [arithmetic.exp(v) + arithmetic.log(v * v + 0.5) * arithmetic.tanh(v) for v in x]
    assert [bits(v) for v in out] == [bits(v) for v in one]
