"""Sentence vectors in float32, against ``sentence-transformers`` over ``transformers``, with equal vectors.

512 real texts of mixed length: every other one a sentence of SST-2, else a line of WikiText. Where these data sets are
not beside the repository, made-up texts of the same lengths take their place, which the table says.
"""

from __future__ import annotations

import gzip
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import transformers
from torch import Tensor

from benchmarks.paired import Figure, interleave, median, ratio
from glassformer.checkpoints.folder import load
from glassformer.core.machine import compute_dtype, gemm_rate
from glassformer.models.summary import summarise
from glassformer.models.transformer import Transformer
from glassformer.tokenizers.tokenizer import load_tokenizer

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
COUNT, REPEATS, LONGEST = 512, 3, 256
WORDS = ["the", "of", "and", "a", "to", "in", "is", "it", "that", "film", "was", "for", "as", "with", "on", "movie"]


@dataclass(frozen=True)
class Encoder:
    """A shape that people download."""

    name: str
    layers: int
    width: int
    wanted: float


SHAPES = (Encoder("BERT-base", 12, 768, 1.3), Encoder("MiniLM-L6", 6, 384, 1.5))


def figures() -> Iterator[Figure]:
    """A ratio a shape; bfloat16 beside float32 where the processor has units for it."""
    from sentence_transformers import SentenceTransformer

    texts, kind = sentences()
    for shape in SHAPES:
        with TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            place = make(shape, Path(folder))
            theirs = SentenceTransformer(str(place), device="cpu")
            yield compare(shape, f"embed 512 {kind}, {shape.name}", load(place), texts, theirs, shape.wanted, 0.99999)
            if compute_dtype("cpu") is torch.bfloat16:
                half = load(place, dtype="bfloat16")
                yield compare(shape, f"the same in bfloat16, {shape.name}", half, texts, theirs, 2.0, 0.9995)


def compare(
    shape: Encoder, name: str, model: Transformer, texts: list[str], theirs: object, wanted: float, least: float
) -> Figure:
    """Interleaved runs over all texts; the vectors must be the same."""
    found: dict[str, Tensor] = {}

    def run_ours() -> None:
        found["ours"] = model.embed(texts, truncate=True)

    def run_theirs() -> None:
        found["theirs"] = torch.as_tensor(theirs.encode(texts, show_progress_bar=False))  # type: ignore[attr-defined]  # a SentenceTransformer, known only in this environment

    times = interleave({"ours": run_ours, "theirs": run_theirs}, repeats=REPEATS)
    cosine = float(torch.cosine_similarity(found["ours"].float(), found["theirs"].float()).min())
    assert cosine >= least, f"{name}: cosine {cosine}"
    seconds, tokens = median(times, "ours"), token_count(model, texts)
    flops = summarise(model, context=tokens // len(texts)).flops_per_token * tokens
    share = flops / seconds / (gemm_rate(1024, shape.width, 4 * shape.width) * 1e9)
    said = f"sentence-transformers, cosine {cosine:.6f}"
    return Figure(name, tokens / seconds, "tokens/s", said, ratio(times, "ours", "theirs"), wanted, share, "GEMM rate")


def token_count(model: Transformer, texts: list[str]) -> int:
    """Real tokens of all texts."""
    words = load_tokenizer(model.origin.folder)
    return sum(min(len(row), LONGEST) for row in words.encode_rows(texts))


def sentences() -> tuple[list[str], str]:
    """The texts, and what they are called."""
    if not (DATA / "sst2" / "dev.tsv").exists():
        draw = random.Random(0)
        lengths = [draw.randint(3, 30) if number % 2 else draw.randint(10, 150) for number in range(COUNT)]
        return [" ".join(draw.choices(WORDS, k=length)) for length in lengths], "made-up texts"
    short = [line.rpartition("\t")[0] for line in (DATA / "sst2" / "dev.tsv").read_text("utf-8").splitlines()]
    with gzip.open(DATA / "wikitext2-valid" / "valid.txt.gz", "rt", encoding="utf-8") as file:
        long = [line.strip() for line in file if len(line) > 40]
    chosen = [text for pair in zip(short, long, strict=False) for text in pair][:COUNT]
    assert len(chosen) == COUNT
    return chosen, "real sentences"


def make(shape: Encoder, folder: Path) -> Path:
    """A folder of sentence-transformers with random weights and BERT's word list, or one made of the texts' words."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer as Encoding
    from sentence_transformers.sentence_transformer.modules import Pooling

    torch.manual_seed(0)
    vocab = DATA / "tokenizers" / "bert-base-uncased-vocab.txt"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text(vocab.read_text("utf-8") if vocab.exists() else "\n".join(words), "utf-8")
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    config = transformers.BertConfig(
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=12,
        intermediate_size=4 * shape.width,
    )
    transformers.BertModel(config).save_pretrained(folder / "bert")
    modules = [Encoding(str(folder / "bert"), max_seq_length=LONGEST), Pooling(shape.width), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "model"))
    return folder / "model"
