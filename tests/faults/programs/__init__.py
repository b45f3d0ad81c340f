"""The programs of the fault suite: the same work in a program with the stock SDK and in a task with ours."""
