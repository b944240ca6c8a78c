"""SentencePiece models in the layouts of the families that use them: ids, special tokens, what stands around a text."""

from __future__ import annotations

from collections.abc import Sequence

import tokenizers
from tokenizers import AddedToken, Regex, decoders, normalizers, pre_tokenizers

from glassformer.core.errors import CheckpointError
from glassformer.tokenizers.older._around import cls_and_sep, numbered, start_and_end, template
from glassformer.tokenizers.older._folder import Built, Folder, Named
from glassformer.tokenizers.older._languages import MBART, MBART50
from glassformer.tokenizers.older._ranks import is_rank_file
from glassformer.tokenizers.older._spm import Scored, SentencePieceModel, read_sentencepiece

_NAMES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "spm.model", "sentencepiece.model")
FILES = " or ".join(_NAMES)
SPACE = "▁"


def found(folder: Folder) -> bool:
    file = folder.file(*_NAMES)
    return file is not None and not is_rank_file(file)


def t5(folder: Folder) -> Built:
    """``A </s> B </s>``; the sentinels ``<extra_id_0>`` and so on stand behind the pieces, the last one first."""
    named = folder.named(eos_token="</s>", unk_token="<unk>", pad_token="<pad>")
    model = _read(folder)
    sentinels = [f"<extra_id_{number}>" for number in reversed(range(folder.number("extra_ids", 100)))]
    backend = _words(model, folder, model.scored + _flat(sentinels), model.unknown)
    folder.add(backend, named, [*model.added(), *reversed(sentinels)])
    end, _ = numbered(backend, named, "eos_token")
    backend.post_processor = template(backend, f"$A {end}", f"$A {end} $B {end}")
    return Built(backend, named)


def albert(folder: Folder) -> Built:
    """``[CLS] A [SEP] B [SEP]``, small letters without accents; ``9,`` is two tokens even where it is a piece."""
    named = folder.named(
        bos_token="[CLS]",
        eos_token="[SEP]",
        unk_token="<unk>",
        sep_token="[SEP]",
        pad_token="<pad>",
        cls_token="[CLS]",
        mask_token=AddedToken("[MASK]", lstrip=True, special=True),
    )
    model = _read(folder)
    pieces = [(text, score - 100 * _number_and_comma(text)) for text, score in model.scored]
    backend = _words(model, folder, pieces, model.unknown)
    steps: list[normalizers.Normalizer] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not folder.flag("keep_accents", False):
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if folder.flag("do_lower_case", True):
        steps += [normalizers.Lowercase()]
    backend.normalizer = normalizers.Sequence(steps + model.charsmap_steps)
    folder.add(backend, named, model.added())
    cls_and_sep(backend, named)
    return Built(backend, named)


def xlm_roberta(folder: Folder) -> Built:
    """``<s> A </s></s> B </s>``; fairseq's ids are one higher than those of the file, behind its own four."""
    named = _fairseq_named(folder)
    model = _read(folder)
    mask = _content(named, "mask_token")
    backend = _words(model, folder, _fairseq(model, named) + _flat([mask]), 3)
    folder.add(backend, named, _own(model))
    _start_and_two_ends(backend, named)
    return Built(backend, named)


def camembert(folder: Folder) -> Built:
    """As XLM-R, with another four in front, and the file's own ``<s>`` and ``</s>``."""
    unused = ["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"]
    named = _fairseq_named(folder)
    model = _read(folder)
    pad, unknown, mask = (_content(named, key) for key in ("pad_token", "unk_token", "mask_token"))
    front = [(unused[0], 0.0), (pad, 0.0), (unused[1], 0.0), (unknown, 0.0), (unused[2], -100.0)]
    backend = _words(model, folder, [*front, *model.scored[1:], (mask, 0.0)], 3)
    folder.add(backend, named, [*_own(model), *unused])
    _start_and_two_ends(backend, named)
    return Built(backend, named)


