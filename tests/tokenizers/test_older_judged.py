"""SentencePiece itself, and the places where transformers 5.23 leaves what the model was trained with."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tiktoken
import transformers
from sentencepiece import sentencepiece_model_pb2
from tiktoken_ext import openai_public

from glassformer.core.errors import CheckpointError
from glassformer.tokenizers.older._languages import MBART, MBART50
from glassformer.tokenizers.older._spm import read_sentencepiece
from glassformer.tokenizers.tokenizer import Tokenizer, load_tokenizer
from tests.tokenizers.hard_texts import hard_pairs, hard_texts
from tests.tokenizers.older_folders import (
    RESIDUES,
    ROBERTA,
    albert_spm,
    deberta_spm,
    gemma_spm,
    mask_of,
    merges_files,
    plain_spm,
    spm,
    t5_spm,
    write,
)

LANGUAGES = ["ace_Arab", "eng_Latn", "fra_Latn", "zul_Latn"]
#: Nothing that the library's normaliser or its words see in another way than SentencePiece's: marks that combine
#: in more than one step, control characters, spaces at the start, runs of a letter (cuts of the same probability).
PLAIN = (
    *(
        "hello",
        "World",
        "don't",
        "naïve",
        "Straße",
        "ﬁne",
        "the quick brown fox",
        "🦊🦊",
        "東京",
        "你好，世界",
        "ｆｕｌｌ ｗｉｄｔｈ",
    ),
    *("0", "12345", "3.14159", "½", "Ⅳ", "²", "def f(x):", "a_b-c.d/e", '"', "...", "שלום", "é", "ñ"),
)
TEXTS = tuple(f"{one}{gap}{other}" for one in PLAIN for other in PLAIN for gap in (" ", "", "  "))


def loaded(folder: Path, files: dict[str, Any], name: str, **settings: Any) -> Tokenizer:
    return load_tokenizer(write(folder, files, name, **settings))


def theirs(folder: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(folder)


def pieces(raw: bytes) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=raw)


def same(number: int) -> int:
    return number


def fairseq(number: int) -> int:
    return {0: 3, 1: 0, 2: 2}.get(number, number + 1)


def wrong(ours: Tokenizer, raw: bytes, shift: Callable[[int], int], texts: Sequence[str] = TEXTS) -> list[str]:
    """Texts whose tokens are not SentencePiece's."""
    judge = pieces(raw)
    plain = {"add_special": False, "literal": True}
    return [text for text in texts if ours.encode(text, **plain) != [shift(piece) for piece in judge.encode(text)]]


