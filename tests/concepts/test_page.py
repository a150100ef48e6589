"""The page of hierarchies in a real browser, from disk: search, zoom, hover, other trees, closed branches, sound."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from browser import chromium
from concept_trees import concept_tree

from musicstar_ext.concepts.__main__ import main
from musicstar_ext.concepts.cluster_colours import colours
from musicstar_ext.concepts.concept_file import ConceptSet, save
from musicstar_ext.concepts.hierarchy import build

pytest.importorskip("scipy")
playwright = pytest.importorskip("playwright.sync_api", reason="the page's tests need playwright")

ODD = "</script><b>Zoë & $co</b>"


@pytest.fixture(scope="module")
def concepts() -> ConceptSet:
    """Twelve concepts; the last has a name that a careless page would take for its own markup."""
    known = concept_tree((3, 3))
    names = (*known.names[:-1], ODD)
    renamed = dict(zip(known.names, names, strict=True))
    return replace(
        known,
        names=names,
        clusters={renamed[name]: cluster for name, cluster in known.clusters.items() if name != "a.a"},
        parents={renamed[child]: parent for child, parent in known.parents.items()},
        balanced_accuracy=np.where(np.arange(len(names)) == 1, np.nan, known.balanced_accuracy),
    )


@pytest.fixture(scope="module")
def folder(concepts: ConceptSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set, its tracks, and pages with excerpts (page.html) and with links (linked.html)."""
    folder = tmp_path_factory.mktemp("page")
    save(concepts, folder / "set.safetensors")
    for n, track in enumerate(concepts.tracks):
        t = np.arange(12_000) / 16_000
        soundfile.write(folder / track, 0.2 * np.sin(2 * np.pi * (220 + 7 * n) * t), 16_000)
    common = ["hierarchy", str(folder / "set.safetensors"), "--permutations", "9", "--tracks", "2"]
    assert main([*common, "--html", str(folder / "page.html"), "--title", "A <title>"]) == 0
    assert main([*common, "--html", str(folder / "linked.html"), "--audio", "link"]) == 0
    assert main([*common, "--html", str(folder / "one.html"), "--audio", "none", "--algorithm", "spanning"]) == 0
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from chromium(playwright, "--autoplay-policy=no-user-gesture-required")


@pytest.fixture(scope="module")
def windows(browser: Any) -> Iterator[Callable[..., Any]]:
    """A function (options) -> a window, one for each set of options: to open one takes longer than most tests."""
    kept: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:

        def window(**options: Any) -> Any:
            key = json.dumps(options, sort_keys=True)
            if key not in kept:
                context = stack.enter_context(contextlib.closing(browser.new_context(**options)))
                kept[key] = context.new_page()
            return kept[key]

        yield window


@pytest.fixture
def opened(windows: Callable[..., Any], folder: Path) -> Iterator[Any]:
    """A function (name of the page) -> the page, opened afresh; errors and foreign requests fail the test."""
    problems: list[str] = []
    with contextlib.ExitStack() as stack:

        def make(name: str = "page.html", **options: Any) -> Any:
            page = windows(**{"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", **options})
            page.set_default_timeout(20_000)
            for event, listener in {
                "pageerror": lambda error: problems.append(str(error)),
                "console": lambda message: problems.append(message.text) if message.type == "error" else None,
                "request": lambda request: (
                    None if request.url.startswith(("file:", "data:")) else problems.append(request.url)
                ),
            }.items():
                page.on(event, listener)
                stack.callback(page.remove_listener, event, listener)
            page.mouse.move(0, 0)
            page.goto((folder / name).as_uri())
            page.wait_for_function("() => view.width > 0 && view.shown.length > 0")
            return page

        yield make
    assert not problems


def spot(page: Any, name: str) -> tuple[float, float]:
    """Where a concept is on the screen."""
    x, y = page.evaluate(
        """(name) => {
          const frame = canvas.getBoundingClientRect();
          const { x, y } = screenPlace(data.names.indexOf(name));
          return [frame.left + x, frame.top + y];
        }""",
        name,
    )
    return x, y


def chosen(page: Any) -> str:
    return str(page.evaluate("view.selected === ROOT ? '' : data.names[view.selected]"))


def test_the_page_is_one_file(folder):
    text = (folder / "page.html").read_text()
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", text)
    assert not re.search(r"url\((?!data:)", text)
    assert "https://" not in text
    assert "http://" not in text
    assert "<title>A &lt;title&gt;</title>" in text
    assert text.count("<script") == text.count("</script>")


