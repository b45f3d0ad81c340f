"""Exceptions of users' signal handlers: they may arrive while our code runs, and are no faults of ours.

The usual time limit of a block of code is a handler that raises. Python calls it between any two instructions of the
main thread, with the frame that it interrupts as an argument.
"""

from types import FrameType, TracebackType

_HAS_VARIABLE_ARGUMENTS = 0x04
"""``inspect.CO_VARARGS``, without the import of that module."""


def pass_on(error: BaseException) -> None:
    """Raise an exception again if a signal handler has raised it."""
    if is_of_signal_handler(error):
        raise error


def is_of_signal_handler(error: BaseException) -> bool:
    """Return whether a signal handler has raised an exception."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        if _got(trace.tb_next, trace.tb_frame):
            return True
        trace = trace.tb_next
    return False


def _got(trace: TracebackType, interrupted: FrameType) -> bool:
    """Return whether the function of a traceback entry got a frame as an argument."""
    code = trace.tb_frame.f_code
    number = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & _HAS_VARIABLE_ARGUMENTS)
    local_variables = trace.tb_frame.f_locals
    for name in code.co_varnames[:number]:
        value = local_variables.get(name)
        if value is interrupted or (type(value) is tuple and any(each is interrupted for each in value)):
            return True
    return False
