"""What is done beside the requests: what is old is deleted, and the numbers that decide are kept once they are known.

Old is what the operator says (`retention_days`), and always the results of jobs that were to keep nothing. The numbers are
those of the calibrations that the loaded grader has: a grade names their version, and they may be gone from a later release.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta
from typing import Any

from api.state import GraderState
from api.store import Store, candidates, grades, idempotency, jobs
from api.store.errors import StoreError
from grader.calibration import BankScale, Calibration
from grader.library import Library

logger = logging.getLogger("api.upkeep")

EVERY = 3600.0  # seconds
# A wall clock that went further than this from the steady one was set, not late: nothing is deleted by what it says.
MOST_DRIFT = 300.0


class Upkeep:
    """Runs in a thread of its own, for the first time an hour after the start."""

    def __init__(
        self, store: Store, retention_days: int, every: float = EVERY, grading: GraderState | None = None
    ) -> None:
        self.store = store
        self.grading = grading
        self.retention_days = retention_days
        self.every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        """Begins; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after what is being done."""
        self._stop.set()
        self._thread.join(timeout=10)

    def once(self, drift: float = 0.0) -> None:
        """One round; `drift` is by how many seconds the wall clock and the steady one disagree since the last."""
        if abs(drift) > MOST_DRIFT:
            logger.warning("the clock was set by %.0f s: nothing is deleted this time", drift)
            return
        with self.store.write() as tx:
            if removed := jobs.purge(tx):
                logger.info("%d jobs that keep nothing deleted", removed)
            if self.retention_days:
                erased = candidates.retain(tx, tx.now - timedelta(days=self.retention_days), "retention")
                logger.info("retention: %d answers deleted", erased.answers)
            else:
                idempotency.purge(tx)
        self.store.empty_log()

    def _run(self) -> None:
        self._keep_calibrations()
        wall, steady = self.store.clock(), time.monotonic()
        while not self._stop.wait(self.every):
            now, tick = self.store.clock(), time.monotonic()
            try:
                self.once((now - wall).total_seconds() - (tick - steady))
            except StoreError as error:
                logger.warning("upkeep did not work this time: %s", error)
            wall, steady = now, tick

    def _keep_calibrations(self) -> None:
        """Waits until the grader is loaded, then keeps what its calibrations are."""
        if self.grading is None:
            return
        while not self.grading.wait(0.2):
            if self._stop.is_set():
                return
        if not self.grading.ready:
            return
        try:
            with self.store.write() as tx:
                for version, content in calibrations(self.grading.grader()).items():
                    grades.keep_version(tx, "calibration", version, content)
        except StoreError as error:
            logger.warning("the calibrations could not be kept: %s", error)


def calibrations(library: Library) -> dict[str, Any]:
    """The fitted numbers that the graders decide by, by version; a grade's provenance joins two of them with a plus."""
    known: list[Calibration | BankScale] = []
    for grader in library.graders:
        known += [*grader.offline.calibrations.values(), *([grader.scale] if grader.scale is not None else [])]
    return {one.version: one.model_dump(mode="json") for one in known}