def test_what_it_shows_is_what_was_found(opened, concepts):
    page = opened()
    seen = json.loads(page.evaluate("document.getElementById('data').textContent"))
    found = build(concepts)
    assert seen["names"] == list(concepts.names)
    assert [tree["parents"] for tree in seen["trees"]] == [tree.parents.tolist() for tree in found.trees.values()]
    assert seen["accuracy"][1] is None
    assert page.evaluate("view.shown.length") == len(concepts.names)
    assert page.inner_text(".title") == "A <title>"
    labels = page.locator("#algorithm option").all_inner_texts()
    assert labels == ["Heymann", "Spanning tree", "Arborescence", "Agglomerative"]


def test_something_is_painted_in_the_clusters_colours(opened):
    page = opened()
    painted = page.evaluate(
        """() => {
          draw(performance.now());
          const { data: pixels } = pen.getImageData(0, 0, canvas.width, canvas.height);
          const seen = new Map();
          for (let at = 0; at < pixels.length; at += 4)
            if (pixels[at + 3] === 255) {
              const code = [0, 1, 2].map((n) => pixels[at + n].toString(16).padStart(2, "0")).join("");
              seen.set(`#${code}`, (seen.get(`#${code}`) ?? 0) + 1);
            }
          return Object.fromEntries(seen);
        }"""
    )
    for colour in colours(3):
        assert painted.get(colour.light, 0) > 50


def test_search_goes_to_a_concept(opened):
    page = opened()
    page.keyboard.press("/")
    page.keyboard.type("B.")
    options = page.locator("#found [role=option]")
    assert [text.split("\n")[0] for text in options.all_inner_texts()] == ["b.a", "b.b", "b.c"]
    assert page.evaluate("view.matches.size") == 3
    assert page.get_attribute("#search", "aria-expanded") == "true"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    active = page.get_attribute("#search", "aria-activedescendant")
    assert page.get_attribute(f"#{active}", "aria-selected") == "true"
    page.keyboard.press("Enter")
    assert chosen(page) == "b.b"
    assert page.inner_text("#panel h2") == "b.b"
    assert page.locator("#found").is_hidden()
    x, y = spot(page, "b.b")
    frame = page.locator("#tree").bounding_box()
    assert frame["x"] < x < frame["x"] + frame["width"] - 320  # beside the panel
    assert frame["y"] < y < frame["y"] + frame["height"]


def test_search_finds_accents_odd_names_and_nothing(opened):
    page = opened()
    page.fill("#search", "zoe")
    assert page.locator("#found [role=option] .name").all_inner_texts() == [ODD]
    page.fill("#search", "xylophone")
    assert page.inner_text("#found") == "No concept like that"
    page.press("#search", "Escape")
    assert page.locator("#found").is_hidden()
    assert page.evaluate("view.matches.size") == 0


def test_wheel_zooms_at_the_pointer(opened):
    page = opened()
    x, y = spot(page, "b.b")
    before = page.evaluate("view.scale")
    page.mouse.move(x, y)
    page.mouse.wheel(0, -400)
    page.wait_for_function("(before) => view.scale > 1.5 * before", arg=before)
    assert spot(page, "b.b") == pytest.approx((x, y), abs=2.5)  # pointers stand on whole pixels
    page.click("#fit")
    assert page.evaluate("view.scale") == pytest.approx(before)


def test_buttons_and_keys_zoom_and_move(opened):
    page = opened()
    scale = page.evaluate("view.scale")
    page.click("#in")
    page.click("#out")
    assert page.evaluate("view.scale") == pytest.approx(scale)
    page.focus("#tree")
    page.keyboard.press("+")
    assert page.evaluate("view.scale") == pytest.approx(1.3 * scale)
    x, y = spot(page, "b")
    page.keyboard.press("Shift+ArrowLeft")
    assert spot(page, "b") == pytest.approx((x + 60, y))
    page.keyboard.press("0")
    assert page.evaluate("view.scale") == pytest.approx(scale)
    for _ in range(40):
        page.keyboard.press("-")
    assert page.evaluate("view.scale") > 0


def test_dragging_moves_and_a_click_chooses(opened):
    page = opened()
    x, y = spot(page, "a")
    page.mouse.move(640, 700)
    page.mouse.down()
    page.mouse.move(600, 650, steps=4)
    page.mouse.up()
    assert spot(page, "a") == pytest.approx((x - 40, y - 50))
    assert chosen(page) == ""
    page.mouse.click(x - 40, y - 50)
    assert chosen(page) == "a"
    page.keyboard.press("Escape")
    page.focus("#tree")
    page.keyboard.press("Escape")
    assert chosen(page) == ""
    assert page.locator("#panel").is_hidden()


