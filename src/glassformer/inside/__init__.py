"""What one does with the inside of a model: traces and edits, gradients, the logit lens, the page.

from glassformer import inside

inside.gradient(model, tokens, "blocks.*.output", of=lambda logits: logits[0, -1, 5])
inside.logit_lens(model, tokens).top(5)
inside.edits.load("edits.json")
"""

from __future__ import annotations

from glassformer.inside import edits as edits
from glassformer.inside.lens import logit_lens as logit_lens
from glassformer.inside.trace import gradient as gradient
from glassformer.inside.view import look as look

__all__ = ["edits", "gradient", "logit_lens", "look"]
