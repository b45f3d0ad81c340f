"""The rows of the table."""

from collections.abc import Iterator
from dataclasses import replace

from faults import collectors
from faults.collectors import answering
from faults.harness import Case, kill, recover, terminate
from faults.work import Work

FEW = Work(spans=3)
MANY = Work(spans=20_000)
ALL_SIGNALS = Work(spans=3, points=5, logs=5)
MEGABYTES = Work(spans=500, bulk=5_000_000)
OFTEN = {"OTEL_BSP_SCHEDULE_DELAY": "200"}
"""The delay of batches in cases that wait for one."""


def _over_grpc(*cases: Case) -> Iterator[Case]:
    """Return the case over HTTP and over gRPC, if its end depends on gRPC's own threads, connections or limits.

    ``test_transports.py`` tests how either protocol maps the answers of all collectors.
    """
    for case in cases:
        yield case
        yield replace(case, protocol="grpc")


def _of_collectors() -> Iterator[Case]:
    slow = answering(collectors.slow)
    yield Case("healthy, 3 spans", FEW)
    yield from _over_grpc(Case("healthy, 20,000 spans", MANY), Case("healthy, all signals", ALL_SIGNALS))
    yield Case("refused, 3 spans", FEW, collectors.refused)
    yield Case("refused, 20,000 spans", MANY, collectors.refused)
    yield Case("refused, all signals", ALL_SIGNALS, collectors.refused)
    yield Case("refused, 20,000 spans", MANY, collectors.refused, spool=True)
    yield Case("refused, all signals", ALL_SIGNALS, collectors.refused, spool=True)
    yield Case("black hole, 3 spans", FEW, collectors.black_hole)
    yield Case("black hole, 20,000 spans", MANY, collectors.black_hole)
    yield from _over_grpc(Case("black hole, all signals", ALL_SIGNALS, collectors.black_hole))
    yield Case("black hole, all signals", ALL_SIGNALS, collectors.black_hole, spool=True)
    yield Case("black hole, the program flushes", replace(FEW, act="make and flush"), collectors.black_hole)
    yield Case("SYN dropped, 3 spans", FEW, collectors.dropping_syn)
    yield Case("SYN dropped, all signals", ALL_SIGNALS, collectors.dropping_syn)
    yield Case("slow, 3 spans", FEW, slow)
    yield Case("slow, 20,000 spans", MANY, slow)
    yield Case("slow, 20,000 spans", MANY, slow, spool=True)
    yield Case("429 once, Retry-After 1", FEW, _refusing(429, times=1))
    yield Case("429 always, Retry-After 1", FEW, _refusing(429))
    yield Case("503 once, Retry-After 1", FEW, _refusing(503, times=1))
    yield Case("503 always, Retry-After 1", FEW, _refusing(503))
    yield Case("503 always, all signals", ALL_SIGNALS, _refusing(503), spool=True)
    yield Case("accepts 2 records of each export", ALL_SIGNALS, answering(lambda: collectors.taking(2)), rejects=True)
    yield Case("400 always", FEW, _refusing(400, retry_after=None), rejects=True)
    yield Case("400 always", FEW, _refusing(400, retry_after=None), rejects=True, spool=True)
    yield Case("ends during the 2nd export, 5,000 spans", replace(FEW, spans=5000), _dying(1))
    yield Case("ends during the 2nd export, 5,000 spans", replace(FEW, spans=5000), _dying(1), spool=True)
    yield Case("connection reset during each export", FEW, collectors.hanging_up)
    losing = answering(lambda: collectors.losing_answers(1))
    yield Case("connection lost before its 1st answer", FEW, losing, repeats=True)
    with_limit = answering(collectors.with_limit)
    yield Case("one 5 MB span among 500", MEGABYTES, with_limit, rejects=True)
    yield from _over_grpc(Case("one 5 MB span among 500", MEGABYTES, with_limit, rejects=True, spool=True))
    back = Case("back after 3 s, all signals", _waiting(ALL_SIGNALS, 6), collectors.down_at_first, once_ready=recover)
    yield from _over_grpc(back)
    yield replace(back, name="back after 3 s, 20,000 spans", work=_waiting(MANY, 6), spool=True)


