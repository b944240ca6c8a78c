"""WordPiece (BERT, https://arxiv.org/abs/1810.04805): a ``vocab.txt`` with one token a line, ``##`` inside words."""

from __future__ import annotations

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from glassformer.tokenizers.older._around import cls_and_sep, numbered
from glassformer.tokenizers.older._folder import Built, Folder, Named
from glassformer.tokenizers.older._vocab import known, read_vocab_lines

FILES = "vocab.txt"


def found(folder: Folder) -> bool:
    return folder.file(FILES) is not None


def bert(folder: Folder) -> Built:
    """``[CLS] A [SEP] B [SEP]``."""
    named = folder.named(
        unk_token="[UNK]", sep_token="[SEP]", pad_token="[PAD]", cls_token="[CLS]", mask_token="[MASK]"
    )
    backend = _wordpiece(folder, named)
    cls_and_sep(backend, named)
    return Built(backend, named)


def mpnet(folder: Folder) -> Built:
    """``<s> A </s></s> B </s>``."""
    named = folder.named(
        bos_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        cls_token="<s>",
        unk_token="[UNK]",
        pad_token="<pad>",
        mask_token=AddedToken("<mask>", lstrip=True, special=True),
    )
    backend = _wordpiece(folder, named)
    sep, cls = numbered(backend, named, "sep_token"), numbered(backend, named, "cls_token")
    backend.post_processor = processors.RobertaProcessing(sep, cls, trim_offsets=True, add_prefix_space=False)
    return Built(backend, named)


def _wordpiece(folder: Folder, named: Named) -> tokenizers.Tokenizer:
    vocab = read_vocab_lines(folder.path / FILES)
    backend = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token=known(vocab, named, "unk_token")))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=folder.flag("tokenize_chinese_chars", True),
        strip_accents=folder.maybe("strip_accents"),
        lowercase=folder.flag("do_lower_case", True),
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    folder.add(backend, named)
    return backend


_LIKE_BERT = ("Bert", "DistilBert", "Electra", "MobileBert", "ConvBert", "Lxmert", "SqueezeBert", "LayoutLM")
CLASSES = {f"{name}Tokenizer": bert for name in (*_LIKE_BERT, "DPRQuestionEncoder", "DPRContextEncoder")}
CLASSES |= {"MPNetTokenizer": mpnet}
MODEL_TYPES = {name.lower(): f"{name}Tokenizer" for name in (*_LIKE_BERT, "MPNet")} | {"nomic_bert": "BertTokenizer"}
