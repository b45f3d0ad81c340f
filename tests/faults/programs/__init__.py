"""What the fault suite runs: one piece of work, in a program with the stock SDK and in a task with ours."""
