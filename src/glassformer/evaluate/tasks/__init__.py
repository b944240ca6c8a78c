"""One kind of model a file, which names it as ``TASK``; see ``evaluate/task.py``."""