def test_hovering_tells_accuracy_and_tracks(opened, concepts):
    page = opened()
    page.mouse.move(*spot(page, "a"))
    tip = page.locator("#tip")
    tip.wait_for()
    percent = round(100 * concepts.balanced_accuracy[concepts.number("a")])
    assert tip.inner_text().split("\n")[:3] == ["a", "a", f"Accuracy {percent} % · 24 tracks"]
    page.mouse.move(*spot(page, "b"))
    assert "Accuracy not measured" in tip.inner_text()
    page.mouse.move(5, 400)
    assert tip.is_hidden()


def test_the_panel_says_it_all_and_leads_on(opened, concepts):
    page = opened()
    page.select_option("#algorithm", "1")
    tree = build(concepts).trees["spanning"]
    top = concepts.names[tree.order[0]]
    page.evaluate("(name) => choose(data.names.indexOf(name))", top)
    panel = page.locator("#panel")
    assert "At the top of the tree" in panel.inner_text()
    children = {concepts.names[child] for child in tree.children[tree.order[0]]}
    assert set(panel.locator(".path .go").all_inner_texts()) == children
    panel.locator(".path .go").first.click()
    below = chosen(page)
    assert below in children
    assert panel.locator(".path .go").first.inner_text() == top
    figure = f"{concepts.auc[concepts.number(below)]:.3f}"
    assert figure in panel.inner_text()


def test_arrow_keys_walk_the_tree(opened, concepts):
    page = opened()
    page.select_option("#algorithm", "1")
    page.focus("#tree")
    page.keyboard.press("ArrowRight")
    tree = build(concepts).trees["spanning"]
    at = concepts.number(chosen(page))
    assert at == tree.order[0]
    for _ in range(4):
        page.keyboard.press("ArrowRight")
        below = concepts.number(chosen(page))
        assert below == at or tree.parents[below] == at
        at = below
    page.keyboard.press("ArrowLeft")
    assert concepts.number(chosen(page)) == tree.parents[at]
    page.wait_for_function("() => document.getElementById('live').textContent.includes('tracks, level')")


def test_trees_switch_and_keep_the_chosen_one(opened, concepts):
    page = opened()
    page.evaluate("choose(5)")
    for number, tree in enumerate(build(concepts).trees.values()):
        page.select_option("#algorithm", str(number))
        assert page.evaluate("view.tree.parents") == tree.parents.tolist()
        assert chosen(page) == concepts.names[5]
        shown = page.evaluate("view.shown.map((c) => view.places.get(c)).every(({x, y}) => isFinite(x) && isFinite(y))")
        assert shown


@pytest.mark.parametrize("layout", ["radial", "layered"])
def test_no_two_concepts_stand_on_one_place(opened, layout):
    page = opened()
    page.select_option("#layout", layout)
    for number in range(4):
        page.select_option("#algorithm", str(number))
        nearest = page.evaluate(
            """() => {
              const all = [...view.places.values()];
              return Math.min(...all.flatMap((a, n) => all.slice(n + 1).map((b) => Math.hypot(a.x - b.x, a.y - b.y))));
            }"""
        )
        assert nearest > 8


def test_branches_close_and_open(opened, concepts):
    page = opened()
    page.select_option("#algorithm", "1")
    tree = build(concepts).trees["spanning"]
    inner = next(c for c in tree.order[1:] if tree.children[c])
    gone = {int(d) for a, d in tree.ancestors() if a == inner}
    x, y = spot(page, concepts.names[inner])
    page.mouse.dblclick(x, y)
    assert page.evaluate("view.shown.length") == len(concepts.names) - len(gone)
    page.fill("#search", concepts.names[min(gone)])
    page.press("#search", "Enter")  # what is searched for comes out
    assert page.evaluate("view.tree.closed.size") == 0
    page.evaluate("(c) => choose(c)", inner)
    page.click("#panel .toggle")
    assert page.get_attribute("#panel .toggle", "aria-expanded") == "false"
    assert page.evaluate("view.shown.length") == len(concepts.names) - len(gone)
    page.focus("#tree")
    page.keyboard.press("Enter")
    assert page.evaluate("view.shown.length") == len(concepts.names)
    page.click("#fold")
    assert page.evaluate("view.shown.length") < len(concepts.names)
    assert page.get_attribute("#fold", "aria-label") == "Open all branches"
    page.click("#fold")
    assert page.evaluate("view.shown.length") == len(concepts.names)


def test_hundreds_of_rows_begin_closed(browser, tmp_path):
    save(concept_tree((21, 21), tracks=1), tmp_path / "many.safetensors")
    arguments = [str(tmp_path / "many.safetensors"), "--html", str(tmp_path / "many.html"), "--audio", "none"]
    assert main(["hierarchy", *arguments, "--permutations", "1"]) == 0
    with contextlib.closing(browser.new_context()) as context:
        page = context.new_page()
        page.goto((tmp_path / "many.html").as_uri())
        assert page.evaluate("view.shown.length") == 462
        page.select_option("#layout", "layered")
        assert page.evaluate("view.shown.length") == page.evaluate("view.tree.tops.length")
        page.fill("#search", "k.k")
        page.press("#search", "Enter")  # opens what is above it
        assert page.evaluate("view.shown.map((c) => data.names[c])").count("k.k") == 1


