"""Compiled kernels are never older than any source they were made of."""

from pathlib import Path

import numba

from online import _sources_digest


def test_the_kernels_folder_changes_with_every_kernel_and_with_no_other_source(tmp_path: Path) -> None:
    (tmp_path / "callee.py").write_text("@njit\ndef f(x): return x\n")
    (tmp_path / "plain.py").write_text("X = 1\n")
    before = _sources_digest(tmp_path)
    (tmp_path / "plain.py").write_text("X = 2\n")
    assert _sources_digest(tmp_path) == before
    (tmp_path / "callee.py").write_text("@njit\ndef f(x): return x + 1\n")
    assert _sources_digest(tmp_path) != before


def test_numba_keeps_kernels_in_the_folder_of_these_sources() -> None:
    import online

    assert Path(numba.config.CACHE_DIR).name == f"kernels-{_sources_digest(Path(online.__file__).parent)}"
