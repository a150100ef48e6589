"""The page in a real browser, from disk and from a server: what a rater does, and what comes out of it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import chromium
from survey_raters import METHODS, PIECES, SECONDS

from musicstar_ext.evaluate import main
from musicstar_ext.evaluation.survey.protocol import shuffled
from musicstar_ext.evaluation.survey.results import Key, read_result

pytest.importorskip("scipy")
playwright = pytest.importorskip("playwright.sync_api", reason="the page's tests need playwright")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from chromium(playwright)


@pytest.fixture
def new_page(browser: Any) -> Iterator[Any]:
    """A function () -> a page of a fresh browser profile; errors and foreign requests in any of them fail the test."""
    problems: list[str] = []
    with contextlib.ExitStack() as stack:

        def make(**options: Any) -> Any:
            context = stack.enter_context(contextlib.closing(browser.new_context(**options)))
            page = context.new_page()
            page.set_default_timeout(20_000)  # of a busy machine; only a failure takes that long
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
            page.on("request", lambda request: _check_request(request.url, problems))
            return page

        yield make
    assert not problems


def _check_request(url: str, problems: list[str]) -> None:
    if not url.startswith(("file:", "data:", "blob:", "http://127.0.0.1:")):
        problems.append(f"asked for {url}")


@pytest.fixture(scope="module")
def from_disk(survey: Path) -> str:
    return (survey / "page" / "index.html").as_uri()


@pytest.fixture(scope="module")
def from_server(survey: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=survey / "page")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()
        thread.join()


def start(page: Any, url: str, rater: str) -> None:
    page.goto(url)
    page.fill("#rater", rater)
    page.click("button:text-is('Start')")
    loaded(page)


def loaded(page: Any) -> None:
    page.wait_for_selector(".player:not(.waiting)")


def card(question: str) -> str:
    return f"[data-question={question}]"


def ranking(page: Any, question: str) -> list[str]:
    """Ids as they stand on the screen, best first."""
    return page.locator(f"{card(question)} .ranked .item").evaluate_all("all => all.map((item) => item.dataset.id)")


def kept(page: Any) -> dict[str, Any]:
    """What the browser would still have after a crash."""
    return json.loads(page.evaluate("localStorage.getItem(STORE)"))


def rank_by_buttons(page: Any, question: str) -> None:
    for _ in METHODS:
        page.locator(f"{card(question)} .pool .add").first.click()


def download(page: Any, folder: Path) -> Path:
    with page.expect_download() as caught:
        page.click("#download")
    path = folder / caught.value.suggested_filename
    caught.value.save_as(path)
    return path


def drag(page: Any, source: Any, target: Any, below: float = 0.5) -> None:
    source.scroll_into_view_if_needed()
    a = source.bounding_box()
    page.mouse.move(a["x"] + a["width"] / 2, a["y"] + a["height"] / 2)
    page.mouse.down()
    b = target.bounding_box()
    page.mouse.move(b["x"] + b["width"] / 2, b["y"] + b["height"] * below, steps=4)
    page.mouse.up()


def test_a_rater_from_disk(new_page: Any, from_disk: str, key: Key, survey: Path, tmp_path: Path):
    page = new_page()
    start(page, from_disk, "anna")

    # Drag: the third version to the first place, the first after it, and the second in between.
    order = page.evaluate("shown.versions.map(({ id }) => id)")
    style = page.locator(card("style"))
    for version, place, below in ((2, 0, 0.5), (0, 1, 0.5), (1, 0, 0.9)):
        grip = style.locator(f".item[data-id='{order[version]}'] .grip")
        drag(page, grip, style.locator(".ranked > li").nth(place), below)
    assert ranking(page, "style") == [order[2], order[1], order[0]]
    drag(page, style.locator(f".item[data-id='{order[0]}'] .grip"), style.locator(".ranked > li").nth(0), 0.1)
    assert ranking(page, "style") == [order[0], order[2], order[1]]

    # Keyboard: up takes it into the ranking, arrows move it, and each is said aloud.
    for version in order:
        page.locator(f"{card('content')} .item[data-id='{version}']").focus()
        page.keyboard.press("ArrowUp")
    assert ranking(page, "content") == order
    page.keyboard.press("Alt+ArrowUp")
    page.wait_for_function("document.getElementById('live').textContent.includes('version C is 2nd of 3')")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")  # already first: stays
    assert ranking(page, "content") == [order[2], order[0], order[1]]
    page.keyboard.press("End")
    page.keyboard.press("Delete")
    assert ranking(page, "content") == order[:2]
    assert page.evaluate("document.activeElement.dataset.id") == order[2]

    # Not all is ranked: no way on, but the page says what is missing.
    page.locator("button:text-is('Next piece')").click(force=True)  # says itself disabled, and explains when pressed
    assert "content preservation, sound quality" in page.inner_text("#left")
    assert page.inner_text("#steps") == "Piece 1 of 2"

    # A reload in the middle loses nothing.
    page.reload()
    loaded(page)
    assert ranking(page, "content") == order[:2]
    assert ranking(page, "style") == [order[0], order[2], order[1]]
    # The name stays: the orders follow from it.
    page.click("button:text-is('Back')")
    assert page.get_attribute("#rater", "readonly") is not None
    page.click("button:text-is('Continue')")
    loaded(page)
    rank_by_buttons_left(page)
    page.click("button:text-is('Next piece')")
    loaded(page)
    rank_by_buttons_left(page)
    page.click("button:text-is('Finish')")

    # Back to the first piece to change one's mind, and forth again.
    page.click("button:text-is('Piece 1')")
    loaded(page)
    page.locator(f"{card('style')} .ranked .down").first.click()
    page.click("button:text-is('Next piece')")
    page.click("button:text-is('Finish')")
    page.fill("#comment", 'Schön ☃ "quoted" \\ \u2028 😀 <b>')
    path = download(page, tmp_path)

    result = read_result(path, key)
    assert result.rater == "anna"
    assert result.comment.startswith("Schön ☃")
    piece = next(piece for piece in key.pieces if piece.id == json.loads(path.read_text())["pieces"][0]["piece"])
    assert result.ranks[piece.id]["content"] == tuple(piece.outputs[identifier] for identifier in order)
    moved = [order[2], order[0], order[1]]
    assert result.ranks[piece.id]["style"] == tuple(piece.outputs[identifier] for identifier in moved)
    assert main(["survey", "score", str(survey / "key.json"), str(path)]) == 0


def rank_by_buttons_left(page: Any) -> None:
    while page.locator(".pool .add").count():
        page.locator(".pool .add").first.click()


def test_a_rater_on_a_phone_from_a_server(new_page: Any, from_server: str, key: Key, tmp_path: Path):
    page = new_page(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    start(page, from_server, "")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    nameless = """() => [...document.querySelectorAll("button, input, select, textarea, [tabindex='0']")]
      .filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length))
      .map((e) => e.outerHTML)"""
    assert page.evaluate(nameless) == []
    # A finger on the grip drags; the page does not scroll away under it.
    page.locator(card("content")).scroll_into_view_if_needed()
    grip = page.locator(f"{card('content')} .pool .grip").nth(1)
    a, b = grip.bounding_box(), page.locator(f"{card('content')} .slot").nth(1).bounding_box()
    wanted = page.evaluate("shown.versions[1].id")
    touch = page.context.new_cdp_session(page)

    def finger(kind: str, x: float, y: float) -> None:
        points = [] if kind == "touchEnd" else [{"x": x, "y": y}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    x, y = a["x"] + a["width"] / 2, a["y"] + a["height"] / 2
    finger("touchStart", x, y)
    for share in (0.25, 0.5, 0.75, 1.0):
        finger("touchMove", x + 20 * share, y + share * (b["y"] + 20 - y))
    finger("touchEnd", 0, 0)
    assert ranking(page, "content") == [wanted]
    for step in ("Next piece", "Finish"):
        loaded(page)
        rank_by_buttons_left(page)
        page.click(f"button:text-is('{step}')")
    result = read_result(download(page, tmp_path), key)
    assert result.rater.startswith("r-")
    # Copying gives the same content.
    page.evaluate("navigator.clipboard.writeText = (text) => { globalThis.copied = text; return Promise.resolve(); }")
    page.click("#copy")
    page.wait_for_function("globalThis.copied")
    copied = tmp_path / "copied.json"
    copied.write_text(page.evaluate("copied"))
    assert read_result(copied, key).ranks == result.ranks
    # Where there is no clipboard, the text is shown.
    page.evaluate("navigator.clipboard.writeText = () => Promise.reject(); document.execCommand = () => false")
    page.click("#copy")
    page.wait_for_selector(".json:visible")
    assert json.loads(page.input_value(".json"))["rater"] == result.rater


def test_switching_keeps_the_position_and_all_versions_run_together(new_page: Any, from_disk: str):
    page = new_page()
    start(page, from_disk, "bert")
    page.keyboard.press("Space")
    page.wait_for_function("player.position() > 0.15")
    sources = page.evaluate("player.sources.size")
    assert sources == 2 + len(METHODS)
    ids = page.evaluate("[shown.piece.input, shown.piece.gold, ...shown.versions.map(({ id }) => id)]")
    for pressed, wanted in (("2", ids[3]), ("r", ids[1]), ("3", ids[4]), ("i", ids[0]), ("1", ids[2])):
        # The audio clock and the position are read in one task with the switch: the clock stands still meanwhile.
        before, after = page.evaluate(
            """(key) => {
              const before = [player.position(), player.context.currentTime];
              dispatchEvent(new Event("x"));
              document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
              return [before, [player.position(), player.context.currentTime]];
            }""",
            pressed,
        )
        drift = (after[0] - before[0]) - (after[1] - before[1])
        assert abs(drift % SECONDS) < 1e-9 or abs(drift % SECONDS - SECONDS) < 1e-9
        assert page.evaluate("player.active") == wanted
        assert page.evaluate("player.sources.size") == sources  # the same sources go on
        # Only the chosen one is heard, once the short fade is over.
        page.wait_for_function(
            """(id) => [...player.sources].every(([other, { gain }]) =>
                 Math.abs(gain.gain.value - (other === id ? 1 : 0)) < 1e-3)""",
            arg=wanted,
        )
    assert page.locator(".chip[aria-pressed=true]").evaluate_all("all => all.map((c) => c.dataset.id)") == [ids[2]]
    # Clicking an item does the same.
    page.locator(f"{card('style')} .item[data-id='{ids[4]}'] .hear").click()
    assert page.evaluate("player.active") == ids[4]
    assert page.evaluate("player.playing")


def test_the_versions_are_sample_for_sample_in_step(new_page: Any, from_disk: str, recordings: Path):
    """Rendered offline by the page's own player, a switch gives one version's samples before and the other's after."""
    page = new_page()
    start(page, from_disk, "cleo")
    wrong = page.evaluate(
        """async () => {
          const rate = player.context.sampleRate;
          const offline = new OfflineAudioContext(1, rate, rate);
          const other = new Player(() => {});
          offline.resume = () => {};
          other.context = offline;
          other.master = offline.createGain();
          other.master.connect(offline.destination);
          const [first, second] = shown.versions.map(({ id }) => id);
          other.use(player.buffers, first);
          other.play();
          offline.suspend(0.5).then(() => {
            other.choose(second);
            OfflineAudioContext.prototype.resume.call(offline);
          });
          const heard = (await offline.startRendering()).getChannelData(0);
          const delay = 0.02 * rate; // the player starts a little ahead of the clock
          const apart = (id, from, to) => {
            const samples = player.buffers.get(id).getChannelData(0);
            let worst = 0;
            for (let i = from; i < to; i++) worst = Math.max(worst, Math.abs(heard[i] - samples[i - delay]));
            return worst;
          };
          const [a, b, end] = [0.05, 0.495, 0.99].map((t) => Math.round(t * rate));
          return [apart(first, a, b), apart(second, Math.round(0.52 * rate), end), apart(second, a, b)];
        }"""
    )
    assert wrong[0] < 1e-3
    assert wrong[1] < 1e-3
    assert wrong[2] > 0.05  # and the two versions do differ


