"""Tasks that exchange data frames; their module needs pandas and pyarrow."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

import pandas as pd
from flytekit import task
from flytekit.interfaces.random import random as flytekit_random

# The names of raw outputs depend on it.
flytekit_random.seed(0)


@task
def double_frame(frame: pd.DataFrame) -> pd.DataFrame:
    return frame * 2


@task(enable_deck=True)
def double_frame_with_deck(frame: pd.DataFrame) -> pd.DataFrame:
    return frame * 2
