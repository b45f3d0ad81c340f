"""The windows of one open task: since its start, since metrics were collected, and since its open phase began."""

from otel_flyte.usage.curves import TaskCurves
from otel_flyte.usage.sample import Sample
from otel_flyte.usage.statistics import TaskSeries, Window


class Windows:
    """Samples of a task, in the window of each report."""

    def __init__(self, start: float, first: Sample, interval: float) -> None:
        self.series = TaskSeries(start)
        self.curves = TaskCurves(start, interval)
        self.task = Window(first, self.series, self.curves)
        self._since_collection = Window(first)
        self._phase: Window | None = None
        self._phase_first: Sample | None = None

    def add(self, sample: Sample) -> None:
        """Add the next sample."""
        self.task.add(sample)
        self._since_collection.add(sample)

    def next_collection(self) -> Window:
        """Return the window since the previous collection of metrics, and begin the next."""
        window, self._since_collection = self._since_collection, Window(self._since_collection.last)
        return window

    def phase(self, first: Sample, rebased: Sample) -> Window:
        """Return the window of the phase that began with a sample."""
        if self._phase is None or self._phase_first is not first:
            self._phase, self._phase_first = Window(rebased), first
        return self._phase