def test_seek_loop_pause_and_volume(new_page: Any, from_disk: str):
    page = new_page()
    start(page, from_disk, "dora")
    page.evaluate("player.seek(1.5)")
    assert page.evaluate("player.position()") == 1.5
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("player.position()") == 0
    page.keyboard.press("ArrowRight")
    assert page.evaluate("player.position()") == 2
    # With the loop it goes on from the start ...
    page.keyboard.press("Space")
    page.wait_for_function("player.playing && player.position() < 0.6")
    # ... and without it stops at the end.
    page.evaluate("player.seek(2.1)")
    page.keyboard.press("l")
    assert page.get_attribute(".toggle", "aria-pressed") == "false"
    page.wait_for_function("!player.playing && player.position() === 0")
    assert page.get_attribute(".play", "aria-label") == "Play"
    page.keyboard.press("-")
    page.keyboard.press("-")
    assert page.evaluate("player.volume") == pytest.approx(0.8)
    page.click(".play")
    page.wait_for_function("player.position() > 0.05")
    page.click(".play")
    stopped = page.evaluate("player.position()")
    assert page.evaluate("player.position()") == stopped > 0
    # Typing in a field is no shortcut, and shortcuts can be switched off.
    page.click("summary")
    page.uncheck(".check input")
    page.locator(".item").first.press("Space")
    assert not page.evaluate("player.playing")
    page.reload()
    loaded(page)
    assert page.evaluate("[player.volume, player.loop, state.keys]") == [pytest.approx(0.8), False, False]


