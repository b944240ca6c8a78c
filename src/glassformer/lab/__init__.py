"""Experiments, one a file: a claim about transformers, measured."""
