from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest

from glassformer.commands import chat
from glassformer.core.errors import DataError, UnsupportedError
from glassformer.generate import text
from glassformer.tokenizers.kinds import byte_tokenizer
from tests.builders import gpt_like, lively

TEMPLATE = """{% for m in messages %}{{ m.role[0] }}:{{ m.content }}
{% endfor %}{% if add_generation_prompt %}a:{% endif %}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A saved model whose tokenizer has a chat template."""
    place = tmp_path_factory.mktemp("chat") / "model"
    config = gpt_like().replace(vocab_size=257)
    table = config.embedding.replace(positions=config.embedding.positions.replace(max_positions=512))
    lively(config.replace(head=config.head.replace(tied=False), embedding=table, max_positions=512)).save(
        place, tokenizer=byte_tokenizer()
    )
    (place / "chat_template.jinja").write_text(TEMPLATE)
    return str(place)


@pytest.fixture(scope="module")
def model(folder):
    from glassformer.checkpoints.folder import load

    return load(folder)


def talk(monkeypatch, folder, data, **options):
    monkeypatch.setattr(sys, "stdin", io.StringIO(data))
    chat.main(folder, max_tokens=6, **options)


def answer(model, prompt):
    return text.generate(model, byte_tokenizer(), prompt, max_tokens=6)


def test_each_answer_knows_what_was_said_before(monkeypatch, folder, model, capsys):
    talk(monkeypatch, folder, "Hello\n\nWhy?\n")
    first = answer(model, "u:Hello\na:")
    second = answer(model, f"u:Hello\na:{first}\nu:Why?\na:")
    out, err = capsys.readouterr()
    assert out == f"{first}\n{second}\n"
    assert err.count("the answer ended after 6 tokens · --max-tokens N for another length") == 2


def test_the_system_prompt_and_commands(monkeypatch, folder, model, capsys, tmp_path):
    saved = tmp_path / "talk.json"
    lines = [
        "one",
        "/undo",
        "/system Be brief.",
        "two",
        "/retry",
        f"/save {saved}",
        f"/save {saved}",
        "/clear",
        "/help",
    ]
    talk(monkeypatch, folder, "\n".join([*lines, "/undo", "/dance", "<|endoftext|>", "/exit", "never"]), system="S")
    told = answer(model, "s:Be brief.\nu:two\na:")
    out, err = capsys.readouterr()
    assert out == "".join(f"{one}\n" for one in (answer(model, "s:S\nu:one\na:"), told, told))
    assert "forgotten: one\n" in err and "/retry         another answer" in err
    assert "nothing was said yet\n" in err and f"{saved}: cannot be written · got File exists" in err
    assert "no such command · got /dance · expected /help, /system, /retry, /undo, /clear, /save, /exit" in err
    assert "a message holds a special token" in err
    assert json.loads(saved.read_text()) == {
        "messages": [
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": "two"},
            {"role": "assistant", "content": told},
        ]
    }  # fmt: skip


def test_one_object_an_answer(monkeypatch, folder, model, capsys):
    talk(monkeypatch, folder, "Hello\n", json=True)
    found = json.loads(capsys.readouterr().out)
    assert found == {"text": answer(model, "u:Hello\na:"), "tokens": 6, "reason": "length"}


def test_a_folder_without_a_template_is_refused_at_once(monkeypatch, tmp_path):
    lively(gpt_like().replace(vocab_size=257)).save(tmp_path / "m", tokenizer=byte_tokenizer())
    with pytest.raises(UnsupportedError, match="this tokenizer has no chat template"):
        talk(monkeypatch, str(tmp_path / "m"), "Hello\n")
    with pytest.raises(DataError, match="threads"):
        talk(monkeypatch, str(tmp_path / "m"), "Hello\n", threads=0)


class Screen:
    """A terminal with a program in it."""

    def __init__(self, *command: str) -> None:
        self.end, terminal = pty.openpty()
        self.shown = b""
        self.run = subprocess.Popen(
            command, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TERM": "dumb"},
        )  # fmt: skip
        os.close(terminal)

    def until(self, word: bytes, seconds: float = 60) -> None:
        """Wait until a word is shown, and forget what stands before its end."""
        end = time.monotonic() + seconds
        while word not in self.shown:
            ready, _, _ = select.select([self.end], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{word!r} is not in {self.shown!r}"
            self.shown += os.read(self.end, 4096)
        self.shown = self.shown.partition(word)[2]

    def interrupt(self, word: bytes, seconds: float = 60) -> None:
        """Press Ctrl-C until a word is shown: a press between the prompt and the wait for a key is nobody's."""
        end = time.monotonic() + seconds
        while word not in self.shown:
            assert time.monotonic() < end, f"{word!r} is not in {self.shown!r}"
            self.run.send_signal(signal.SIGINT)
            while word not in self.shown and select.select([self.end], [], [], 2)[0]:
                self.shown += os.read(self.end, 4096)
        self.shown = self.shown.partition(word)[2]

    def type(self, text: str) -> None:
        os.write(self.end, text.encode())

    def close(self) -> None:
        self.run.kill()
        self.run.wait()
        os.close(self.end)


def test_ctrl_c_ends_the_answer_and_keeps_the_talk(folder, model, tmp_path):
    """In a real terminal an answer is stopped and what there is of it stays; Ctrl-C at rest costs nothing."""
    screen = Screen(sys.executable, "-m", "glassformer", "chat", folder, "--max-tokens", "400")
    try:
        screen.until(b"Ctrl-D ends")
        screen.until(b"> ")
        screen.type("Hello\n")
        screen.until(b"Hello\r\n")
        time.sleep(0.3)  # rendering takes a little, and the answer is long
        screen.run.send_signal(signal.SIGINT)
        screen.until(b"\r\n> ")
        screen.interrupt(b"Ctrl-D or /exit ends")
        screen.until(b"> ")
        screen.type(f"/save {tmp_path / 'talk.json'}\n")
        screen.until(b"talk.json\r\n")
        screen.until(b"> ")
        screen.type("\x04")
        assert screen.run.wait(30) == 0
    finally:
        screen.close()
    said = json.loads((tmp_path / "talk.json").read_text())["messages"]
    assert [message["role"] for message in said] in ([], ["user", "assistant"])  # stopped before or while it began
    whole = text.generate(model, byte_tokenizer(), "u:Hello\na:", max_tokens=400)
    assert not said or len(said[1]["content"]) < len(whole)


def test_what_there_is_of_a_stopped_answer_is_kept(monkeypatch, model, capsys):
    talk = chat.Talk(model, byte_tokenizer(), {"max_tokens": 50}, json=False)
    talk.tokenizer._carried["chat_template.jinja"] = TEMPLATE
    whole = text.Writing.__iter__

    def stopped(self):
        for count, pair in enumerate(whole(self)):
            if count == 3:
                raise KeyboardInterrupt
            yield pair

    monkeypatch.setattr(text.Writing, "__iter__", stopped)
    monkeypatch.setattr(sys, "stdin", type("Terminal", (), {"isatty": lambda self: True})())
    talk.hear("Hello")
    ((message, said),) = talk.turns
    assert message == "Hello" and said and capsys.readouterr().out == said + "\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(KeyboardInterrupt):  # nobody is there to go on
        talk.hear("Hello")
