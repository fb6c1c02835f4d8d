"""The audit that stands between a request and a cosignature: replay in a thread of its own, answers in good time.

A witness that has hours of backlog to replay says "busy" to every request meanwhile, and the replay goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from .add_checkpoint import Submission
from .auditing import AuditState, LogReplay, Violation
from .database import DatabaseUnavailable
from .tile_source import SourceUnavailable
from .witness import NotCosigned

logger = logging.getLogger("suyuan.witness")

KeepEvidence = Callable[[str, str, str | None, Mapping[str, Any]], None]
"""`Witness.keep_evidence`."""


class _Job:
    """One replay up to one checkpoint."""

    def __init__(self, submission: Submission) -> None:
        self.submission = submission
        self.done = threading.Event()
        self.reached = False
        self.error: Exception | None = None


class BackgroundAudit:
    """An audit for `Witness(audits=...)`: call it with a submission; `close` stops the thread between two bundles.

    A request waits `patience_s` for its replay; when more is to do, NotCosigned `busy` tells to ask again. At most
    `max_waiting` requests wait: anybody can repeat a request that the log once signed.
    """

    def __init__(self, replay: LogReplay, *, patience_s: float = 5.0, max_waiting: int = 4) -> None:
        self.keep_evidence: KeepEvidence | None = None
        self._replay = replay
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._places = threading.Semaphore(max_waiting)
        self._job: _Job | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    @property
    def state(self) -> AuditState:
        """How far the replay has come."""
        return self._replay.state()

    def __call__(self, submission: Submission) -> None:
        """Return when every entry of the submission's tree has been replayed and holds; NotCosigned otherwise."""
        if not self._places.acquire(blocking=False):
            raise NotCosigned("busy", "enough requests are waiting for the audit", retry_after_s=1)
        try:
            job = self._wait_for(submission)
        finally:
            self._places.release()
        if job.reached:
            return
        error = job.error
        if isinstance(error, Violation):
            self._keep(error, submission)
            raise NotCosigned("audit", str(error)) from error
        if isinstance(error, SourceUnavailable):
            raise NotCosigned("busy", f"the log's entries cannot be had: {error}", retry_after_s=5) from error
        if isinstance(error, DatabaseUnavailable):
            raise error
        raise NotCosigned("busy", "the audit was stopped", retry_after_s=5) from error

    def close(self) -> None:
        """Stop after the bundle in hand; what was replayed is kept."""
        self._stopping.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _wait_for(self, submission: Submission) -> _Job:
        """The finished job of this very checkpoint. Raises NotCosigned `busy` when patience is over."""
        deadline = time.monotonic() + self._patience_s
        while True:
            job = self._job_for(submission)
            if not job.done.wait(max(0.0, deadline - time.monotonic())):
                size = self._replay.state().size
                message = f"replaying the log: {size} of {job.submission.head.size} entries so far"
                raise NotCosigned("busy", message, retry_after_s=2)
            if job.submission.head == submission.head:
                return job

    def _job_for(self, submission: Submission) -> _Job:
        """The job under way, or else a new one for this submission."""
        with self._lock:
            job = self._job
            if job is None or job.done.is_set():
                job = self._job = _Job(submission)
                self._thread = threading.Thread(target=self._run, args=(job,), name="audit", daemon=True)
                self._thread.start()
            return job

    def _run(self, job: _Job) -> None:
        try:
            head = job.submission.head
            job.reached = self._replay.catch_up(head.size, head.root, self._stopping.is_set)
        except (Violation, SourceUnavailable, DatabaseUnavailable) as error:
            job.error = error
        except Exception as error:  # nothing is cosigned by an audit that broke, and this thread has no caller to tell
            logger.exception("audit failed", extra={"origin": self._replay.origin})
            job.error = error
        finally:
            job.done.set()

    def _keep(self, violation: Violation, submission: Submission) -> None:
        logger.error("audit refuses", extra={"origin": self._replay.origin, **violation.evidence})
        if self.keep_evidence is not None:
            self.keep_evidence(f"audit-{violation.rule}", str(submission.note), None, violation.evidence)
