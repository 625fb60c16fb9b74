"""Limits every BLAS library of the process to one thread.

A BLAS that splits a matrix product over several threads sums in another order, so the last bits of the result depend on
the number of threads, and with them scores and picks. Use `single_blas_thread` around all matrix products and
decompositions that a pick, a memory record or a transform depends on:

    with single_blas_thread: ...        or        @single_blas_thread

It can be nested, and several threads can be inside it at once. The number of threads is a setting of the whole process,
so overlapping threads are counted, and the previous numbers are restored when the last one leaves. Meanwhile all other
matrix products of the process run on one thread too. Entering takes about 5 µs, or 2 µs if nested.

`threadpoolctl`'s own context is not enough where threads overlap: before 3.8 it restores the threads when the first
context ends, in the middle of the products of the other; since 3.8 it ignores, without a warning, the limits set by any
thread but the first one that set a limit.
"""

import sys
import threading
from contextlib import ContextDecorator
from typing import Any

from threadpoolctl import ThreadpoolController

_SavedThreads = dict[str, tuple[Any, int]]
"""By library file: the library's controller, and its number of threads before the limit."""


class _SingleBlasThread(ContextDecorator):
    def __init__(self) -> None:
        self._lock, self._local = threading.Lock(), threading.local()
        self._libraries: list[Any] = []
        self._module_count = -1  # len(sys.modules) when the libraries were last searched
        self._active_threads = 0
        self._saved = _SavedThreads()  # of libraries whose number of threads holds for the whole process

    def __enter__(self) -> None:
        local = self._local
        with self._lock:
            if not getattr(local, "depth", 0):
                local.depth, local.saved = 0, _SavedThreads()
                self._active_threads += 1
            local.depth += 1
            for library in self._find_libraries():
                saved = local.saved if _is_limited_per_thread(library) else self._saved
                if library.filepath not in saved:
                    saved[library.filepath] = library, library.num_threads
                _set_threads(library, 1)

    def __exit__(self, *_: object) -> None:
        local = self._local
        with self._lock:
            local.depth -= 1
            if local.depth:
                return
            self._active_threads -= 1
            _restore(local.saved)
            if not self._active_threads:
                _restore(self._saved)
                _clear_controlling_thread(self._libraries)

    def _find_libraries(self) -> list[Any]:
        """Every BLAS of the process. The search is slow, so it is repeated only after an import: it may load another one."""
        module_count = len(sys.modules)
        if module_count != self._module_count:
            controllers = ThreadpoolController().lib_controllers
            self._libraries = [library for library in controllers if library.user_api == "blas"]
            self._module_count = module_count
        return self._libraries


def _is_limited_per_thread(library: Any) -> bool:
    """Whether the number of threads is a setting of the calling thread, as it is with OpenMP, not of the process."""
    return bool(library.internal_api == "openblas" and library.threading_layer == "openmp")


def _set_threads(library: Any, count: int) -> None:
    # Otherwise threadpoolctl 3.8 ignores the call if another thread was the first to set a limit.
    _clear_controlling_thread([library])
    library.set_num_threads(count)


def _clear_controlling_thread(libraries: list[Any]) -> None:
    """Allow any thread to set the number of threads; threadpoolctl 3.8 reserves that for one "controlling thread"."""
    for library in libraries:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)


def _restore(saved: _SavedThreads) -> None:
    for library, count in saved.values():
        if count is not None:
            _set_threads(library, count)
    saved.clear()


single_blas_thread = _SingleBlasThread()
"""Context manager and decorator: every BLAS of the process has one thread inside it."""
