"""Special tokens around a text and a pair of texts."""

from __future__ import annotations

import tokenizers
from tokenizers import processors

from glassformer.core.errors import CheckpointError
from glassformer.tokenizers.older._folder import Folder, Named


def template(backend: tokenizers.Tokenizer, single: str, pair: str) -> processors.TemplateProcessing:
    """Special tokens around a text and a pair: ``$A`` and ``$B`` are the texts, ``:0`` or ``:1`` the segments.

    Raises:
        CheckpointError: the vocabulary lacks one of them.
    """
    words = {word.rsplit(":", 1)[0] for word in (single + " " + pair).split() if not word.startswith("$")}
    numbers = [(word, backend.token_to_id(word)) for word in sorted(words)]
    for word, number in numbers:
        if number is None:
            raise CheckpointError("the vocabulary lacks a special token", got=repr(word))
    return processors.TemplateProcessing(single=single, pair=pair, special_tokens=numbers)


def numbered(backend: tokenizers.Tokenizer, named: Named, key: str) -> tuple[str, int]:
    """The special token of a role, with its id.

    Raises:
        CheckpointError: the folder says that there is none.
    """
    if key not in named:
        raise CheckpointError("this tokenizer needs a special token", got="none", expected=key)
    content = named[key].content
    number = backend.token_to_id(content)
    assert number is not None, "Folder.add has made it known"
    return content, number


def start_and_end(backend: tokenizers.Tokenizer, folder: Folder, named: Named, *, start: bool) -> None:
    """``add_bos_token`` and ``add_eos_token``: a token before and behind each text; ``start`` where neither is said."""
    before = named["bos_token"].content if "bos_token" in named and folder.flag("add_bos_token", start) else None
    behind = named["eos_token"].content if "eos_token" in named and folder.flag("add_eos_token", False) else None
    first, second = (
        " ".join(f"{word}:{segment}" for word in (before, text, behind) if word)
        for segment, text in enumerate(("$A", "$B"))
    )
    backend.post_processor = template(backend, first, f"{first} {second}")


def cls_and_sep(backend: tokenizers.Tokenizer, named: Named) -> None:
    """BERT's ``[CLS] A [SEP] B [SEP]``, the second text and its end in the second segment."""
    (cls, _), (sep, _) = numbered(backend, named, "cls_token"), numbered(backend, named, "sep_token")
    single = f"{cls}:0 $A:0 {sep}:0"
    backend.post_processor = template(backend, single, f"{single} $B:1 {sep}:1")
