"""Say the class of texts."""

from __future__ import annotations

from glassformer.commands.run import alias

main = alias("classify", "Say the class of texts, with its probability.", second=True)
