"""Compiled kernels are never older than any source they were made of."""

from pathlib import Path

from online import fold_kernel
from online.kernel_cache import ROOT, closure, sources_digest


def _project(folder: Path) -> Path:
    (folder / "online" / "pricing").mkdir(parents=True)
    (folder / "online" / "kernel.py").write_text("from online.near import (\n    f,\n)\n")
    (folder / "online" / "near.py").write_text("from online.pricing import far\n")
    (folder / "online" / "pricing" / "far.py").write_text("X = 1\n")
    (folder / "online" / "other.py").write_text("Y = 1\n")
    return folder / "online" / "kernel.py"


def test_a_kernel_is_kept_under_every_source_that_it_reaches_and_no_other(tmp_path: Path) -> None:
    kernel = _project(tmp_path)
    before = sources_digest(kernel, tmp_path)
    sources_digest.cache_clear()
    (tmp_path / "online" / "other.py").write_text("Y = 2\n")
    assert sources_digest(kernel, tmp_path) == before
    sources_digest.cache_clear()
    (tmp_path / "online" / "pricing" / "far.py").write_text("X = 2\n")
    assert sources_digest(kernel, tmp_path) != before


def test_numba_keeps_kernels_under_the_digest_of_their_sources() -> None:
    file = Path(fold_kernel.__file__).resolve()
    kept = Path(fold_kernel.fold_batch.stats.cache_path)
    assert kept.name == f"fold_kernel-{sources_digest(file)}"
    assert ROOT / "online" / "recommendation" / "layout.py" in closure(file, ROOT)
