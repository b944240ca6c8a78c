"""Comparisons with peers: paired, interleaved, by median, each beside a limit of the machine measured in the same run.

    python -m benchmarks                     all of them
    python -m benchmarks training loading    some of them
    python -m benchmarks --json FILE         also as JSON lines

Ratios are what counts; seconds belong to the machine that is named on top.
"""