def deberta_v2(folder: Folder) -> Built:
    """``[CLS] A [SEP] B [SEP]``; the mask stands behind the pieces."""
    named = folder.named(
        bos_token="[CLS]",
        eos_token="[SEP]",
        unk_token="[UNK]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        mask_token="[MASK]",
    )
    model = _read(folder)
    backend = model.backend(model.scored, model.unknown)
    first = [normalizers.Lowercase()] if folder.flag("do_lower_case", False) else []
    backend.normalizer = normalizers.Sequence([*first, normalizers.Strip(), *model.charsmap_steps, _one_space()])
    by_punctuation = folder.flag("split_by_punct", False)
    marks = [pre_tokenizers.Punctuation(behavior="isolated")] if by_punctuation else []
    backend.pre_tokenizer = pre_tokenizers.Sequence([*marks, pre_tokenizers.Metaspace(SPACE, "always")])
    backend.decoder = decoders.Metaspace(SPACE, "always")
    folder.add(backend, named, model.added())
    cls_and_sep(backend, named)
    return Built(backend, named, generic=True)


def llama(folder: Folder) -> Built:
    """A start token and a text whose spaces all count; what is not in the vocabulary becomes bytes."""
    named = folder.named(unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    model = _read(folder)
    backend = model.backend(model.scored, model.unknown)
    prefix = folder.flag("add_prefix_space", model.dummy_prefix)
    # "first" looks at the place in the original text, where spaces that were taken off still stand
    always = folder.flag("legacy", False) or model.collapse_spaces
    scheme = "never" if not prefix else "always" if always else "first"
    if (normalizer := model.normalizer()) is not None:
        backend.normalizer = normalizer
    backend.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, scheme, split=False)
    backend.decoder = _bytes_decoder(strip=prefix)
    folder.add(backend, named, model.added())
    start_and_end(backend, folder, named, start=True)
    return Built(backend, named, generic=model.kind == "unigram" or bool(model.charsmap))


def gemma(folder: Folder) -> Built:
    """As Llama without a space in front; the user's pieces hold runs of spaces, so they are sought after escaping."""
    named = folder.named(
        unk_token="<unk>", bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", mask_token="<mask>"
    )
    model = _read(folder)
    backend = model.backend(model.scored, model.unknown)
    steps = [model.normalizer(), normalizers.Replace(" ", SPACE)]
    backend.normalizer = normalizers.Sequence([step for step in steps if step is not None])
    backend.decoder = _bytes_decoder(strip=False)
    folder.add(backend, named, model.added(normalized=True))
    start_and_end(backend, folder, named, start=True)
    return Built(backend, named, generic=True)


def mbart(folder: Folder) -> Built:
    """``A B </s> en_XX``: the language of the text behind it."""
    return _translator(folder, MBART, "en_XX", "$A $B {end} {language}")


def mbart50(folder: Folder) -> Built:
    """``en_XX A B </s>``: the language of the text before it."""
    return _translator(folder, MBART50, "en_XX", "{language} $A $B {end}")


def nllb(folder: Folder) -> Built:
    """``eng_Latn A B </s>``; with ``legacy_behaviour`` the language stands behind. The folder lists the languages."""
    languages = [token.content for token in folder.extra()]
    if not languages:
        expected = "additional_special_tokens with its languages"
        raise CheckpointError("an NLLB tokenizer without languages", at=folder.path, expected=expected)
    behind = folder.flag("legacy_behaviour", False)
    return _translator(folder, languages, "eng_Latn", "$A $B {end} {language}" if behind else "{language} $A $B {end}")


