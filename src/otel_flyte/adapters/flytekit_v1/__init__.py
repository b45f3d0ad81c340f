"""The hooks of flytekit 1: where a task's phases begin and end, and nothing else."""
