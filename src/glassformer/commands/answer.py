"""Find the answer to a question in a text."""

from __future__ import annotations

from glassformer.commands.run import alias

main = alias(
    "answer", "Find the answer to a question in a text: TEXT is the question, SECOND the context.", second=True
)
