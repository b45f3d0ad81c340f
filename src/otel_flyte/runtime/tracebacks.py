"""Tracebacks without our frames: the errors that Flyte writes must not change."""

from types import TracebackType

_PACKAGE = __name__.partition(".")[0]


def hide_our_frames(error: BaseException) -> None:
    """Remove our frames from the tracebacks of an exception and of its causes."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        step = pending.pop()
        if step is None or id(step) in seen:
            continue
        seen.add(id(step))
        step.__traceback__ = without_our_frames(step.__traceback__)
        grouped = getattr(step, "exceptions", ())
        members = grouped if isinstance(grouped, (list, tuple)) else ()
        pending += [step.__cause__, step.__context__, *(one for one in members if isinstance(one, BaseException))]


def without_our_frames(first: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames of this package. Its links change, and no frame does."""
    while first is not None and _is_ours(first):
        first = first.tb_next
    step = first
    while step is not None:
        while step.tb_next is not None and _is_ours(step.tb_next):
            step.tb_next = step.tb_next.tb_next
        step = step.tb_next
    return first


def _is_ours(step: TracebackType) -> bool:
    module = step.tb_frame.f_globals.get("__name__", "")
    return isinstance(module, str) and (module == _PACKAGE or module.startswith(f"{_PACKAGE}."))
