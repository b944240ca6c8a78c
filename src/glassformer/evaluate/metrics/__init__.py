"""Metrics, one or a group of them a file, which names them as ``METRICS``; see ``evaluate/metric.py``."""
