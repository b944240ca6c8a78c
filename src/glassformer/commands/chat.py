"""Talk with a model that was trained for conversations."""

from __future__ import annotations

import contextlib
import itertools
import json as json_text
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from glassformer.commands.generate import end_one, load, visible
from glassformer.core.errors import DataError, GlassformerError
from glassformer.core.terminal import Progress, print_json, styled

if TYPE_CHECKING:
    from glassformer.generate.text import Completion, Options, Writing
    from glassformer.models.transformer import Transformer
    from glassformer.tokenizers.tokenizer import Tokenizer

HELP = """\
/system TEXT   what the model is told before everything, from the next answer on
/retry         another answer to the last message
/undo          forget the last message and its answer
/clear         begin again
/save FILE     write the conversation as JSON
/exit          end; so does Ctrl-D. Ctrl-C ends an answer and keeps what there is of it"""


def main(
    model: str,
    /,
    *,
    system: str | None = None,
    max_tokens: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    seed: int | None = None,
    json: bool = False,
    threads: int | None = None,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = None,
    device: str = "cpu",
) -> None:
    """Talk with a model whose folder has a chat template; without a terminal each line of stdin is a message.

    Type /help for what else can be said. Answers go to stdout. The most probable token is taken each time, unless an
    option asks for drawing.

    Args:
        model: A folder with config.json, weights, a tokenizer and a chat template.
        system: What the model is told before everything.
        max_tokens: Tokens of an answer at most; when left out 256, or fewer where the model's longest text ends before.
        temperature: Draw, with scores divided by this; below 1 sharper, above 1 flatter, 0 draws nothing.
        top_k: Draw from so many of the best tokens.
        top_p: Draw from the best tokens that together reach this probability.
        min_p: Draw from the tokens with at least this share of the best one's probability.
        repetition_penalty: Divide the scores of tokens that are already there by this; 1 changes nothing.
        seed: The same draws each time.
        json: Print one JSON object an answer.
        threads: Processor threads to compute with.
        dtype: Type to compute in; auto takes the fastest one of the device.
        device: Where to compute, for instance cuda.
    """
    from glassformer.core.machine import thread_count
    from glassformer.generate.text import understood
    from glassformer.tokenizers.chat import chat_text

    if threads is not None and threads < 1:
        raise DataError("threads", got=threads, expected="at least 1")
    options: Options = {
        "max_tokens": max_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
        "repetition_penalty": repetition_penalty, "seed": seed,
    }  # fmt: skip
    understood(options)
    with Progress() as progress:
        progress.update(f"loading {model} ...")
        loaded, tokenizer = load(model, dtype, device)
    talk = Talk(loaded, tokenizer, options, json, system)
    chat_text(tokenizer, talk.messages("?"))  # a folder without a template is refused before anybody types
    with thread_count(threads):
        for line in said():
            talk.hear(line)


def said() -> Iterator[str]:
    """What is typed, line by line, until Ctrl-D or /exit; an empty line says nothing."""
    if not sys.stdin.isatty():
        lines = itertools.takewhile(lambda line: line != "/exit", map(str.strip, sys.stdin))
        yield from filter(None, lines)
        return
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  # arrow keys and history, where there are such
    print("/help says what can be said; Ctrl-D ends", file=sys.stderr)
    while True:
        try:
            line = input(styled("> ", "bold", stream=sys.stdout)).strip()
        except EOFError:
            print()
            return
        except KeyboardInterrupt:  # a press too many must not cost the talk
            print("\nCtrl-D or /exit ends", file=sys.stderr)
            continue
        if line == "/exit":
            return
        if line:
            yield line


@dataclass
class Talk:
    """A conversation: pairs of a message and its answer."""

    model: Transformer
    tokenizer: Tokenizer
    options: Options
    json: bool
    system: str | None = None
    turns: list[tuple[str, str]] = field(default_factory=list)

    def messages(self, last: str | None = None) -> list[dict[str, str]]:
        """Everything that was said, and one message more."""
        found = [] if self.system is None else [{"role": "system", "content": self.system}]
        for message, answer in self.turns:
            found += [{"role": "user", "content": message}, {"role": "assistant", "content": answer}]
        return found if last is None else [*found, {"role": "user", "content": last}]

    def hear(self, line: str) -> None:
        """Answer a message or do what a command says; what cannot be done is one line, and the talk goes on."""
        word, _, rest = line.partition(" ")
        try:
            if not line.startswith("/"):
                self.answer(line)
            elif word not in COMMANDS:
                raise DataError("no such command", got=word, expected=", ".join([*COMMANDS, "/exit"]))
            else:
                COMMANDS[word](self, rest.strip())
        except GlassformerError as error:
            print(error, file=sys.stderr)
        except KeyboardInterrupt:  # before the answer began
            if not sys.stdin.isatty():
                raise
            print("nothing was answered", file=sys.stderr)

    def answer(self, message: str) -> None:
        """Write what the model says, as it comes; Ctrl-C ends it."""
        from glassformer.generate.text import Writing
        from glassformer.tokenizers.chat import chat_ids

        writing = Writing(
            self.model, self.tokenizer, [chat_ids(self.tokenizer, self.messages(message))], **self.options
        )
        completion = written(writing, self.json)
        self.turns.append((message, completion.text))

    def forget(self) -> str:
        """Take the last pair back; its message."""
        if not self.turns:
            raise DataError("nothing was said yet")
        return self.turns.pop()[0]


def written(writing: Writing, json: bool) -> Completion:
    """Show an answer piece by piece; also what there is of it where Ctrl-C ends it."""
    completion, shown = writing.completions[0], 0
    try:
        for _, piece in writing:
            if not json:
                print(visible(piece), end="", flush=True)
                shown += len(piece)
    except KeyboardInterrupt:
        writing.cut()
        if not sys.stdin.isatty():
            end(completion, shown, json)
            raise
    end(completion, shown, json)
    return completion


def end(completion: Completion, shown: int, json: bool) -> None:
    """Show what is left of an answer of which so many characters were shown, and why it ended."""
    if json:
        answer = {"text": completion.text, "tokens": completion.tokens, "reason": completion.reason or "interrupted"}
        print_json(answer)
    else:
        end_one(completion, shown, json)
    if completion.reason == "length":
        print(f"the answer ended after {completion.tokens} tokens · --max-tokens N for another length", file=sys.stderr)


def _system(talk: Talk, rest: str) -> None:
    talk.system = rest or None


def _retry(talk: Talk, rest: str) -> None:
    talk.answer(talk.forget())


def _undo(talk: Talk, rest: str) -> None:
    print(f"forgotten: {visible(talk.forget())}", file=sys.stderr)


def _clear(talk: Talk, rest: str) -> None:
    talk.turns.clear()


def _save(talk: Talk, rest: str) -> None:
    if not rest:
        raise DataError("no file", do="/save FILE")
    try:
        with Path(rest).open("x", encoding="utf-8") as file:
            file.write(json_text.dumps({"messages": talk.messages()}, ensure_ascii=False, indent=1) + "\n")
    except OSError as error:
        raise DataError("cannot be written", at=rest, got=error.strerror) from error


def _help(talk: Talk, rest: str) -> None:
    print(HELP, file=sys.stderr)


COMMANDS: dict[str, Callable[[Talk, str], Any]] = {
    "/help": _help, "/system": _system, "/retry": _retry, "/undo": _undo, "/clear": _clear, "/save": _save,
}  # fmt: skip
