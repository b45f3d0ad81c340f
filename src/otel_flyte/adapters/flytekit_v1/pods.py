"""The begin and the end of the attempt that owns this process."""

import os
import sys
import time

from otel_flyte import providers, semconv
from otel_flyte.adapters import switch
from otel_flyte.adapters.flytekit_v1 import pod_attempt
from otel_flyte.adapters.flytekit_v1.pod_attempt import PodAttempt
from otel_flyte.runtime.guard import guarded
from otel_flyte.tasks import identity
from otel_flyte.tasks.past_phase import PastPhase


@guarded
def begin(output_prefix: str) -> PodAttempt:
    """Begin the attempt of this process."""
    attempt = PodAttempt(output_prefix)
    _read_code_download(attempt)
    if providers.tracer_provider_is_set():
        _open(attempt)
    attempt.token = pod_attempt.current.set(attempt)
    return attempt


@guarded
def end(attempt: PodAttempt, error: BaseException | None) -> None:
    """End the attempt with its outcome; one that was never dispatched is recorded now."""
    if attempt.token is not None:
        pod_attempt.current.reset(attempt.token)
    attempt.error = error if attempt.message is None and error is not None else attempt.error
    if attempt.task is None:
        _open(attempt)
    if attempt.task is not None:
        from otel_flyte.adapters.flytekit_v1 import task_spans

        task_spans.close_attempt(attempt)


@guarded
def end_code_download(start_time: int, error: BaseException | None) -> None:
    """Hand the time of the code download to the process that will run the task; a failed one ends the attempt."""
    end_time = time.time_ns()
    if error is None:
        os.environ[semconv.CODE_DOWNLOAD] = f"{start_time} {end_time}"
        return
    attempt = PodAttempt(identity.output_prefix(sys.argv))
    attempt.start_time = start_time
    attempt.past.append(PastPhase(semconv.PHASE_CODE_DOWNLOAD, start_time, end_time, error))
    end(attempt, error)


def _open(attempt: PodAttempt) -> None:
    if switch.records():
        from otel_flyte.adapters.flytekit_v1 import task_spans

        attempt.task = task_spans.open_attempt(attempt)


def _read_code_download(attempt: PodAttempt) -> None:
    start, _, end = os.environ.pop(semconv.CODE_DOWNLOAD, "").partition(" ")
    if start.isdigit() and end.isdigit():
        attempt.start_time = int(start)
        attempt.past.append(PastPhase(semconv.PHASE_CODE_DOWNLOAD, int(start), int(end)))
