"""explore in a browser: the models in the page compute what Python computes, and the page answers
to mouse, keys and touch."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaejax as vj
from tests import explored, tiny
from tests.browser import PHONE

pytestmark = pytest.mark.browser

exploration = vj.explorer.exploration
IMAGES = 40
CLOSE = 1e-3
"""How far the page may be from Python, also with weights in float16."""


class Shown(NamedTuple):
    """A run, and the file of its page."""

    folder: Path
    html: Path

    @property
    def trained(self) -> vj.store.Trained:
        """What Python knows of the run."""
        return vj.store.restore(self.folder)


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> Callable[[str], Shown]:
    """The page of a run with drawn weights, by its name in `explored.EXPLORED`; made once."""
    made: dict[str, Shown] = {}

    def page(name: str) -> Shown:
        if name not in made:
            folder = tmp_path_factory.mktemp("explored") / name
            explored.make(folder, **explored.EXPLORED[name])
            weights = "float16" if name == "linear" else "float32"
            tiny.command("explore", folder, "--images", IMAGES, "--weights", weights)
            made[name] = Shown(folder, folder / "explore.html")
        return made[name]

    return page


@pytest.fixture(scope="module")
def sweep(finished, tmp_path_factory) -> Shown:
    """The page of a trained study of two scales, one on each side of the threshold."""
    html = tmp_path_factory.mktemp("sweep") / "page.html"
    tiny.command("explore", finished("recon_scale"), "--images", IMAGES, "--out", html)
    return Shown(finished("recon_scale"), html)


# ---- what Python says ----

encode = jax.jit(vj.model.encode, static_argnums=0)
images_of = jax.jit(vj.model.images_of, static_argnums=0)


def digits(count: int) -> np.ndarray:
    """The first digits of the test set: [count, 64] uint8."""
    return vj.data.load("digits", "test").images[:count].reshape(count, 64)


def posterior(trained: vj.store.Trained, pixels: Any, lane: int = 0) -> vj.Posterior:
    """The posterior of an image with pixels in [0, 1]."""
    config, params = trained.run.config, vj.measure.lane_of(trained.state.params, lane)
    x = jnp.asarray(pixels, jnp.float32)
    return encode(config, params, 2 * x - 1 if config.pixel_range == "signed" else x)


def image_of(trained: vj.store.Trained, code: Any, lane: int = 0) -> np.ndarray:
    config, params = trained.run.config, vj.measure.lane_of(trained.state.params, lane)
    return np.asarray(images_of(config, params, jnp.asarray(code, jnp.float32)))


# ---- what the page says ----


def units(page: Any) -> list[dict[str, str]]:
    """The numbers beside the sliders, in the order of the units."""
    rows = page.eval_on_selector_all(".unit", "rows => rows.map(row => ({...row.dataset}))")
    return sorted(rows, key=lambda row: int(row["unit"]))


def canvas(page: Any, selector: str) -> np.ndarray:
    """The grey levels on a canvas, 0 to 255."""
    read = (
        "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
        ".filter((_, i) => i % 4 === 0)"
    )
    return np.array(page.eval_on_selector(selector, read))


def code(page: Any) -> list[float]:
    return page.evaluate("[...app.code]")


def bytes_of(pixels: np.ndarray) -> np.ndarray:
    return 255 * np.clip(pixels, 0, 1)


def pad_centre(page: Any) -> tuple[float, float, float]:
    """The middle of the pad on the screen, and its width."""
    page.locator("#pad").scroll_into_view_if_needed()
    box = page.locator("#pad").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, box["width"]


# ---- numbers ----


@pytest.mark.parametrize("name", explored.EXPLORED)
def test_the_page_computes_what_python_computes(name, shown, visit) -> None:
    trained, page = shown(name).trained, visit(shown(name).html)
    pixels = digits(IMAGES)[3] / 255
    page.evaluate("showTestImage(3)")
    expected = posterior(trained, pixels)
    found = units(page)
    mean = [float(unit["mean"]) for unit in found]
    exact = name != "linear"
    np.testing.assert_allclose(mean, expected.mean, atol=1e-5 if exact else CLOSE)
    if trained.run.config.model == "vae":
        sigma = [float(unit["sigma"]) for unit in found]
        kl = [float(unit["kl"]) for unit in found]
        np.testing.assert_allclose(sigma, np.exp(expected.logvar / 2), atol=CLOSE)
        np.testing.assert_allclose(kl, vj.loss.kl_divergence(*expected), atol=CLOSE)
    else:
        assert {unit["sigma"] + unit["kl"] for unit in found} == {""}
    decoded = page.evaluate("[...decode(netsOf(app.model), app.code)]")
    np.testing.assert_allclose(decoded, image_of(trained, mean), atol=CLOSE)
    assert np.abs(canvas(page, "#decoded canvas") - bytes_of(np.array(decoded))).max() <= 0.51
    assert np.abs(canvas(page, "#input canvas") - 255 * pixels).max() <= 0.51
    assert (canvas(page, "#output canvas") == canvas(page, "#decoded canvas")).all()


def test_every_activation_is_that_of_flax(shown, visit) -> None:
    page, at = visit(shown("mlp").html), np.linspace(-4, 4, 33, dtype=np.float32)
    found = page.evaluate(
        "at => Object.fromEntries(Object.entries({...ACTIVATIONS, ...OUTPUTS})"
        ".map(([name, f]) => [name, at.map(f)]))",
        at.tolist(),
    )
    known = {name: getattr(nn, name) for name in vj.config.get_args(vj.config.Activation)}
    known |= {"sigmoid": jax.nn.sigmoid, "linear": lambda x: x}
    assert set(found) == set(known)
    for name, function in known.items():
        np.testing.assert_allclose(found[name], function(jnp.asarray(at)), atol=2e-6)


def test_samples_depend_on_their_seed_alone(shown, visit) -> None:
    page = visit(shown("mlp").html)
    first = canvas(page, "#samples canvas")
    page.click("#samples-new")
    second = canvas(page, "#samples canvas")
    assert (first != second).any()
    page.evaluate("app.sampleSeed = 1; showSamples()")
    assert (canvas(page, "#samples canvas") == first).all()
    page.click("#samples button >> nth=0")
    assert (canvas(page, "#decoded canvas") == first).all()
    drawn = page.evaluate("{ const n = normalGenerator(3); Array.from({length: 4000}, n) }")
    assert np.mean(drawn) == pytest.approx(0, abs=0.06)
    assert np.std(drawn) == pytest.approx(1, abs=0.04)


# ---- mouse, keys and touch ----


def test_the_code_moves_with_mouse_and_sliders_and_the_picture_follows(shown, visit) -> None:
    trained, page = shown("mlp").trained, visit(shown("mlp").html)
    x, y, width = pad_centre(page)
    before = canvas(page, "#decoded canvas")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + width / 8, y - width / 8, steps=4)
    middle = code(page)
    page.mouse.move(x + width / 4, y - width / 4, steps=4)
    page.mouse.up()
    across, up = page.evaluate("app.axes")
    assert 0 < middle[across] < code(page)[across]
    ranges = page.evaluate("padScales().ranges")
    for unit, (low, high) in zip((across, up), ranges, strict=True):
        assert code(page)[unit] == pytest.approx((high - low) / 4, abs=0.05)
    after = canvas(page, "#decoded canvas")
    assert (before != after).any()
    assert np.abs(after - bytes_of(image_of(trained, code(page)))).max() < 1
    assert f"{code(page)[across]:.2f}" in page.inner_text("#pad-where")
    assert float(page.input_value(f"#unit-{across}")) == pytest.approx(code(page)[across])
    page.select_option("#unit-x", str(up))
    assert page.evaluate("app.axes") == [up, across]
    assert page.get_attribute("#pad", "aria-label") == (
        f"Latent space: unit {up} across, unit {across} up"
    )


def test_a_click_on_a_dot_encodes_its_image_and_a_slider_moves_its_unit(shown, visit) -> None:
    trained, page = shown("mlp").trained, visit(shown("mlp").html)
    x, y, width = pad_centre(page)
    dot = page.evaluate("padPoint(padScales(), codesOf(app.model)[7].mean)")
    page.mouse.click(x - width / 2 + 1 + dot[0], y - width / 2 + 1 + dot[1])
    index = page.evaluate("app.source.index")
    near = page.evaluate("index => padPoint(padScales(), codesOf(app.model)[index].mean)", index)
    assert near == pytest.approx(dot, abs=2)  # another dot may lie on top of it
    assert f"Test image {index}" in page.inner_text("#encoded-words")
    mean = posterior(trained, digits(IMAGES)[index] / 255).mean
    np.testing.assert_allclose(code(page), mean, atol=CLOSE)
    page.focus("#unit-2")
    before = code(page)
    page.keyboard.press("ArrowRight")
    after = code(page)
    assert after[2] > before[2]
    assert after[:2] == before[:2]
    expected = bytes_of(image_of(trained, after))
    assert np.abs(canvas(page, "#decoded canvas") - expected).max() < 1
    page.click("#zero")
    assert code(page) == [0, 0, 0]


def test_a_tap_moves_the_code(shown, visit) -> None:
    page = visit(shown("mlp").html, viewport=PHONE, has_touch=True, is_mobile=True)
    page.evaluate("app.highlight = -1")  # no dot is near
    x, y, width = pad_centre(page)
    page.touchscreen.tap(x - 0.3 * width, y)
    across, _ = page.evaluate("app.axes")
    (low, high), _ = page.evaluate("padScales().ranges")
    assert code(page)[across] == pytest.approx(-0.3 * (high - low), abs=0.1)


def test_keys_move_the_code_and_an_ae_has_no_sigma_and_no_prior(shown, visit) -> None:
    page = visit(shown("ae").html)
    across, up = page.evaluate("app.axes")
    page.focus("#pad")
    before = code(page)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    after = code(page)
    ranges = page.evaluate("padScales().ranges")
    steps = [(high - low) for low, high in ranges]
    assert after[across] - before[across] == pytest.approx(steps[0] / 100)
    assert before[up] - after[up] == pytest.approx(steps[1] / 20)
    page.keyboard.press("Enter")
    index = page.evaluate("app.source.index")
    expected = posterior(shown("ae").trained, digits(IMAGES)[index] / 255).mean
    np.testing.assert_allclose(code(page), expected, atol=CLOSE)
    for hidden in ("#sweep", "#part-choice", "#more-units"):
        assert not page.is_visible(hidden), hidden
    assert "sigma" not in page.inner_text("#units")
    assert "no prior" in page.inner_text("#samples-words")
    assert "its code" in page.inner_text("#pad-help")


def test_a_drawn_digit_is_fitted_centred_and_encoded(shown, visit) -> None:
    trained, page = shown("mlp").trained, visit(shown("mlp").html)
    page.locator("#pen").scroll_into_view_if_needed()
    box = page.locator("#pen").bounding_box()
    # A small tall bar in a corner.
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 20, box["y"] + 90, steps=5)
    page.mouse.up()
    page.wait_for_function("app.source.kind === 'drawn'")
    pixels = np.array(page.evaluate("[...app.source.pixels]"))
    ink = pixels.reshape(8, 8)
    assert ink.sum(1).min() > 0.5  # it fills the height
    assert ink[:, :3].max() == ink[:, 5:].max() == 0
    assert ink[:, 3].sum() == pytest.approx(ink[:, 4].sum(), rel=0.05)
    assert np.abs(canvas(page, "#pen-input canvas") - 255 * pixels).max() <= 0.51
    expected = posterior(trained, pixels)
    found = [float(unit["mean"]) for unit in units(page)]
    np.testing.assert_allclose(found, expected.mean, atol=CLOSE)
    output = bytes_of(image_of(trained, found))
    assert np.abs(canvas(page, "#pen-output canvas") - output).max() < 1
    page.click("#pen-clear")
    assert canvas(page, "#pen-input canvas").max() == 0
    page.focus("#pen")
    for key in ("Space", *["ArrowDown"] * 6):
        page.keyboard.press(key)
    page.wait_for_function("app.source.kind === 'drawn'")
    assert page.evaluate("pen.strokes[0].length") == 7


def test_a_digit_of_28_pixels_has_its_ink_in_the_middle(shown, visit) -> None:
    page = visit(shown("mlp").html)
    stroke = [{"x": 30, "y": 20}, {"x": 30, "y": 180}, {"x": 90, "y": 180}]  # an L
    pixels = page.evaluate("strokes => [...drawnDigit([strokes], [28, 28, 1])]", stroke)
    ink = np.array(pixels).reshape(28, 28)
    rows, columns = np.flatnonzero(ink.sum(1)), np.flatnonzero(ink.sum(0))
    assert 19 <= np.ptp(rows) <= 21  # a box of 20 pixels, at the places of no whole pixels
    centre = np.array([ink.sum(1) @ np.arange(28), ink.sum(0) @ np.arange(28)]) / ink.sum()
    np.testing.assert_allclose(centre, 13.5, atol=0.1)
    assert len(columns) < 14


# ---- the sweep ----


def test_the_slider_goes_through_the_scales(sweep, visit) -> None:
    page = visit(sweep.html)
    rows = {row["recon_scale"]: row for row in tiny.rows_of(sweep.folder) if row["seed"] == 0}
    trained, seen = vj.store.restore(sweep.folder / "z2"), {}
    page.focus("#scale")
    for key, scale in (("Home", 1.0), ("ArrowRight", 6000.0)):
        page.keyboard.press(key)
        caption = page.inner_text("#caption")
        assert f"recon_scale {scale:g}," in caption
        assert f"active units {rows[scale]['active_units']} of 2" in caption
        assert f"MSE {rows[scale]['mse']:.4f}" in caption
        bars = page.eval_on_selector_all("#bars .bar", "all => all.map(b => +b.dataset.value)")
        expected = sorted(rows[scale]["kl_per_unit_nats"], reverse=True)
        assert bars == pytest.approx(expected, rel=1e-4, abs=1e-6)
        lane = rows[scale]["lane"]
        index = page.evaluate("app.page.strip[2]")
        mean = posterior(trained, digits(IMAGES)[index] / 255, lane).mean
        output = bytes_of(image_of(trained, mean, lane))
        assert np.abs(canvas(page, "#strip > div:nth-of-type(3) canvas") - output).max() < 1
        seen[scale] = page.get_attribute("#scale", "aria-valuetext")
    threshold = rows[1.0]["threshold_scale"]
    assert "below the threshold" in seen[1.0]
    assert f"{round(6000 / threshold, -1):.0f} times the threshold" in seen[6000.0]
    assert page.locator("#charts .threshold").count() == 1
    assert f"threshold {threshold:.3g}" in page.inner_html("#charts")


def test_the_chart_and_the_images_answer_to_the_mouse_and_have_names(sweep, visit) -> None:
    page = visit(sweep.html)
    box = page.locator("#scale").bounding_box()
    page.mouse.click(box["x"] + 15, box["y"] + box["height"] / 2)
    assert page.evaluate("app.model.recon_scale") == 1
    page.locator("#charts .dot").nth(1).click()
    assert page.evaluate("app.model.recon_scale") == 6000
    place = float(page.input_value("#scale")) / 1000
    expected = page.evaluate("scaleAxis(app.part).place(6000)")
    assert place == pytest.approx(expected, abs=1e-3)
    page.evaluate("chooseModel(0)")
    first, second = page.evaluate("app.pair")
    page.click("#strip button >> nth=4")
    chosen = page.evaluate("app.page.strip[4]")
    assert page.evaluate("app.pair") == [second, chosen]
    assert first != second
    trained = vj.store.restore(sweep.folder / "z2")
    lane = page.evaluate("app.model.lane")
    pair = posterior(trained, digits(IMAGES)[[second, chosen]] / 255, lane).mean
    apart = float(np.linalg.norm(pair[0] - pair[1]))
    words = page.inner_text("#clouds-words")
    said = re.search(r"means ([\d.]+) apart", words)
    assert float(said[1]) == pytest.approx(apart, rel=0.06) if said else apart < 0.01
    nameless = page.evaluate(
        """[...document.querySelectorAll("input, select, button, canvas, svg")]
        .filter((e) => e.offsetParent && !e.closest("[aria-hidden], [role=img] *"))
        .filter((e) => !e.closest("button[aria-label] *"))
        .filter((e) => !e.labels?.length && !e.getAttribute("aria-label") && !e.innerText)
        .map((e) => e.outerHTML.slice(0, 90))"""
    )
    assert nameless == []


def test_the_path_goes_from_one_reconstruction_to_the_other(sweep, visit) -> None:
    page, trained = visit(sweep.html), vj.store.restore(sweep.folder / "z2")
    page.focus("#share")
    page.keyboard.press("Home")
    for _ in range(15):  # three pictures on
        page.keyboard.press("ArrowRight")
    assert page.get_attribute("#share", "aria-valuetext") == "37.5 % of the way"
    for model in (0, 1):
        page.evaluate("model => chooseModel(model)", model)
        pair, lane = page.evaluate("[app.pair, app.model.lane]")
        a, b = np.asarray(posterior(trained, digits(IMAGES)[pair] / 255, lane).mean)
        for share, place in ((0, 1), (0.375, 4), (1, 9)):
            expected = bytes_of(image_of(trained, a + share * (b - a), lane))
            assert np.abs(canvas(page, f"#path canvas:nth-child({place})") - expected).max() < 1
        larger = canvas(page, "#between canvas")
        assert (larger == canvas(page, "#path canvas:nth-child(4)")).all()
    ends = [canvas(page, f"#path canvas:nth-child({place})") for place in (1, 9)]
    assert np.abs(ends[0] - ends[1]).max() > 4  # A is not B


def test_an_image_is_shown_at_every_scale_and_a_click_goes_there(sweep, visit) -> None:
    page, trained = visit(sweep.html), vj.store.restore(sweep.folder / "z2")
    page.click("#strip button >> nth=4")
    pixels = digits(IMAGES)[page.evaluate("app.page.strip[4]")] / 255
    threshold = page.evaluate("app.part.theory.thresholds[0]")
    steps = page.locator("#scales > *").all_inner_texts()
    assert steps == ["input", "1", f"threshold {threshold:.3g}", "6000"]
    assert np.abs(canvas(page, "#scales > div canvas") - 255 * pixels).max() <= 0.51
    for step, lane in enumerate(page.evaluate("app.part.models.map((model) => model.lane)"), 1):
        mean = posterior(trained, pixels, lane).mean
        shown = canvas(page, f"#scales button:nth-of-type({step}) canvas")
        assert np.abs(shown - bytes_of(image_of(trained, mean, lane))).max() < 1
    for name, scale in (("1", 1), ("6000", 6000)):
        page.get_by_role("button", name=f"recon_scale {name}:").click()
        expected = page.evaluate("scale => scaleAxis(app.part).place(scale)", scale)
        assert float(page.input_value("#scale")) / 1000 == pytest.approx(expected, abs=1e-3)
        assert page.locator("#scales [aria-pressed=true]").inner_text() == name
        assert f"recon_scale {scale}," in page.inner_text("#caption")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_in_both_schemes(scheme, sweep, visit) -> None:
    page = visit(sweep.html, viewport=PHONE, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    level = int(re.findall(r"\d+", background)[0])
    assert level > 200 if scheme == "light" else level < 60
