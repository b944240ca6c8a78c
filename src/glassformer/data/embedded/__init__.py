"""Corpora that every Python carries, read in place.

One a file, with ``ABOUT``, ``LICENCE`` and ``PARTS``: part name → function that begins reading its documents.
"""
