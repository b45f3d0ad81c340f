"""What a task writes to stdout and stderr, from whatever code and process, as log records.

Descriptors 1 and 2 of the task's process lead into pipes (:mod:`channel`). A process of its own, the pump
(:mod:`pump`), writes each byte on to where it would have gone, makes lines of them (:mod:`lines`) and notes those in a
journal (:mod:`journal`). The task's process reads that, once a second and at its end, and sends it with its other log
records (:mod:`handover`): the pump needs neither an SDK nor a network, and whatever is slow there waits in a file and
not in a pipe. What the task's process sends it acknowledges to the pump; if it dies, the pump starts a program that
sends what is not acknowledged (:mod:`last_words`).

It is no thread of the task, because a thread can't empty a pipe while C code fills it with the GIL held, and dies with
the task. It is no child either: a task that waits for all of its children would wait for it.
"""
