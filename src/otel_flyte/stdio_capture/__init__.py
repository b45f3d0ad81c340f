"""Stdout capture: the lines that a task writes to stdout and stderr, from any code and process, as log records.

Descriptors 1 and 2 of the task's process lead to pipes (:mod:`channel`). A process of its own, the pump (:mod:`pump`),
copies all bytes to the original destinations, makes lines of them (:mod:`lines`) and appends those to a journal
(:mod:`journal`). The task's process reads the journal once a second and at its end, and sends the lines with its other
log records (:mod:`handover`). So the pump needs neither an SDK nor a network, and lines that can't be sent yet wait in
a file and not in a pipe. The task's process acknowledges lines to the pump. If it dies, the pump starts a program that
sends the lines that are not acknowledged.

The pump is a process that is not a child of the task. A thread could not empty a pipe while C code fills it with the
GIL held, and would die with the task. A task that waits for all of its children would wait for a child.
"""
