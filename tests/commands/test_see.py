from __future__ import annotations

import io
import json
import sys

import pytest

from glassformer.commands import see
from glassformer.core.errors import CheckpointError
from glassformer.inside.view import Guess, look
from glassformer.tokenizers.kinds import byte_tokenizer
from tests.inside import tiny

TEXT = "for x in [bold]:\n"


@pytest.fixture
def folder(tmp_path):
    """A saved model with its tokenizer."""
    model = tiny.decoder(longest=64)
    model.save(tmp_path / "model", tokenizer=byte_tokenizer())
    return tmp_path / "model"


def test_the_table_has_a_row_for_each_token_and_one_for_what_comes_next(folder, capsys):
    see.main(str(folder), TEXT)
    first, header, *rows, last = capsys.readouterr().out.rstrip("\n").split("\n")
    view = look(tiny.decoder(longest=64), byte_tokenizer(), TEXT)
    assert first == f"{folder}: decoder of 3 blocks × 4 heads, 11.6 k parameters, vocabulary of 257"
    assert header.split() == ["token", "bits", "embedding", "block", "0", "block", "1", "output,", "block", "2"]
    assert len(rows) == len(TEXT) + 1
    assert rows[9].split()[:3] == ["9", "[", f"{view.bits[9]:.2f}"], "brackets are text, not markup"
    best = view.guesses(-1, 9)[:3]
    assert (
        rows[9].rstrip().endswith("   ".join(f"{see.visible(guess.token)} {guess.probability:.0%}" for guess in best))
    )
    assert rows[16].split()[:2] == ["16", "↵"]
    assert rows[-1].split()[0] == "(next)"
    known = view.bits[1:]
    assert (
        last
        == f"{sum(known) / len(known):.2f} bits a token on average · 12 attention heads: add --html FILE to see them"
    )


def test_json_is_the_data_of_the_page(folder, tmp_path, capsys):
    page = tmp_path / "view.html"
    see.main(str(folder), TEXT, json=True, html=page)
    data = json.loads(capsys.readouterr().out)
    assert (data["model"], len(data["tokens"]), data["predicts"]) == (str(folder), len(TEXT), "next")
    inside = page.read_text().partition('id="data">')[2].partition("</script>")[0]
    assert json.loads(inside) == data


def test_a_page_is_written_whole_and_never_over_another_file(folder, tmp_path, capsys):
    page = tmp_path / "view.html"
    see.main(str(folder), TEXT, html=page)
    written = page.read_text()
    assert written.startswith("<!doctype html>")
    assert written.rstrip().endswith("</html>")
    assert f"wrote {page} (0." in capsys.readouterr().err
    with pytest.raises(CheckpointError, match=r"view.html: exists already · name another file, or add --force"):
        see.main(str(folder), "other", html=page)
    assert page.read_text() == written
    see.main(str(folder), "other", html=page, force=True)
    assert page.read_text() != written
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "view.html"], "no draft is left"


def test_a_place_that_cannot_hold_a_page_is_refused_before_the_model_is_loaded(tmp_path):
    with pytest.raises(CheckpointError, match="no such folder"):
        see.main("nowhere", "a", html=tmp_path / "none" / "view.html")
    with pytest.raises(CheckpointError, match="is a folder"):
        see.main("nowhere", "a", html=tmp_path)


def test_a_file_that_appears_during_the_work_is_kept(tmp_path):
    page = tmp_path / "view.html"
    page.write_text("mine")
    with pytest.raises(CheckpointError, match="exists already"):
        see.write_whole(page, "theirs", force=False)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_disk_that_refuses_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("glassformer.core.files.sync", full)
    with pytest.raises(CheckpointError, match="cannot be written · got No space left on device · free some space"):
        see.write_whole(tmp_path / "view.html", "text", force=False)
    assert list(tmp_path.iterdir()) == []


def test_wrong_input_is_one_line_and_code_two(glassformer, folder):
    for arguments, message in (
        (("nowhere", "a"), "glassformer: nowhere: no such folder"),
        (
            (folder, "a" * 65),
            "the text is too long · got 65 tokens · expected at most 64, which this model takes · shorten it",
        ),
        ((folder, "a", "--target", "b"), "a target is for an encoder-decoder"),
    ):
        done = glassformer("see", *arguments)
        assert done.returncode == 2
        assert done.stdout == ""
        assert message in done.stderr
        assert "Traceback" not in done.stderr


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colours_are_for_terminals_that_want_them(monkeypatch, no_color, coloured):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    see.show(look(tiny.decoder(), byte_tokenizer(), TEXT))
    colours = "\x1b[3" in terminal.getvalue() or "\x1b[1;3" in terminal.getvalue()
    assert colours == coloured


def test_nothing_is_cut_in_a_pipe(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    see.show(look(tiny.decoder(), byte_tokenizer(), TEXT))
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) > 60


def test_a_model_without_predictions_says_so_in_one_line(capsys):
    see.show(look(tiny.build(decoder=tiny.stack(2, tiny.LayerNormConfig())), byte_tokenizer(), "abc"))
    assert capsys.readouterr().out.splitlines()[1:] == ["8 attention heads: add --html FILE to see them"]


def test_tokens_are_shown_on_one_line():
    shown = [see.visible(text) for text in ("", " the ", "\n", "a\tb", "\x1b[31m", "\u202e", "[bold]", "é")]
    assert shown == ["∅", "␣the␣", "↵", "a⇥b", "‹001b›[31m", "‹202e›", "[bold]", "é"]


def test_middle_layers_are_spread_evenly_and_leave_out_the_output():
    found = [see.middle_layers(count) for count in (1, 2, 3, 4, 5, 13, 33)]
    assert found == [[], [0], [0, 1], [0, 1, 2], [0, 1, 3], [0, 4, 8], [0, 11, 21]]


def test_surprise_is_coloured_by_its_share_of_a_blind_guess():
    assert [see.heat(bits, 256) for bits in (None, 1.0, 3.0, 6.0)] == ["", "", "yellow", "bold red"]


def test_the_right_guess_is_green():
    text = see.best((Guess(" a", 0.5), Guess("b", 0.25)), "b", with_share=True)
    assert text.plain == "␣a 50%   b 25%"
    assert [text.plain[span.start : span.end] for span in text.spans if span.style == "green"] == ["b"]