def test_the_legend_brings_a_cluster_out(opened):
    page = opened()
    entries = page.locator("#legend li")
    assert [text.replace("\n", " ") for text in entries.all_inner_texts()] == ["b 4", "c 4", "a 3", "not known 1"]
    button = entries.nth(1).locator("button")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert page.evaluate("view.cluster") == 1
    button.click()
    assert page.evaluate("view.cluster") is None


@pytest.mark.parametrize("name", ["page.html", "linked.html"])
def test_tracks_play(opened, name):
    page = opened(name)
    page.evaluate("choose(0)")
    buttons = page.locator("#panel .play")
    assert buttons.count() == 2
    buttons.first.click()
    assert buttons.first.get_attribute("aria-pressed") == "true"
    page.wait_for_function("() => sound.currentTime > 0.05 && !sound.error")
    assert page.evaluate("sound.duration") == pytest.approx(0.75, abs=0.05)
    page.focus("#tree")
    page.keyboard.press("p")  # stops
    assert page.evaluate("sound.paused")
    page.evaluate("play(Number(document.querySelectorAll('#panel .play')[1].dataset.track))")
    page.wait_for_function("() => playing === null")  # ends by itself
    assert buttons.nth(1).get_attribute("aria-pressed") == "false"


def test_a_track_that_is_gone_is_said(browser, folder, tmp_path):
    shutil.copy(folder / "linked.html", tmp_path / "alone.html")
    with contextlib.closing(browser.new_context()) as context:
        page = context.new_page()
        page.goto((tmp_path / "alone.html").as_uri())
        page.evaluate("choose(0)")
        page.locator("#panel .play").first.click()
        page.wait_for_function("() => document.querySelector('#panel .wrong').textContent.includes('cannot be played')")
        assert page.evaluate("playing") is None


def test_without_sound_there_is_nothing_to_press(opened):
    page = opened("one.html")
    page.evaluate("choose(0)")
    assert page.locator("#panel .play").count() == 0
    assert page.locator("#panel .tracks li").count() == 2
    assert page.locator("#algorithm").is_hidden()


def test_about_tells_the_figures(opened):
    page = opened()
    page.click("#about")
    dialog = page.locator("#facts")
    assert dialog.is_visible()
    assert dialog.locator("tbody tr").count() == 4
    assert "same cluster" in dialog.inner_text()
    page.keyboard.press("Escape")
    assert dialog.is_hidden()


def test_a_phone(opened):
    page = opened(viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    x, y = spot(page, "a")
    page.touchscreen.tap(x, y)
    assert chosen(page) == "a"
    panel = page.locator("#panel").bounding_box()
    frame = page.locator("#tree").bounding_box()
    assert panel["width"] == 360
    x, y = spot(page, "a")
    assert frame["y"] < y < panel["y"]  # in sight above the panel
    for control in ("#in", "#out", "#fit", "#fold", "#panel .close"):
        box = page.locator(control).bounding_box()
        assert min(box["width"], box["height"]) >= 40


def test_two_fingers_zoom(opened):
    page = opened(viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
    before = page.evaluate("view.scale")
    page.evaluate(
        """() => {
          canvas.setPointerCapture = () => {};
          const send = (type, pointerId, clientX) =>
            canvas.dispatchEvent(
              new PointerEvent(type, { pointerId, clientX, clientY: 400, pointerType: "touch", bubbles: true }),
            );
          send("pointerdown", 1, 150);
          send("pointerdown", 2, 210);
          send("pointermove", 2, 270);
          send("pointerup", 1, 150);
          send("pointerup", 2, 270);
        }"""
    )
    assert page.evaluate("view.scale") == pytest.approx(2 * before, rel=0.01)
    assert page.evaluate("view.selected") == -1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(opened, scheme):
    """WCAG's contrast: 4.5 for text, 3 for what clusters are told by."""
    page = opened(color_scheme=scheme)
    style = page.evaluate("(readColours(), colours)")
    shown = page.evaluate("data.clusters.map((c, n) => colourOf(n))")
    for text in ("ink", "soft", "accent"):
        for ground in ("paper", "card"):
            assert contrast(style[text], style[ground]) > 4.5
    for colour in [*shown, *(getattr(each, scheme) for each in colours(40))]:
        assert contrast(colour, style["paper"]) > 3, colour


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_colours_are_as_many_as_clusters():
    assert len(set(colours(60))) == 60
    assert colours(3) == colours(60)[:3]
