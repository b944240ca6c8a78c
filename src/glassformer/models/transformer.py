"""The Transformer: an encoder, a decoder or both, and a head. What a model lacks is absent from its description.

decoder only       tokens → embedding → decoder → head                    GPT-2, Llama
encoder only       tokens or images → embedding → encoder → head          BERT, ViT
encoder-decoder    source → encoder ─ memory ─┐
                   target → embedding → decoder → head                    T5, the translator of 2017
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from glassformer.core.config import Config
from glassformer.core.errors import DataError, UnsupportedError
from glassformer.core.part import Part
from glassformer.data.batch import Batch
from glassformer.models.initialise import initialise
from glassformer.parts.attention import Attending
from glassformer.parts.cache import Cache
from glassformer.parts.dropout import Dropout
from glassformer.parts.embedding import Embedding, EmbeddingConfig
from glassformer.parts.head import HeadConfig, PoolerConfig, PretrainHeadConfig
from glassformer.parts.mask import Mask
from glassformer.parts.patches import PatchEmbedding, PatchEmbeddingConfig
from glassformer.parts.positions import LearnedPositions, LearnedPositionsConfig
from glassformer.parts.rows import Rows
from glassformer.parts.stack import StackConfig

if TYPE_CHECKING:
    from glassformer.models.summary import Summary


class TransformerConfig(Config):
    """A whole model.

    vocab_size: 0 where there are only images · max_positions: the longest row of tokens that the model is made for,
    None where nothing limits it · embedding: of tokens, or for an encoder of the patches of images ·
    decoder_embedding: of the target where it is not the source's · pooler: one vector a row, for heads that read it.
    """

    d_model: int
    vocab_size: int = 0
    embedding: EmbeddingConfig | PatchEmbeddingConfig = EmbeddingConfig()
    encoder: StackConfig | None = None
    decoder: StackConfig | None = None
    decoder_embedding: EmbeddingConfig | None = None
    pooler: PoolerConfig | None = None
    head: HeadConfig | None = None
    max_positions: int | None = None

    def check(self) -> None:
        self.require(0 < self.d_model <= 1 << 20, "d_model", "1 … 2^20")
        least, most = (1, 1 << 24) if self.reads_tokens else (0, 0)
        expected = "1 … 2^24" if self.reads_tokens else "0: there are only images"
        self.require(least <= self.vocab_size <= most, "vocab_size", expected)
        self.require(self.max_positions is None or 0 < self.max_positions <= 1 << 30, "max_positions", "1 … 2^30")
        self.require(self.encoder is not None or self.decoder is not None, "encoder", "an encoder, a decoder or both")
        both = self.encoder is not None and self.decoder is not None
        crosses = self.decoder is not None and self.decoder.crosses
        self.require(both == crosses, "decoder", "cross_attention in its blocks exactly where there is an encoder")
        self.require(self.encoder is None or not self.encoder.crosses, "encoder", "blocks without cross_attention")
        images = isinstance(self.embedding, PatchEmbeddingConfig)
        self.require(not images or self.encoder is not None, "encoder", "one, for images")
        table = (self.decoder_embedding or self.embedding).positions
        if isinstance(table, LearnedPositionsConfig):
            reach = self.max_positions is None or self.max_positions <= table.max_positions
            self.require(reach, "max_positions", f"at most the {table.max_positions} learned positions")
        self._check_shared()
        reads_pooled = self.head is not None and self.head.reads_pooled
        self.require(not reads_pooled or self.pooler is not None, "pooler", f"one, for {type(self.head).__name__}")
        fits = not isinstance(self.head, PretrainHeadConfig) or self.head_width == self.d_model
        self.require(fits, "pooler", "one of the width of d_model, for PretrainHeadConfig")

    def _check_shared(self) -> None:
        own = self.decoder_embedding
        if isinstance(self.embedding, PatchEmbeddingConfig):
            fits = own is None or not own.shared if self.decoder is None else own is not None and not own.shared
            self.require(fits, "decoder_embedding", "one with a table of its own: the source is images")
            return
        self.require(not self.embedding.shared, "embedding", "shared=False: it is the target's that can be shared")
        fits = own is None or not own.shared or (own.width or self.d_model) == (self.embedding.width or self.d_model)
        self.require(
            fits, "decoder_embedding", f"the width of the table that it shares, {self.embedding.width or self.d_model}"
        )

    @property
    def head_width(self) -> int:
        """Of the vectors that the head reads."""
        if self.head is None or self.pooler is None or not self.head.reads_pooled:
            return self.d_model
        return self.pooler.width(self.d_model)

    @property
    def reads_tokens(self) -> bool:
        """Whether there is a vocabulary."""
        return isinstance(self.embedding, EmbeddingConfig) or self.decoder_embedding is not None

    def build(
        self, *, seed: int | None = 0, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> Transformer:
        """The model, with weights drawn from ``seed``; None leaves them as they are, for a loader to fill."""
        with torch.device("meta"):
            model = Transformer(self).to(dtype)
        if seed is not None or torch.device(device).type != "meta":
            model.to_empty(device=device)
            model.tie()
        if seed is not None and torch.device(device).type != "meta":
            initialise(model, seed)
        return model.eval()


class SpecialTokens(NamedTuple):
    """Token ids that belong to a checkpoint beside its description."""

    start: int | None = None
    end: tuple[int, ...] = ()
    pad: int | None = None
    decoder_start: int | None = None


class Transformer(Part):
    """The model of a ``TransformerConfig``; it stays a plain ``nn.Module``."""

    special = SpecialTokens()
    #: What the numbers of a labelling head mean, where a checkpoint says it.
    labels: tuple[str, ...] = ()

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = config.embedding.build(config.vocab_size, config.d_model)
        own = config.decoder_embedding
        self.decoder_embedding = None if own is None else own.build(config.vocab_size, config.d_model)
        self._share_tokens()
        self.encoder = None if config.encoder is None else config.encoder.build(config.d_model)
        self.decoder = None if config.decoder is None else config.decoder.build(config.d_model)
        self.pooler = None if config.pooler is None else config.pooler.build(config.d_model)
        self.head = None if config.head is None else config.head.build(config.head_width, self._table)

    def forward(
        self,
        tokens: Tensor | Batch,
        target: Tensor | Batch | None = None,
        *,
        valid: Tensor | None = None,
        lengths: Tensor | None = None,
        documents: Tensor | None = None,
        segments: Tensor | None = None,
        cache: Cache | None = None,
        source_valid: Tensor | None = None,
        target_valid: Tensor | None = None,
    ) -> Tensor:
        """What the head computes, for instance logits (batch position vocab); without a head the last hidden states.

        tokens: int64, batch position, or images: float, batch channel height width; with a ``target``, the source of an
        encoder-decoder · valid: bool, batch
        position, True = a real token, padding on either side; or lengths: int, batch; or documents: int, batch
        position, ids of packed rows · segments: int64, token types · cache: from ``model.cache``, without
        gradients.

        Raises:
            DataError: a wrong shape, type or token id, or a row longer than learned positions reach.
        """
        with _mode(cache):
            hidden, rows = self._run(
                tokens, target, valid=valid, lengths=lengths, documents=documents, segments=segments, cache=cache,
                source_valid=source_valid, target_valid=target_valid,
            )  # fmt: skip
            return self._headed(hidden, rows)

    def hidden(self, tokens: Tensor | Batch, target: Tensor | Batch | None = None, **said: Any) -> Tensor:
        """The last hidden states, whatever the head: batch position model. Arguments as in ``forward``."""
        with _mode(said.get("cache")):
            return self._run(tokens, target, **said)[0]

    def cache(self, batch: int, max_positions: int | None = None) -> Cache:
        """A cache for ``batch`` rows of at most ``max_positions`` tokens (None: all that the model is made for).

        Raises:
            UnsupportedError: an encoder alone, or no bound on the positions.
        """
        if self.decoder is None:
            raise UnsupportedError("an encoder has no cache: each token sees the ones behind it", do="pass whole rows")
        limit = max_positions or self.config.max_positions
        if limit is None:
            raise UnsupportedError("this model has no longest row", do="say max_positions")
        device = next(self._target_embedding.parameters()).device
        return Cache(self.decoder.windows, self.decoder.crosses, batch=batch, max_positions=limit, device=device)

    def tie(self) -> None:
        """Share again what the description says is shared, after tensors were replaced."""
        self._share_tokens()
        if self.head is not None and getattr(self.config.head, "tied", False):
            tie: Any = self.head.tie
            tie(self._table)
        for stack in (self.encoder, self.decoder):
            if stack is not None:
                stack.share()

    def set_dropout(self, *, residual: float = 0.0, attention: float = 0.0, embedding: float = 0.0) -> None:
        """Dropout rates for training: of what blocks and heads add, of attention patterns, of embeddings."""
        for path, part in self.named_modules():
            if isinstance(part, Dropout):
                owner = path.rpartition(".")[0].rpartition(".")[2]
                part.rate = {"attention": attention, "cross_attention": attention}.get(owner, residual)
        for table in (self.embedding, self.decoder_embedding):
            if table is not None:
                table.dropout.rate = embedding

    def compile(self, *arguments: Any, **keywords: Any) -> None:
        """``torch.compile`` each block: one graph serves all layers, and taps add one graph for each of their kinds."""
        keywords = {"fullgraph": True, "recompile_limit": 64, **keywords}
        for part in self.modules():
            if isinstance(part, Attending):
                part.compiled = True
        for stack in (self.encoder, self.decoder):
            for block in stack.blocks if stack is not None else ():
                block.compile(*arguments, **keywords)

    def summary(self) -> Summary:
        """Parameters, FLOPs per token, KV bytes per token."""
        from glassformer.models.summary import summarise

        return summarise(self)

    def _share_tokens(self) -> None:
        own = self.config.decoder_embedding
        if own is not None and own.shared and self.decoder_embedding is not None:
            assert isinstance(self.embedding, Embedding)
            self.decoder_embedding.tokens.weight = self.embedding.tokens.weight

    @property
    def _target_embedding(self) -> Embedding | PatchEmbedding:
        return self.embedding if self.decoder_embedding is None else self.decoder_embedding

    @property
    def _table(self) -> nn.Embedding | None:
        """The token table of the target, or of the source; None where there are only images."""
        last = self._target_embedding
        return last.tokens if isinstance(last, Embedding) else None

    def _run(
        self, tokens: Tensor | Batch, target: Tensor | Batch | None = None, *, valid: Tensor | None = None,
        lengths: Tensor | None = None, documents: Tensor | None = None, segments: Tensor | None = None,
        cache: Cache | None = None, source_valid: Tensor | None = None, target_valid: Tensor | None = None,
    ) -> tuple[Tensor, Rows]:  # fmt: skip
        """The last hidden states and their rows."""
        if isinstance(tokens, Batch) and documents is None:
            documents = tokens.documents
        tokens, valid, segments = _unpacked(tokens, valid, segments)
        if self.encoder is not None and self.decoder is not None:
            target, target_valid, target_segments = _unpacked(target, target_valid, None)
            if target_segments is not None:
                raise DataError("segments are for the source of an encoder-decoder", do="leave those of the target out")
            if valid is not None and source_valid is not None:
                raise DataError("valid and source_valid say the same thing", do="give one of them")
            source_valid = valid if source_valid is None else source_valid
            return self._pair(tokens, target, source_valid, target_valid, lengths, documents, segments, cache)
        for name, value in (("target", target), ("source_valid", source_valid), ("target_valid", target_valid)):
            if value is not None:
                raise DataError(f"{name} is for an encoder-decoder", do="use tokens and valid")
        rows = self.embedding.rows(tokens, valid=valid, lengths=lengths, documents=documents)
        if self.encoder is not None:
            return self._encode(tokens, rows, segments, cache), rows
        return self._decode(tokens, rows, segments, cache)

    def _headed(self, hidden: Tensor, rows: Rows) -> Tensor:
        if rows.documents is not None and self.config.head is not None and self.config.head.reads_pooled:
            raise UnsupportedError("packed documents have no vector of their row", do="give each a row of its own")
        pooled = None if self.pooler is None else self.pooler(hidden, rows)
        if self.head is None:
            return hidden
        axes: Any = self.head.axes
        return self.tap("logits", self.head(hidden, pooled), axes)

    def _encode(self, tokens: Tensor, rows: Rows, segments: Tensor | None, cache: Cache | None) -> Tensor:
        assert self.encoder is not None
        if cache is not None:
            raise UnsupportedError("an encoder has no cache: each token sees the ones behind it", do="pass whole rows")
        self._check_reach(self.embedding, rows)
        x = self.embedding(tokens, rows, segments)
        out: Tensor = self.encoder(x, rows, rows.mask())
        return out

    def _decode(
        self, tokens: Tensor, rows: Rows, segments: Tensor | None, cache: Cache | None, memory: Tensor | None = None,
        memory_rows: Rows | None = None,
    ) -> tuple[Tensor, Rows]:  # fmt: skip
        assert self.decoder is not None
        mask, step = Mask.causal() & rows.mask(), None
        if cache is not None:
            self._check_cache(cache, rows, tokens)
            step = cache.advance(rows, tokens.shape[1])
            rows, mask = step.rows, Mask.causal()  # slots are positions: causality hides padding too
        self._check_reach(self._target_embedding, rows)
        x = self._target_embedding(tokens, rows, segments)
        hidden = self.decoder(x, rows, mask, memory=memory, memory_rows=memory_rows, cache=cache, step=step)
        return hidden, rows

    def _pair(
        self, source: Tensor, target: Tensor | None, source_valid: Tensor | None, target_valid: Tensor | None,
        lengths: Tensor | None, documents: Tensor | None, segments: Tensor | None, cache: Cache | None,
    ) -> tuple[Tensor, Rows]:  # fmt: skip
        """The decoder's hidden states; with a cache, the source is encoded by the first step only."""
        if target is None:
            raise DataError("an encoder-decoder needs a target", do="call model(source, target)")
        if documents is not None:
            raise UnsupportedError("packed rows of an encoder-decoder", do="give each pair a row of its own")
        memory = None if cache is None else cache.memory
        memory_rows = None if cache is None else cache.memory_rows
        if memory is None or memory_rows is None:
            memory_rows = self.embedding.rows(source, valid=source_valid, lengths=lengths)
            memory = self._encode(source, memory_rows, segments, None)
        rows = self._target_embedding.rows(target, valid=target_valid)
        if memory.shape[0] != target.shape[0]:
            raise DataError("rows of the target", got=target.shape[0], expected=f"{memory.shape[0]}, as the source has")
        if cache is not None:
            cache.memory, cache.memory_rows = memory, memory_rows
        return self._decode(target, rows, None, cache, memory, memory_rows)

    def _check_cache(self, cache: Cache, rows: Rows, tokens: Tensor) -> None:
        """A cache keeps its number of rows, and a row the frequencies with which it began."""
        batch = cache.lengths.shape[0]
        if tokens.shape[0] != batch:
            raise DataError("rows of tokens", got=tokens.shape[0], expected=f"{batch}, as the cache has")
        if self.decoder is not None and (self.decoder.limited or self.decoder.by_row) and rows.documents is None:
            new = tokens.shape[1] if rows.valid is None else rows.lengths
            self.decoder.check_growth(cache.lengths, cache.lengths + new)

    def _check_reach(self, embedding: Embedding | PatchEmbedding, rows: Rows) -> None:
        """Learned positions end where their table ends."""
        table = embedding.positions
        if isinstance(table, LearnedPositions) and rows.positions.device.type == "cpu":
            longest = int(rows.positions.amax()) + 1
            if longest > table.max_positions:
                got = f"{longest} tokens"
                raise DataError("a row is longer than the model", got=got, expected=f"at most {table.max_positions}")

    # What rooms above this one do with a model, under the names by which people know it.

    def trace(self) -> Any:
        """A context in which values are read and changed: see ``glassformer.inside.trace``."""
        from glassformer.core.roof import above

        return above("inside.trace").Trace(self)

    def value_names(self) -> dict[str, str]:
        """Every value's address and its axes, found on the meta device without weights."""
        from glassformer.core.roof import above

        names: dict[str, str] = above("inside.names").value_names(self.config)
        return names

    def named_value(self, name: str, tokens: Tensor, **rows: Any) -> Tensor:
        """One value of one forward: what ``trace`` reads under that name."""
        with self.trace() as trace:
            trace.read(name)
            self(tokens, **rows)
        value: Tensor = trace[name]
        return value

    def generate(self, *arguments: Any, **keywords: Any) -> Any:
        """Continue token rows: see ``glassformer.generate.decode``."""
        from glassformer.core.roof import above

        return above("generate.decode").generate_tokens(self, *arguments, **keywords)

    def embed(self, texts: Sequence[str], **keywords: Any) -> Tensor:
        """One vector a text, float32, text state: see ``glassformer.embed.vectors``."""
        from glassformer.core.roof import above

        vectors: Tensor = above("embed.vectors").embed(self, texts, **keywords)
        return vectors

    def save(self, folder: str | Path, **keywords: Any) -> None:
        """Write a Hugging Face folder: see ``glassformer.checkpoints.folder``."""
        from glassformer.core.roof import above

        above("checkpoints.folder").save(self, folder, **keywords)


def _unpacked(
    tokens: Tensor | Batch | None, valid: Tensor | None, segments: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Ids, padding mask and token types of a tensor or a Batch."""
    if isinstance(tokens, Batch):
        return (
            tokens.tokens,
            tokens.valid if valid is None else valid,
            tokens.segments if segments is None else segments,
        )
    return tokens, valid, segments  # type: ignore[return-value]  # a missing target is refused where it is needed


def _mode(cache: Cache | None) -> AbstractContextManager[Any]:
    """A cache is for inference: gradients would not reach the tokens that it holds."""
    return nullcontext() if cache is None else torch.no_grad()