def test_orders_differ_between_raters_and_pieces_and_can_be_reconstructed(new_page: Any, from_disk: str, key: Key):
    page = new_page()
    page.goto(from_disk)
    seen = page.evaluate(
        """(raters) => raters.map((rater) => {
          state.rater = rater;
          return pieceOrder().map((piece) => [piece.id, versionOrder(piece)]);
        })""",
        [f"r{n}" for n in range(40)],
    )
    pieces = {piece.id: piece for piece in key.pieces}
    for n, shown in enumerate(seen):
        assert [piece for piece, _ in shown] == shuffled(pieces, key.survey, f"r{n}")
        for piece, versions in shown:
            assert versions == shuffled(pieces[piece].outputs, key.survey, f"r{n}", piece)
    methods = [[pieces[piece].outputs[v] for v in versions] for shown in seen for piece, versions in shown]
    firsts = [row[0] for row in methods]
    assert min(firsts.count(method) for method in METHODS) > 12  # of 80; 27 expected
    assert len({tuple(row) for row in methods}) == 6  # every order occurs
    assert {shown[0][0] for shown in seen} == set(pieces)
    assert len(pieces) == len(PIECES)


def test_sha256_is_sha256(new_page: Any, from_disk: str):
    page = new_page()
    page.goto(from_disk)
    texts = ["", "abc", *("x" * n for n in (55, 56, 63, 64, 65, 119, 120, 1000)), "Schön ☃ 😀\u2028"]
    assert page.evaluate("(texts) => texts.map(sha256)", texts) == [
        hashlib.sha256(text.encode()).hexdigest() for text in texts
    ]