def _translator(folder: Folder, languages: Sequence[str], usual: str, around: str) -> Built:
    """Fairseq's ids, a code for each language, the mask; ``src_lang`` says the language of the texts."""
    named = _fairseq_named(folder)
    model = _read(folder)
    language = folder.word("src_lang", usual)
    if language not in languages:
        raise CheckpointError(
            "no such language", at=folder.path, got=language, expected=f"one of {', '.join(languages)}"
        )
    behind = _flat([*languages, _content(named, "mask_token")])
    backend = _words(model, folder, _fairseq(model, named) + behind, 3)
    folder.add(backend, named, [*_own(model), *languages])
    pair = around.format(end=numbered(backend, named, "eos_token")[0], language=language)
    backend.post_processor = template(backend, pair.replace("$B ", ""), pair)
    return Built(backend, named, generic=True)


# -- what several do ---------------------------------------------------------------------------------------------------


def _read(folder: Folder) -> SentencePieceModel:
    file = folder.file(*_NAMES)
    assert file is not None, "found() has seen it"
    return read_sentencepiece(file)


def _words(model: SentencePieceModel, folder: Folder, pieces: Scored, unknown: int) -> tokenizers.Tokenizer:
    """Pieces inside words: each word begins with the sign of a space, and spaces between words do not count."""
    backend = model.backend(pieces, unknown)
    scheme = "always" if folder.flag("add_prefix_space", True) else "never"
    if model.charsmap:
        backend.normalizer = normalizers.Precompiled(model.charsmap)
    spaces = pre_tokenizers.Metaspace(SPACE, scheme)
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), spaces])
    backend.decoder = decoders.Metaspace(SPACE, scheme)
    return backend


def _fairseq_named(folder: Folder) -> Named:
    return folder.named(
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        sep_token="</s>",
        pad_token="<pad>",
        cls_token="<s>",
        mask_token=AddedToken("<mask>", lstrip=True, special=True),
    )


def _fairseq(model: SentencePieceModel, named: Named) -> Scored:
    """The file's pieces behind fairseq's four, which replace the file's three."""
    front = [_content(named, key) for key in ("bos_token", "pad_token", "eos_token", "unk_token")]
    return _flat(front) + model.scored[3:]


def _content(named: Named, role: str) -> str:
    if role not in named:
        raise CheckpointError("this tokenizer needs a special token", got="none", expected=role)
    return named[role].content


def _own(model: SentencePieceModel) -> list[AddedToken]:
    """The user's pieces; control ones are the family's own."""
    return [token for token in model.added() if not token.special]


def _flat(tokens: Sequence[str]) -> Scored:
    return [(token, 0.0) for token in tokens]


def _one_space() -> normalizers.Normalizer:
    return normalizers.Replace(Regex(" {2,}"), " ")


def _bytes_decoder(*, strip: bool) -> decoders.Decoder:
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence(steps + [decoders.Strip(" ", 1, 0)] * strip)


def _start_and_two_ends(backend: tokenizers.Tokenizer, named: Named) -> None:
    (start, _), (end, _) = numbered(backend, named, "bos_token"), numbered(backend, named, "eos_token")
    single = f"{start} $A {end}"
    backend.post_processor = template(backend, single, f"{single} {end} $B {end}")


def _number_and_comma(piece: str) -> bool:
    return len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit()


CLASSES = {
    "T5Tokenizer": t5,
    "AlbertTokenizer": albert,
    "XLMRobertaTokenizer": xlm_roberta,
    "CamembertTokenizer": camembert,
    "DebertaV2Tokenizer": deberta_v2,
    "LlamaTokenizer": llama,
    "GemmaTokenizer": gemma,
    "MBartTokenizer": mbart,
    "MBart50Tokenizer": mbart50,
    "NllbTokenizer": nllb,
}
MODEL_TYPES = {
    "t5": "T5Tokenizer",
    "mt5": "T5Tokenizer",
    "switch_transformers": "T5Tokenizer",
    "albert": "AlbertTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "camembert": "CamembertTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
    "llama": "LlamaTokenizer",
    "mistral": "LlamaTokenizer",
    "mixtral": "LlamaTokenizer",
    "gemma": "GemmaTokenizer",
    "gemma2": "GemmaTokenizer",
    "mbart": "MBartTokenizer",
}
