"""Exceptions of users' signal handlers: they may arrive while our code runs, and are no faults of ours.

The usual time limit of a block of code is a handler that raises. Python calls it between any two instructions of the
main thread, with the frame that it interrupts as an argument.
"""

import signal
from types import FrameType, TracebackType

_HAS_VARIABLE_ARGUMENTS = 0x04
"""``inspect.CO_VARARGS``, without the import of that module."""


def pass_on(error: BaseException) -> None:
    """Raise an exception again if a signal handler has raised it."""
    if is_of_signal_handler(error):
        raise error


def is_of_signal_handler(error: BaseException) -> bool:
    """Return whether a signal handler has raised an exception."""
    return _handler(error) is not None


def keyboard_interrupt_of(error: BaseException) -> KeyboardInterrupt | None:
    """Return the KeyboardInterrupt that would have been raised where a handler of SIGINT ended the process.

    flytekit has such a handler: an exit would hide that the user has pressed Ctrl-C, and where.
    """
    handler = _handler(error) if isinstance(error, SystemExit) else None
    if handler is None or not any(type(value) is int and value == signal.SIGINT for value in _given(handler.tb_frame)):
        return None
    return KeyboardInterrupt().with_traceback(_until(error.__traceback__, handler))


def _handler(error: BaseException) -> TracebackType | None:
    """Return the traceback entry of the signal handler that has raised an exception."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        if _got(trace.tb_next, trace.tb_frame):
            return trace.tb_next
        trace = trace.tb_next
    return None


def _until(trace: TracebackType | None, end: TracebackType) -> TracebackType | None:
    """Return a copy of a traceback up to an entry: that of the exception itself must not change."""
    entries = []
    while trace is not None and trace is not end:
        entries.append(trace)
        trace = trace.tb_next
    copy = None
    for entry in reversed(entries):
        copy = TracebackType(copy, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return copy


def _got(trace: TracebackType, interrupted: FrameType) -> bool:
    """Return whether the function of a traceback entry got a frame as an argument."""
    return any(value is interrupted for value in _given(trace.tb_frame))


def _given(frame: FrameType) -> list[object]:
    """Return the arguments that a function got, each one of a variable number too."""
    code = frame.f_code
    number = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & _HAS_VARIABLE_ARGUMENTS)
    local_variables = frame.f_locals
    values = [local_variables.get(name) for name in code.co_varnames[:number]]
    return [each for value in values for each in (value if type(value) is tuple else (value,))]
