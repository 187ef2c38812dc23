"""The soak's short form, and that its memory figures see a leak where there is one."""

import math
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.memory import Watch, below, own_mb, slope
from tests.faults.soak import soaked


@pytest.mark.slow
def test_half_a_minute_of_everything_breaks_nothing(tmp_path: Path) -> None:
    """`make soak` is the long form."""
    told = soaked(tmp_path / "home", minutes=0.4, rate=30.0, every_s=5.0, seed=3, warm_s=1.0)
    assert "SIGKILL" in told[1], told[1]
    assert any("all identical; 0 seats beyond" in line for line in told)


def life(
    began_s: float, samples: int, *, mb_per_hour: float, seed: int, warm_mb: float = 0.0
) -> list[tuple[float, float]]:
    """Memory every two seconds: a level, a slope, a warm-up that fades, and noise that lasts."""
    chance, noise, found = random.Random(seed), 0.0, []
    level = chance.uniform(40.0, 200.0)
    for k in range(samples):
        noise = 0.9 * noise + chance.gauss(0.0, 0.02)
        grown = mb_per_hour * 2 * k / 3_600
        found.append((began_s + 2.0 * k, level + grown + noise - warm_mb * math.exp(-k / 30)))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_a_leak_is_found_over_many_lives_and_a_warm_up_is_none(seed: int) -> None:
    leaking = [life(1_000.0 * n, 400, mb_per_hour=12.0, seed=10 * seed + n, warm_mb=30.0) for n in range(6)]
    still = [life(1_000.0 * n, 400, mb_per_hour=0.0, seed=10 * seed + n, warm_mb=30.0) for n in range(6)]
    found, none = slope(leaking, warm_up_s=400.0), slope(still, warm_up_s=400.0)
    assert found is not None and none is not None
    assert abs(found.mb_per_hour - 12.0) < 2 * found.interval and found.interval < 3.0
    assert abs(none.mb_per_hour) < 2 * none.interval
    assert slope([one[:20] for one in still], warm_up_s=0.0) is None, "lives too short to say anything"


def test_a_process_that_grows_is_seen_by_its_kind(tmp_path: Path) -> None:
    (tmp_path / "api.worker").write_text(
        "import time\nheld = []\nwhile True:\n    held.append(b'x' * 2_000_000)\n    time.sleep(0.1)\n"
    )
    process = subprocess.Popen([sys.executable, str(tmp_path / "api.worker")])
    watch = Watch(os.getpid)
    try:
        time.sleep(7.0)
        assert (process.pid, "worker") in below(os.getpid())
        (samples,) = watch.lives("worker")
        assert len(samples) >= 3 and samples[-1][1] > samples[0][1] + 20.0
        assert own_mb(process.pid) is not None
    finally:
        watch.stop()
        process.kill()
        process.wait()
    assert own_mb(process.pid) is None