def test_bad_names_and_missing_audio_are_said(new_page: Any, from_disk: str, survey: Path, tmp_path: Path):
    page = new_page()
    page.goto(from_disk)
    page.fill("#rater", "Zoë / 3")
    page.click("button:text-is('Start')")
    assert "letters without accents" in page.inner_text("#rater-wrong")
    assert page.get_attribute("#rater", "aria-invalid") == "true"


def test_an_incomplete_folder_is_said_and_can_be_tried_again(browser: Any, survey: Path, tmp_path: Path):
    shutil.copytree(survey / "page", tmp_path / "page")
    away = tmp_path / "away"
    os.rename(tmp_path / "page" / "audio", away)
    with contextlib.closing(browser.new_context()) as context:
        page = context.new_page()
        page.goto((tmp_path / "page" / "index.html").as_uri())
        page.click("button:text-is('Start')")
        page.wait_for_selector(".loading.alert")
        assert "Is the folder complete?" in page.inner_text(".loading")
        os.rename(away, tmp_path / "page" / "audio")
        page.click("button:text-is('Try again')")
        loaded(page)


def test_what_was_kept_is_not_believed(new_page: Any, from_disk: str):
    page = new_page()
    start(page, from_disk, "emil")
    rank_by_buttons(page, "content")
    page.evaluate(
        """() => {
          const piece = shown.piece.id;
          state.rankings[piece].content.push("nobody", state.rankings[piece].content[0]);
          state.step = 99;
        }"""
    )
    page.reload()  # the page stores its state on leaving
    page.wait_for_selector("text=Almost done")
    page.click("button:text-is('Piece 1')")
    loaded(page)
    assert len(ranking(page, "content")) == len(METHODS)
    page.evaluate("() => { localStorage.setItem(STORE, 'no JSON'); Storage.prototype.setItem = () => {}; }")
    page.reload()
    page.wait_for_selector("button:text-is('Start')")


def test_a_browser_that_keeps_nothing_says_so(new_page: Any, from_disk: str):
    page = new_page()
    page.add_init_script("Storage.prototype.setItem = () => { throw new Error('no'); }")
    page.goto(from_disk)
    assert "does not keep what you do here" in page.inner_text("main")
    page.click("button:text-is('Start')")
    loaded(page)
