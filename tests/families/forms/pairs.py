"""BART and the encoder-decoders of its words: mBART, PEGASUS, Marian, M2M-100."""

from __future__ import annotations

from tests.families.forms import LABELS, PAD, VOCAB, Family, Form

SIZES = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 64,
    "vocab_size": VOCAB,
    "pad_token_id": PAD,
    "bos_token_id": None,
    "eos_token_id": None,
    "forced_eos_token_id": None,
    "decoder_start_token_id": PAD,
}

FAMILIES = {
    "bart": Family("pair", SIZES),
    "mbart": Family("pair", SIZES),
    "pegasus": Family("pair", {key: value for key, value in SIZES.items() if key != "bos_token_id"}),
    "marian": Family("pair", SIZES),
    # whose positions begin behind the padding token, which must not be the one that targets begin with
    "m2m_100": Family("pair", {**SIZES, "pad_token_id": 1}),
}

UNEVEN = {
    "encoder_layers": 3,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 8,
    "encoder_ffn_dim": 40,
    "activation_function": "gelu_pytorch_tanh",
}
#: Of writing, and nothing of the model.
WORDS = ("forced_eos_token_id",)
#: What transformers has in its files, computes, and reads again if it is there.
COMPUTED = frozenset(f"{side}.embed_positions.weight" for side in ("encoder", "decoder"))


def behind(prefix: str, names: frozenset[str]) -> frozenset[str]:
    return frozenset(prefix + name for name in names)


#: Of weights with which words vary.
SEEDS = {
    "mbart-scaled": 31,
    "pegasus-uneven": 24,
    "pegasus-untied": 21,
    "marian": 11,
    "marian-scaled": 11,
    "marian-uneven": 26,
    "marian-untied": 6,
    "m2m-untied": 34,
}


def forms(name: str, tokens: str, unused: frozenset[str] = frozenset()) -> tuple[Form, ...]:
    settings = {
        name: {},
        f"{name}-scaled": {"scale_embedding": name != "m2m"},
        f"{name}-uneven": UNEVEN,
        f"{name}-untied": {"tie_word_embeddings": False},
    }
    apart = {f"{name}-untied": unused | {"model.shared.weight"}}
    return tuple(
        Form(one, tokens, said, seed=SEEDS.get(one, 0), other_words=WORDS, unused=apart.get(one, unused))
        for one, said in settings.items()
    )


FORMS = (
    *forms("bart", "BartForConditionalGeneration"),
    Form("bart-hidden", "BartModel", other_words=WORDS),
    Form("bart-classify", "BartForSequenceClassification", LABELS, other_words=WORDS),
    Form("bart-span", "BartForQuestionAnswering", other_words=WORDS),
    *forms("mbart", "MBartForConditionalGeneration"),
    Form("mbart-hidden", "MBartModel", other_words=WORDS),
    Form("mbart-classify", "MBartForSequenceClassification", LABELS, other_words=WORDS),
    Form("mbart-span", "MBartForQuestionAnswering", other_words=WORDS),
    *forms("pegasus", "PegasusForConditionalGeneration", unused=behind("model.", COMPUTED)),
    Form("pegasus-hidden", "PegasusModel", unused=COMPUTED, other_words=WORDS),
    *forms("marian", "MarianMTModel"),
    Form("marian-hidden", "MarianModel", unused=COMPUTED, other_words=WORDS),
    *forms("m2m", "M2M100ForConditionalGeneration"),
    Form("m2m-hidden", "M2M100Model", other_words=WORDS),
)
