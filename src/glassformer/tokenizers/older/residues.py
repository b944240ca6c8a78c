"""One character a token, as protein models have it (ESM-2): a ``vocab.txt`` of residues and ``<cls>`` and the like."""

from __future__ import annotations

import re

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers

from glassformer.tokenizers.older._around import numbered, template
from glassformer.tokenizers.older._folder import Built, Folder
from glassformer.tokenizers.older._vocab import known, read_vocab_lines

FILES = "vocab.txt"
#: What Python splits at, which is what the model's own code does.
_SPACE = r"[\t-\r\x{1c}- \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]+"


def found(folder: Folder) -> bool:
    return folder.file(FILES) is not None


def esm(folder: Folder) -> Built:
    """``<cls> A <eos> B <eos>``; what stands between residues and is none is one unknown token."""
    named = folder.named(
        unk_token="<unk>", cls_token="<cls>", pad_token="<pad>", mask_token="<mask>", eos_token="<eos>"
    )
    vocab = read_vocab_lines(folder.path / FILES)
    backend = tokenizers.Tokenizer(models.WordLevel(vocab, unk_token=known(vocab, named, "unk_token")))
    longest_first = sorted(filter(None, vocab), key=len, reverse=True)
    tokens = Regex("|".join(map(_escaped, longest_first)))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(tokens, behavior="isolated"), pre_tokenizers.Split(Regex(_SPACE), behavior="removed")]
    )
    backend.decoder = decoders.Fuse()
    folder.add(backend, named)
    (cls, _), (eos, _) = numbered(backend, named, "cls_token"), numbered(backend, named, "eos_token")
    backend.post_processor = template(backend, f"{cls}:0 $A:0 {eos}:0", f"{cls}:0 $A:0 {eos}:0 $B:1 {eos}:1")
    return Built(backend, named, generic=True)


def _escaped(token: str) -> str:
    return re.sub(r"([^\w])", r"\\\1", token)


CLASSES = {"EsmTokenizer": esm}
MODEL_TYPES = {"esm": "EsmTokenizer"}