def _of_ends() -> Iterator[Case]:
    waiting = replace(FEW, act="make and wait", seconds=30)
    killed = Work(act="wait and make", end="stay", spans=100, seconds=1.1)
    yield Case("sys.exit", replace(FEW, end="sys.exit"), returncode=3)
    yield Case("exception", replace(FEW, end="exception"), returncode=1)
    yield Case("SIGTERM", waiting, once_ready=terminate, returncode=-15)
    black_hole = Case("SIGTERM, black hole", waiting, collectors.black_hole, once_ready=terminate, returncode=-15)
    yield black_hole
    yield from _over_grpc(replace(black_hole, spool=True))
    yield Case("SIGTERM in a pod", waiting, how="pod", once_ready=terminate, returncode=None)
    handler = replace(FEW, act="wait with a handler")
    yield Case("SIGTERM, the user's handler", handler, once_ready=terminate)
    yield Case("SIGTERM, the user's handler, in a pod", handler, how="pod", once_ready=terminate)
    yield Case("SIGTERM in C code", replace(FEW, act="wait in C", seconds=8), once_ready=terminate, returncode=-15)
    in_c = replace(FEW, act="wait in C", seconds=8)
    yield Case("SIGTERM in C code, in a pod", in_c, how="pod", once_ready=terminate, returncode=None)
    yield Case("SIGTERM as PID 1", replace(waiting, seconds=1), how="pid 1", once_ready=terminate)
    kill_case = Case("SIGKILL", killed, how="pod", once_ready=kill, returncode=-9, env=OFTEN, may_lose=10)
    yield kill_case
    yield replace(kill_case, name="SIGKILL, refused", collector=collectors.refused, spool=True)
    gone = Case("os._exit", replace(killed, end="os._exit"), how="pod", env=OFTEN, may_lose=10)
    yield gone
    yield replace(gone, name="os._exit, refused", collector=collectors.refused, spool=True)
    yield replace(gone, name="segfault", work=replace(gone.work, end="segfault"), returncode=-11)


def _of_forks() -> Iterator[Case]:
    later = replace(FEW, act="fork later", seconds=0.4)
    # A metric that was not collected before `os._exit` is not a record yet.
    forking = Work(act="fork", logs=5)
    yield from _over_grpc(Case("os.fork, children os._exit", forking))
    yield Case("os.fork, black hole", forking, collectors.black_hole)
    yield Case("os.fork, refused", forking, collectors.refused, spool=True)
    yield Case("multiprocessing.Pool", replace(FEW, act="pool"))
    yield Case("Process by fork", replace(ALL_SIGNALS, act="process by fork"))
    yield Case("Process by forkserver", replace(ALL_SIGNALS, act="process by forkserver"))
    yield Case("Process by spawn", replace(ALL_SIGNALS, act="process by spawn"))
    in_flight = answering(lambda: collectors.delayed(0.4))
    yield from _over_grpc(
        Case("fork while an export is in flight", later, in_flight, env=OFTEN),
        Case("fork after an export", later, env=OFTEN),
        Case("a forked child is terminated", Work(act="terminate a child", seconds=5)),
    )


def _of_user_code() -> Iterator[Case]:
    yield Case("a signal handler makes records, too", replace(FEW, act="make in a handler", seconds=2))
    yield Case("time limits by exceptions of a signal handler", replace(FEW, act="make with time limits"))
    yield Case("threads", replace(FEW, act="make in threads"))
    yield Case("a subprocess", replace(ALL_SIGNALS, act="make in a subprocess"))
    yield Case("the program sets its own providers", replace(ALL_SIGNALS, act="make with its own provider", logs=0))


def _waiting(work: Work, seconds: float) -> Work:
    return replace(work, act="make and wait", seconds=seconds)


def _refusing(status: int, *, retry_after: int | None = 1, times: int | None = None) -> collectors.Start:
    return answering(lambda: collectors.refusing(status, retry_after=retry_after, times=times))


def _dying(exports: int) -> collectors.Start:
    return answering(lambda: collectors.dying_after(exports))


OF_COLLECTORS = tuple(_of_collectors())
OF_ENDS = tuple(_of_ends())
OF_FORKS = tuple(_of_forks())
OF_USER_CODE = tuple(_of_user_code())
CASES = (*OF_COLLECTORS, *OF_ENDS, *OF_FORKS, *OF_USER_CODE)
