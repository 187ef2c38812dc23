"""What pricing learns and decides is the same to the last bit, whatever surrounds it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
from blake3 import blake3
from simulations.airline_driver import KernelSeller
from simulations.airline_market import draw_market, draw_routes, play
seller = KernelSeller(flights=8, markets=2)
market = draw_market(routes=draw_routes(2, 6), flights_per_route=3, seed=6, calendar_days=20)
revenue = play(market, seller).revenue_cents
hasher = blake3(revenue.tobytes())
for name in sorted(seller.arrays):
    hasher.update(name.encode() + seller.arrays[name].tobytes())
print(hasher.hexdigest())
"""


def digest(**environment: str) -> str:
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def usual() -> str:
    return digest()


@pytest.mark.parametrize(
    "environment",
    [
        {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
        {"PYTHONHASHSEED": "12345"},
        {"NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F", "OPENBLAS_CORETYPE": "Sandybridge"},
    ],
    ids=["one thread", "another hash seed", "an older processor's library"],
)
def test_a_play_ends_in_the_same_bits(usual, environment):
    assert digest(**environment) == usual
