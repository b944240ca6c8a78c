"""Texts that tokenizers stumble over, the same on every run."""

from __future__ import annotations

import random
from functools import cache

PARTS = (
    *(
        "hello",
        "World",
        "don't",
        "I'LL",
        "naïve",
        "Straße",
        "İstanbul",
        "ﬁne",
        "the quick brown fox",
        "MKTAYIAKQR",
        "Ǆ",
    ),
    *("👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇫🇷", "👍🏽", "❤️", "\u200d", "🦊🦊"),
    *("e\u0301", "o\u0308\u0323", "\u0301", "क्षि", "Z͑ͫ̓a̴l̷go", "\u1100\u1161\u11a8", "ñ", "n\u0303"),
    *("שלום", "مرحبا بالعالم", "\u202eabc\u202c", "لا", "עִבְרִית"),
    *("東京", "日本語のテキスト", "你好，世界", "한국어", "ｆｕｌｌ ｗｉｄｔｈ", "ｶﾞ", "㍿", "𠀋", "〇"),
    *(
        " ",
        "  ",
        "   ",
        "\t",
        "\n",
        "\r\n",
        "\n\n\n",
        "\u00a0",
        "\u2003",
        "\u3000",
        "\u2028",
        "\u1680",
        "\u205f",
        "\v\f",
    ),
    *("\u200b", "\u200c", "\ufeff", "\u2060", "\u00ad", "\ufffd"),
    *("\x00", "\x01", "\x1b[31m", "\x7f", "\x85", "\x1c", "\x1f"),
    *("0", "12345", "3.14159", "1,000", "9,", "½", "Ⅳ", "٣٤٥", "²", "१२", "1e-9"),
    *(
        "def f(x):\n    return x**2",
        "if (a != b) { c[0] += 1; }",
        "</div>",
        "a_b-c.d/e\\f",
        "''",
        "``",
        '"',
        "...",
        "$$",
        "#!",
        "<w>",
    ),
    *(
        "<s>",
        "</s>",
        "<mask>",
        "[MASK]",
        "[CLS]",
        "<|endoftext|>",
        "<unk>",
        "<pad>",
        "<extra_id_0>",
        "<0x41>",
        "##ing",
        "</w>",
    ),
    *("<|startoftext|>", "en_XX", "▁", "▁▁", "[INST]", "<eos>", "<eo", "|>", "Ġ", "ĠÂ"),
    *("aaaaaaaaaaaaaaaaaaaa", "-----=====-----", "ab" * 20, "supercalifragilisticexpialidocious", "x" * 101),
    *("MKV", "LLA-X.", "acd", "B Z U", "\U000e0041", "\U0001f9ff", "\u0378", "ꙮ", "🫠"),
)


@cache
def hard_texts(count: int = 1000) -> tuple[str, ...]:
    """Every part alone, and mixtures of up to nine with and without spaces between them."""
    draw = random.Random(20240611)
    texts = ["", *PARTS]
    while len(texts) < count:
        joint = draw.choice(("", "", " "))
        texts.append(joint.join(draw.choice(PARTS) for _ in range(draw.randint(2, 9))))
    return tuple(texts)


def hard_pairs(count: int = 1000) -> list[tuple[str, str]]:
    """The texts, each with another one; never an empty second one, which transformers takes for none."""
    texts = hard_texts(count)
    return list(zip(texts, [text or "x" for text in texts[7:] + texts[:7]], strict=True))