CASES: dict[str, tuple[str, str, Callable[[], bytes], Callable[[int], int], dict[str, Any]]] = {
    "t5": ("T5Tokenizer", "spiece.model", t5_spm, same, {}),
    "xlm-r": ("XLMRobertaTokenizer", "sentencepiece.bpe.model", spm, fairseq, {}),
    "camembert": ("CamembertTokenizer", "sentencepiece.bpe.model", spm, lambda n: n + 4 if n else 3, {}),
    "mbart": ("MBartTokenizer", "sentencepiece.bpe.model", spm, fairseq, {}),
    "mbart50": ("MBart50Tokenizer", "sentencepiece.bpe.model", spm, fairseq, {}),
    "nllb": (
        "NllbTokenizer",
        "sentencepiece.bpe.model",
        lambda: spm("bpe"),
        fairseq,
        {"additional_special_tokens": LANGUAGES},
    ),
    "deberta": ("DebertaV2Tokenizer", "spm.model", deberta_spm, same, {}),
    "llama": ("LlamaTokenizer", "tokenizer.model", lambda: plain_spm("bpe"), same, {}),
    "llama, normalised": (
        "LlamaTokenizer",
        "tokenizer.model",
        lambda: spm("bpe", byte_fallback=True, size=700),
        same,
        {},
    ),
    "gemma": ("GemmaTokenizer", "tokenizer.model", gemma_spm, same, {}),
    "gemma, normalised": (
        "GemmaTokenizer",
        "tokenizer.model",
        lambda: spm("bpe", byte_fallback=True, size=700, add_dummy_prefix=False),
        same,
        {},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_tokens_are_those_of_sentencepiece(case: str, tmp_path: Path) -> None:
    name, file, make, shift, settings = CASES[case]
    ours = loaded(tmp_path, {file: make()}, name, **settings)
    assert wrong(ours, make(), shift) == []
    if case not in ("llama", "gemma"):  # for which spaces count
        assert wrong(ours, make(), shift, [f"  {text} " for text in PLAIN]) == []
    ours.save(tmp_path / "saved")
    again = theirs(tmp_path / "saved")
    assert [text for text in hard_texts(300) if again(text)["input_ids"] != ours.encode(text)] == []
    assert [pair for pair in hard_pairs(100) if again(*pair)["input_ids"] != ours.encode(pair)] == []


def test_every_space_counts_for_llama_and_gemma(tmp_path: Path) -> None:
    """On all hard texts. Metaspace puts no sign of a space before one, so texts of Llama that begin so are left out."""
    ours = loaded(tmp_path / "gemma", {"tokenizer.model": gemma_spm()}, "GemmaTokenizer")
    texts = [text for text in hard_texts() if "<mask>" not in text]  # which literal text of ours does not hold
    assert wrong(ours, gemma_spm(), same, texts) == []
    ours = loaded(tmp_path / "llama", {"tokenizer.model": plain_spm("bpe")}, "LlamaTokenizer")
    assert wrong(ours, plain_spm("bpe"), same, [text for text in hard_texts() if text[:1] not in (" ", "▁")]) == []


def test_llama_over_a_unigram_model_stays_one(tmp_path: Path) -> None:
    """Transformers 5.23 makes merges of its log probabilities."""
    raw = plain_spm("unigram")
    ours = loaded(tmp_path, {"tokenizer.model": raw}, "LlamaTokenizer", add_bos_token=True)
    assert wrong(ours, raw, same) == []
    assert theirs(tmp_path)("hello")["input_ids"] != ours.encode("hello") == [1, *pieces(raw).encode("hello")]
    ours.save(tmp_path / "saved")
    again = theirs(tmp_path / "saved")
    assert [text for text in hard_texts(300) if again(text)["input_ids"] != ours.encode(text)] == []


@pytest.mark.parametrize(
    ("name", "make"), [("LlamaTokenizer", lambda: plain_spm("bpe")), ("GemmaTokenizer", gemma_spm)]
)
def test_a_start_token_is_put_where_nothing_is_said(name: str, make: Callable[[], bytes], tmp_path: Path) -> None:
    """As their documentation says, and transformers 4 did; 5.23 puts none."""
    ours = loaded(tmp_path / "a", {"tokenizer.model": make()}, name)
    assert ours.encode("a")[0] == ours.special.start
    silent = loaded(tmp_path / "b", {"tokenizer.model": make()}, name, add_bos_token=False)
    assert silent.encode("a") == ours.encode("a")[1:]


@pytest.mark.parametrize("name", ["RobertaTokenizer", "BartTokenizer", "LongformerTokenizer"])
def test_the_mask_takes_its_space_along(name: str, tmp_path: Path) -> None:
    """As in the ``tokenizer.json`` of these models; 5.23 leaves a token of a space before it."""
    ours = loaded(tmp_path / "a", merges_files(*ROBERTA), name)
    said = loaded(tmp_path / "b", merges_files(*ROBERTA) | mask_of("<mask>"), name)
    assert ours.encode("hello <mask>.") == said.encode("hello <mask>.")
    assert ours.encode("hello <mask>.") == theirs(tmp_path / "b")("hello <mask>.")["input_ids"]
    text = loaded(tmp_path / "c", merges_files(*ROBERTA), name, mask_token="<mask>")
    assert text.encode("hello <mask>.") == said.encode("hello <mask>.")
    space = ours.token_id("Ġ")
    assert space in theirs(tmp_path / "a")("hello <mask>.")["input_ids"]
    assert space not in ours.encode("hello <mask>.")


def test_deberta_has_one_separator_and_two_segments(tmp_path: Path) -> None:
    """As in its paper's code; 5.23 puts two separators between a pair and no second segment."""
    special = ("[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]")
    ours = loaded(tmp_path, merges_files(*special), "DebertaTokenizer")
    cls, sep = ours.special.first, ours.special.separator
    text = ours.encode("hello", add_special=False)
    batch = ours.encode_batch([("hello", "hello")])
    assert batch.tokens.tolist() == [[cls, *text, sep, *text, sep]]
    assert batch.segments is not None
    assert batch.segments.tolist() == [[0] * (len(text) + 2) + [1] * (len(text) + 1)]
    judge = theirs(tmp_path)
    texts = [text for text in hard_texts() if "[MASK]" not in text]
    assert [text for text in texts if judge(text)["input_ids"] != ours.encode(text)] == []
    ours.save(tmp_path / "saved")
    again = theirs(tmp_path / "saved")("hello", "hello")
    assert again["input_ids"] == batch.tokens.tolist()[0]
    assert again["token_type_ids"] == batch.segments.tolist()[0]


def test_albert_reads_a_number_and_its_comma_as_two(tmp_path: Path) -> None:
    """As in its paper's code; 5.23 takes ``9,`` where the vocabulary has it."""
    ours = loaded(tmp_path, {"spiece.model": albert_spm(own="[MASK]")}, "AlbertTokenizer")
    assert ours.token_id("▁9,") is not None
    read = [ours.token_content(token) for token in ours.encode("9,", add_special=False)]
    assert read == ["▁", "9", ","]
    judge = theirs(tmp_path)
    texts = [text for text in hard_texts() if "9," not in text and "[MASK]" not in text]
    assert [text for text in texts if judge(text)["input_ids"] != ours.encode(text)] == []


@pytest.mark.parametrize(("name", "codes"), [("MBartTokenizer", MBART), ("MBart50Tokenizer", MBART50)])
def test_mbart_puts_the_language_where_it_was_trained(name: str, codes: Sequence[str], tmp_path: Path) -> None:
    ours = loaded(tmp_path, {"sentencepiece.bpe.model": spm()}, name, src_lang="de_DE")
    judge = theirs(tmp_path)
    for code in (*codes, "<mask>", "<s>", "<pad>", "</s>", "<unk>"):
        assert ours.token_id(code) == judge.convert_tokens_to_ids(code)
    assert ours.encode("hello") == judge("hello")["input_ids"]
    assert ours.encode(("hello", "world")) == judge("hello", "world")["input_ids"]
    assert len(judge) == ours.vocab_size == len(pieces(spm())) + 1 + len(codes) + 1
    with pytest.raises(CheckpointError, match=r"no such language.*got xx_XX.*ar_AR, cs_CZ"):
        loaded(tmp_path / "x", {"sentencepiece.bpe.model": spm()}, name, src_lang="xx_XX")


@pytest.mark.parametrize("behind", [False, True])
def test_nllb_has_its_languages_before_the_mask(behind: bool, tmp_path: Path) -> None:
    """5.23 gives the mask the id of the first language unless the folder says the ids, as here."""
    raw = spm("bpe")
    first = len(pieces(raw)) + 1
    kept = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    ids = {str(first + place): {"content": code} | kept for place, code in enumerate([*LANGUAGES, "<mask>"])}
    ids[str(first + len(LANGUAGES))]["lstrip"] = True
    said = {"additional_special_tokens": LANGUAGES, "src_lang": "fra_Latn", "legacy_behaviour": behind}
    ours = loaded(tmp_path, {"sentencepiece.bpe.model": raw}, "NllbTokenizer", **said, added_tokens_decoder=ids)
    judge = theirs(tmp_path)
    # 5.23 keeps spaces at an end of a section, which SentencePiece takes off
    texts = [text for text in TEXTS if judge(text)["input_ids"] != ours.encode(text)]
    assert texts == []
    assert ours.encode(("hello", "world")) == judge("hello", "world")["input_ids"]
    plain = loaded(tmp_path / "b", {"sentencepiece.bpe.model": raw}, "NllbTokenizer", **said)
    assert [plain.token_id(code) for code in (*LANGUAGES, "<mask>")] == list(map(int, ids))
    with pytest.raises(CheckpointError, match=r"NLLB tokenizer without languages.*additional_special_tokens"):
        loaded(tmp_path / "c", {"sentencepiece.bpe.model": raw}, "NllbTokenizer")


def test_deberta_v2_uses_the_characters_of_its_file(tmp_path: Path) -> None:
    """5.23 leaves the file's character map out, so that a ligature is unknown."""
    ours = loaded(tmp_path / "a", {"spm.model": deberta_spm()}, "DebertaV2Tokenizer")
    assert ours.decode(ours.encode("ﬁne")) == "fine"
    assert ours.special.unknown in theirs(tmp_path / "a")("ﬁne")["input_ids"]
    mask = ours.special.mask
    assert mask == len(pieces(deberta_spm()))
    split = loaded(
        tmp_path / "b", {"spm.model": deberta_spm()}, "DebertaV2Tokenizer", do_lower_case=True, split_by_punct=True
    )
    judge = theirs(tmp_path / "b")
    texts = [text for text in TEXTS if text.isascii()]
    assert [text for text in texts if judge(text)["input_ids"] != split.encode(text)] == []
    assert [
        pair for pair in zip(texts, texts[::-1], strict=True) if judge(*pair)["input_ids"] != split.encode(pair)
    ] == []


def test_residues_come_back_without_spaces(tmp_path: Path) -> None:
    """5.23 joins them with spaces, which a sequence has not."""
    ours = loaded(tmp_path, {"vocab.txt": "\n".join(RESIDUES)}, "EsmTokenizer")
    row = ours.encode("MKTAYIAKQR")
    assert ours.decode(row) == "MKTAYIAKQR"
    assert theirs(tmp_path).decode(row, skip_special_tokens=True) == "M K T A Y I A K Q R"
    assert ours.offsets("MK <mask>T") == [(0, 0), (0, 1), (1, 2), (3, 9), (9, 10), (0, 0)]


def test_starcoders_digits_are_words_of_their_own(tmp_path: Path) -> None:
    files = merges_files() | {"config.json": json.dumps({"model_type": "starcoder2"})}
    ours = load_tokenizer(write(tmp_path, files))
    assert [ours.token_content(token) for token in ours.encode("12345")] == list("12345")
    ours.save(tmp_path / "saved")
    assert theirs(tmp_path / "saved")("12345 ½")["input_ids"] == ours.encode("12345 ½")


def test_ranks_in_any_order_and_a_word_that_no_two_tokens_make(tmp_path: Path) -> None:
    ranks = {bytes([byte]): byte for byte in range(256)}
    ranks |= {b"ab": 256, b"abc": 257, b"bcd": 258, b"abcd": 259, b"vwxyz": 260, b"aab": 261, b"aabc": 262}
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks.items()]
    ours = load_tokenizer(write(tmp_path, {"gpt2.tiktoken": "".join(reversed(lines))}))
    words = openai_public.r50k_pat_str
    judge = tiktoken.Encoding("a", pat_str=words, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 50256})
    draw = random.Random(0)
    texts = ["vwxyz", "abcd", *("".join(draw.choices("aabcd", k=draw.randint(1, 12))) for _ in range(500))]
    assert [text for text in texts if ours.encode(text) != judge.encode(text)] == []
    assert ours.encode("vwxyz") == [260]


