"""Translate texts with an encoder-decoder."""

from __future__ import annotations

from glassformer.commands.run import alias

main = alias("write", "Translate texts with an encoder-decoder.")
