from __future__ import annotations

import json
import math
import re
import shutil
from html.parser import HTMLParser

import pytest
import torch

from glassformer.inside import view as views
from glassformer.inside.page import packing, render, script_json
from glassformer.inside.view import Guess, LayerPatterns, LensLayer, PatternGroup, View, look
from glassformer.tokenizers.kinds import byte_tokenizer
from tests.inside import tiny

HOSTILE = "</script><img src=x onerror=alert(1)>"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
TEXT = "for x in range(10):\n\tprint(x)"


# -- the file ----------------------------------------------------------------------------------------------------------


class Elements(HTMLParser):
    """What a browser would find in the file."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def hostile_view() -> View:
    """A model whose every text is an attack."""
    layer = LensLayer(
        name=HOSTILE, address="decoder.embedding", guesses=((Guess(HOSTILE, 0.5),),) * 2, actual=(0.5, None)
    )
    weights = LayerPatterns(
        address="decoder.blocks.0.attention.pattern", weights=torch.tensor([[[1.0, 0.0], [0.5, 0.5]]])
    )
    group = PatternGroup(name="decoder", title=HOSTILE, queries="tokens", keys="tokens", layers=(weights,))
    return View(
        model=HOSTILE, about=HOSTILE, tokens=(HOSTILE, "<!--\u2028<script>\u202e"), predicts="next", vocab_size=257,
        bits=(None, 1.0), lens=(layer,), patterns=(group,),
    )  # fmt: skip


def test_the_file_asks_for_nothing_and_runs_only_its_own_script():
    page = look(tiny.decoder(), byte_tokenizer(), TEXT).to_html()
    elements = Elements(page).found
    policy = next(
        attributes for tag, attributes in elements if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy["content"].startswith(POLICY)
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\(", page)
    sources = {attributes[name] for _, attributes in elements for name in ("src", "href") if name in attributes}
    assert sources == {"data:,"}
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on")]


def test_text_of_a_model_never_becomes_markup():
    page = hostile_view().to_html()
    assert [tag for tag, _ in Elements(page).found].count("script") == 2
    assert "img" not in {tag for tag, _ in Elements(page).found}
    assert HOSTILE not in page
    assert page.isascii() or HOSTILE not in page


def test_data_in_a_script_is_the_same_json():
    data = {"text": HOSTILE + "&amp;<!--\u2028\ud800"}
    written = script_json(data)
    assert written.isascii()
    assert not set("<>&") & set(written)
    assert json.loads(written) == data


def test_data_that_looks_like_a_place_in_the_template_stays_data():
    page = render({**hostile_view().to_json(), "model": "<!--script-->"})
    assert page.count('"use strict"') == 1
    assert "<title>&lt;!--script--&gt; · inside</title>" in page


# -- in a browser ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium without a screen."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed", exc_type=ImportError)
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def opened(browser, tmp_path):
    """``opened(view, width=..., scheme=...)``: the page, without a network; at the end it must have been silent."""
    contexts, noise = [], []

    def open_page(view: View, *, width: int = 1440, height: int = 900, scheme: str = "light"):
        file = tmp_path / f"{len(contexts)}.html"
        file.write_text(view.to_html(), encoding="utf-8")
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, offline=True, reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: noise.append(message.text))
        page.on("pageerror", lambda error: noise.append(str(error)))
        page.on("request", lambda request: noise.append(request.url) if request.url != file.as_uri() else None)
        page.on("dialog", lambda dialog: (noise.append(dialog.message), dialog.dismiss()))
        page.goto(file.as_uri())
        page.wait_for_selector("#matrix[data-shows]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert noise == []


def point_at(page, query: int, key: int, count: int) -> float:
    """Move the pointer to the middle of a cell of the large picture; the weight that is read out."""
    box = page.locator("#matrix").bounding_box()
    edge = min(104, max(56, box["width"] * 0.19)) if count <= 48 else 36
    cell = (box["width"] - edge - 2) / count
    page.mouse.move(box["x"] + edge + (key + 0.5) * cell, box["y"] + edge + (query + 0.5) * cell)
    shown = page.locator("#cell").evaluate("node => ({...node.dataset})")
    assert (shown["query"], shown["key"]) == (str(query), str(key))
    return float(shown["weight"])


def test_a_click_enlarges_a_head_and_the_pointer_reads_the_models_weight(opened):
    model, tokenizer = tiny.decoder(), byte_tokenizer()
    page = opened(look(model, tokenizer, TEXT, name="tiny"))
    with torch.no_grad(), model.trace() as trace:
        trace.read("decoder.blocks.2.attention.pattern")
        model(torch.tensor([tokenizer.encode(TEXT)]))
    pattern = trace["decoder.blocks.2.attention.pattern"][0, 3]
    page.get_by_role("button", name="Layer 2, head 3").click()
    page.wait_for_selector("#matrix[data-shows='0/2/3']")
    page.locator("#matrix").scroll_into_view_if_needed()
    for query, key in ((0, 0), (17, 4), (17, 17), (28, 0), (28, 27), (3, 20)):
        exact = pattern[query, key].item()
        assert abs(point_at(page, query, key, len(TEXT)) - exact) <= math.sqrt(exact) / 255 + 1 / 260100
    assert point_at(page, 3, 20, len(TEXT)) == 0, "the future is not looked at"
    assert 'trace.read("decoder.blocks.2.attention.pattern", head=3)' in page.locator("#python").text_content()


def test_hovering_a_token_shows_where_it_looks_and_who_looks_at_it(opened):
    view = look(tiny.decoder(), byte_tokenizer(), TEXT)
    page = opened(view)
    pattern = view.patterns[0].layers[0].weights[0]
    page.locator("#keys span").nth(12).hover()
    assert page.locator("#keys-title").text_content() == "Where token 12 g looks"
    assert page.locator("#queries-title").text_content() == "Who looks at token 12 g"
    strengths = "nodes => nodes.map(node => Number(node.style.getPropertyValue('--w')))"
    row = page.locator("#keys span").evaluate_all(strengths)
    column = page.locator("#queries span").evaluate_all(strengths)
    exponent = math.log(5) / math.log(len(TEXT))
    assert row == pytest.approx((pattern[12] ** exponent).tolist(), abs=0.004)
    assert column == pytest.approx((pattern[:, 12] ** exponent).tolist(), abs=0.004)
    page.mouse.move(0, 0)
    last = len(TEXT) - 1
    assert page.locator("#keys-title").text_content() == f"Where token {last} ) looks"
    chosen = int(page.locator("#cell").get_attribute("data-key"))
    assert pattern[last, chosen].item() == pytest.approx(pattern[last].max().item(), abs=0.002), "its strongest"


def test_hovering_a_token_shows_its_surprise_and_what_each_layer_said(opened):
    view = look(tiny.decoder(), byte_tokenizer(), TEXT)
    page = opened(view)
    page.locator("#surprise-tokens span").nth(5).hover()
    said = page.locator("#token-readout").text_content()
    assert said.startswith(f"Token 5 ␣: {view.bits[5]:.2f} bits, probability {100 * 2 ** -view.bits[5]:.2f}%. ")
    rows = page.locator("#lens-focus tbody tr")
    assert rows.locator("th").all_text_contents() == ["block 2", "block 1", "block 0", "embedding"]
    assert rows.nth(0).locator("td b").count() == 5
    assert rows.nth(0).locator("td.actual").text_content() == f"{100 * view.lens[-1].actual[4]:.2f}%"
    page.locator("#lens-grid thead th").last.hover()
    assert page.locator("#token-readout").text_content().startswith("After the text. The model's best guess: ")


def test_everything_is_reached_with_the_keyboard(opened):
    page = opened(look(tiny.decoder(), byte_tokenizer(), TEXT))
    page.get_by_role("button", name="Layer 0, head 0").focus()
    for key, shows in (("ArrowRight", "0/0/1"), ("ArrowDown", "0/1/1"), ("ArrowUp", "0/0/1"), ("ArrowLeft", "0/0/0")):
        page.keyboard.press(key)
        page.wait_for_selector(f"#matrix[data-shows='{shows}']")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "matrix"
    before = page.locator("#cell").evaluate("node => [node.dataset.query, node.dataset.key]")
    page.keyboard.press("ArrowUp")
    after = page.locator("#cell").evaluate("node => [node.dataset.query, node.dataset.key]")
    assert [int(before[0]) - 1, int(before[1])] == list(map(int, after))
    page.keyboard.press("Tab")
    page.keyboard.press("Home")
    assert page.locator("#keys-title").text_content() == "Where token 0 f looks"
    page.locator("#surprise-tokens span[tabindex='0']").focus()
    page.keyboard.press("End")
    assert page.locator("#token-readout").text_content().startswith(f"Token {len(TEXT) - 1} )")


def test_a_pair_has_a_tab_for_each_kind_of_attention(opened):
    view = look(tiny.pair(), byte_tokenizer(), "source", target="goal")
    page = opened(view)
    page.get_by_role("tab", name="Cross-attention").click()
    page.wait_for_selector("#matrix[data-shows='1/0/0']")
    pattern = view.patterns[1].layers[0].weights[0]
    page.locator("#matrix").scroll_into_view_if_needed()
    assert point_at(page, 4, 2, 6) == pytest.approx(pattern[4, 2].item(), abs=0.004)
    page.locator("#queries span").nth(2).hover()
    assert page.locator("#keys-title").text_content() == "Where token 2 o looks"
    assert page.locator("#queries-title").text_content() == "Who looks at token 0 s"
    page.keyboard.press("Tab")
    page.get_by_role("tab", name="Cross-attention").focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("#matrix[data-shows='0/0/0']")


def test_a_long_text_shows_what_python_reads_back(opened, monkeypatch):
    monkeypatch.setattr(views, "PAGE_BYTES", 150_000)
    view = look(tiny.decoder(), byte_tokenizer(), "To be, or not to be: that is the question. " * 5)
    (group,) = view.to_json()["patterns"]
    size, kept = len(view.tokens), group["layers"][1]["kept"]
    assert kept < size
    page = opened(view)
    page.get_by_role("button", name="Layer 1, head 2").click()
    page.wait_for_selector("#matrix[data-shows='0/1/2']")
    page.locator("#matrix").scroll_into_view_if_needed()
    stored = packing.unpack(group["layers"][1]["matrices"], (size, size), kept)[2]
    for query, key in ((0, 0), (100, 7), (214, 3), (214, 213), (20, 190)):
        assert point_at(page, query, key, size) == pytest.approx(stored[query, key].item(), rel=1e-5)
    exact = view.patterns[0].layers[1].weights[2]
    dropped = (exact[214] < exact[214].topk(kept).values[-1]).nonzero()[0].item()
    point_at(page, 214, dropped, size)
    most = re.search(
        r"the mean of this row's small weights \(it is at most ([0-9.]+)\)", page.locator("#cell").text_content()
    )
    assert exact[214, dropped].item() <= float(most[1])
    assert f"only the {kept} largest weights of each row are stored" in page.locator("#exact").text_content()


def test_hostile_text_is_shown_as_it_is(opened):
    page = opened(hostile_view())
    assert page.locator("img").count() == 0
    assert page.locator("#surprise-tokens span").nth(0).text_content() == HOSTILE
    assert page.locator("#surprise-tokens span").nth(1).text_content() == "<!--‹2028›<script>‹202e›"
    assert HOSTILE in page.locator("h1").text_content()
    assert HOSTILE in page.locator("#head-name").text_content().lower()
    assert page.title() == f"{HOSTILE} · inside"


def test_a_model_without_predictions_shows_attention_alone(opened):
    view = look(tiny.build(decoder=tiny.stack(2, tiny.LayerNormConfig())), byte_tokenizer(), "abc")
    page = opened(view)
    assert [page.locator(f"#{name}").is_visible() for name in ("surprise", "lens", "attention")] == [False, False, True]


def test_an_encoder_without_a_mask_token_says_that_it_has_no_bits(opened):
    model = tiny.encoder(vocab_size=len(tiny.WORDS))
    page = opened(look(model, tiny.word_tokenizer(has_mask=False), "the cat sat"))
    assert page.locator("#surprise-explain").text_content().startswith("No token of this text has a surprise")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1440])
def test_it_fits_and_does_not_jump(opened, width, scheme):
    page = opened(look(tiny.decoder(), byte_tokenizer(), TEXT * 3), width=width, scheme=scheme)
    size = "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    across, down = page.evaluate(size)
    assert across == width
    for place in (0, 40, 80):
        page.locator("#surprise-tokens span").nth(place).hover()
        assert page.evaluate(size) == [across, down]
        page.locator("#queries span").nth(place).hover()
        assert page.evaluate(size) == [across, down]
    for name in ("Layer 0, head 3", "Layer 2, head 0"):
        page.get_by_role("button", name=name).click()
        assert page.evaluate(size) == [across, down]
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(re.match(r"rgb\((\d+)", paper)[1])
    assert (red > 200) == (scheme == "light")


def test_pictures_follow_the_colour_scheme_of_the_reader(opened):
    page = opened(look(tiny.decoder(), byte_tokenizer(), TEXT))
    corner = """canvas => {
        const pen = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
        pen.drawImage(canvas, canvas.width - 1, 0, 1, 1, 0, 0, 1, 1);
        return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
    }"""
    thumbnail = page.locator("#heads canvas").first
    assert min(thumbnail.evaluate(corner)) > 200, "the empty future is light"
    page.emulate_media(color_scheme="dark")
    for _ in range(100):
        if max(thumbnail.evaluate(corner)) < 60:
            break
        page.wait_for_timeout(20)
    assert max(thumbnail.evaluate(corner)) < 60, "and then dark"


def test_groups_may_be_changed_faster_than_they_open(opened):
    page = opened(look(tiny.pair(), byte_tokenizer(), "source", target="goal"))
    page.evaluate("for (const tab of document.querySelectorAll('#groups button')) tab.click()")
    page.evaluate("document.querySelector('#groups button').click()")
    page.wait_for_selector("#matrix[data-shows='0/0/0']")
    assert page.locator("#head-name").text_content() == "Layer 0, head 0 encoder"


def test_layers_may_have_unequal_numbers_of_heads(opened):
    weights = [torch.rand(heads, 3, 3).tril().softmax(-1) for heads in (4, 2)]
    layers = tuple(
        LayerPatterns(address=f"decoder.blocks.{n}.attention.pattern", weights=w) for n, w in enumerate(weights)
    )
    group = PatternGroup(name="decoder", title="Self-attention", queries="tokens", keys="tokens", layers=layers)
    view = View(
        model="pruned",
        about="",
        tokens=("a", "b", "c"),
        predicts="nothing",
        vocab_size=9,
        bits=(None,) * 3,
        lens=(),
        patterns=(group,),
    )
    page = opened(view)
    assert page.locator("#heads button").count() == 6
    page.get_by_role("button", name="Layer 0, head 3").focus()
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("#matrix[data-shows='0/1/1']")
