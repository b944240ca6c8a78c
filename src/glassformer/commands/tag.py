"""Say the tag of each word of texts."""

from __future__ import annotations

from glassformer.commands.run import alias

main = alias("tag", "Say the tag of each word of texts, and for machines the entities that tags mark.")
