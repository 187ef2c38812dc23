"""The ground floor: the log's records, the fold, the learners, the decisions. No torch, no fastapi."""

import numba

# Before any kernel is declared: where compiled ones are kept, see there.
numba.config.CACHE_LOCATOR_CLASSES = (  # type: ignore[attr-defined]
    "online.kernel_cache.KernelLocator,InTreeCacheLocator,UserWideCacheLocator,IPythonCacheLocator"
)