def test_a_token_with_a_role_is_special_whatever_its_entry_says(tmp_path: Path) -> None:
    entry = {"content": "<|pad|>", "lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    files = merges_files()
    number = len(json.loads(files["vocab.json"]))
    decoder = {str(number): entry | {"special": False}}
    ours = loaded(tmp_path, files, "GPT2Tokenizer", pad_token="<|pad|>", added_tokens_decoder=decoder)
    assert ours.encode("<|pad|>") == theirs(tmp_path)("<|pad|>")["input_ids"] == [number]
    assert number not in ours.encode("<|pad|>", literal=True)


@pytest.mark.parametrize(
    "make", [spm, t5_spm, gemma_spm, lambda: plain_spm("unigram"), lambda: albert_spm(own="[MASK]")]
)
def test_the_file_is_read_as_protobuf_reads_it(make: Callable[[], bytes], tmp_path: Path) -> None:
    (tmp_path / "a.model").write_bytes(make())
    found = read_sentencepiece(tmp_path / "a.model")
    message = sentencepiece_model_pb2.ModelProto()
    message.ParseFromString(make())
    assert [(piece.text, piece.score, piece.kind) for piece in found.pieces] == [
        (piece.piece, piece.score, piece.type) for piece in message.pieces
    ]
    assert found.charsmap == message.normalizer_spec.precompiled_charsmap
    assert found.byte_fallback == message.trainer_spec.byte_fallback
    assert found.unknown == message.trainer_spec.unk_id
    assert found.dummy_prefix == message.normalizer_spec.add_dummy_prefix
    assert found.collapse_spaces == message.normalizer_spec.remove_extra_whitespaces
    assert found.kind == {1: "unigram", 2: "BPE"}[message.trainer_spec.model_type]
