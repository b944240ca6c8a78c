"""What models say of texts, and how good it is.

    tasks/      one kind of model a file: what it reads, what it says, what trivial answers it is compared with
    metrics/    one or a group of metrics a file; they need no torch
    metric.py   a metric, its bootstrap interval

The folder of a model says its task by its head: ``task_of(model)``.
"""
