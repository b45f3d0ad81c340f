"""A task that loads its data in workers, as training does."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

from flytekit import task
from opentelemetry import trace
from torch.utils.data import DataLoader, Dataset

tracer = trace.get_tracer("user")


class Samples(Dataset):
    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        with tracer.start_as_current_span(f"sample {index}"):
            return index


@task
def load(size: int) -> int:
    return sum(int(batch.sum()) for batch in DataLoader(Samples(size), batch_size=4, num_workers=2))
