"""The report in a browser: tables sort, filter and scroll, on a phone, in the dark and on paper."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.browser import DESKTOP, PHONE
from tests.test_html_report import ABOUT, VERDICT, make, row

pytestmark = pytest.mark.browser

GAPS = {1: 3.5, 2: None, 3: -20.0, 4: 1e-3, 5: 100.0}
"""A figure by seed, which no order of letters sorts."""
MANY = {f"figure_{index}": float(index) for index in range(30)}


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """The page of two studies of many columns."""
    folder = tmp_path_factory.mktemp("report")
    about = ABOUT | {"columns": ["gap", "mse", *MANY], "by": ["run", "seed"]}
    rows = [row("z2", seed, gap=gap, **MANY) for seed, gap in GAPS.items()]
    for name in ("one", "two"):
        make(folder / name, rows, {"C1": VERDICT, "C10": VERDICT, "C2": VERDICT}, about)
    tiny.command("report", folder)
    return folder / "report.html"


def column(table: Any, name: str) -> list[str]:
    """The texts of a column, from the rows that are shown."""
    return table.evaluate(
        """(table, name) => {
            const at = [...table.tHead.rows[0].cells].findIndex(cell => cell.dataset.name === name);
            return [...table.tBodies[0].rows].filter(row => !row.hidden)
                .map(row => row.cells[at].textContent);
        }""",
        name,
    )


def test_a_heading_sorts_by_click_and_by_keys_and_again_the_other_way(report, visit) -> None:
    page = visit(report)
    table = page.locator("article table.sortable").first
    gap, seed = (table.locator(f"th[data-name={name}]") for name in ("gap", "seed"))
    assert column(table, "seed") == ["1", "2", "3", "4", "5"]
    assert gap.get_attribute("aria-sort") == "none"
    gap.locator("button").click()
    assert column(table, "seed") == ["3", "4", "1", "5", "2"]  # no number: at the end
    assert gap.get_attribute("aria-sort") == "ascending"
    gap.locator("button").focus()
    page.keyboard.press("Enter")
    assert column(table, "seed") == ["5", "1", "4", "3", "2"]
    assert gap.get_attribute("aria-sort") == "descending"
    seed.locator("button").focus()
    page.keyboard.press("Space")
    assert column(table, "seed") == ["1", "2", "3", "4", "5"]
    assert gap.get_attribute("aria-sort") == "none"

    claims = "[...document.querySelectorAll('#summary tbody th')].map(cell => cell.firstChild.data)"
    assert [name.strip() for name in page.evaluate(claims)] == ["C1", "C2", "C10"]
    for _ in range(2):
        page.locator("#summary th button").first.click()
    assert [name.strip() for name in page.evaluate(claims)] == ["C10", "C2", "C1"]


def test_rows_and_columns_are_chosen_and_a_picture_is_shown_in_full_size(report, visit) -> None:
    page = visit(report)
    page.fill("[data-filters=summary]", "c10 held")
    assert page.locator("#summary tbody tr:visible").count() == 1
    assert page.inner_text("[data-counts=summary]") == "1 of 3"
    page.fill("[data-filters=summary]", "")
    assert page.locator("#summary tbody tr:visible").count() == 3
    page.locator("details.all > summary").first.click()
    page.fill("[data-filters=rows-study-1]", "-20")
    rows = page.locator("#rows-study-1 table")
    assert column(rows, "seed") == ["3"]
    assert len(column(page.locator("#rows-study-2 table"), "seed")) == 5  # of the other study

    page.locator("details.columns > summary").first.click()
    boxes = page.locator("[data-columns-of=rows-study-1]")
    assert rows.locator("th[data-name=mse]").is_visible()
    assert not rows.locator("th[data-name=lane]").is_visible()
    boxes.get_by_label("lane", exact=True).check()
    boxes.get_by_label("MSE", exact=True).uncheck()
    assert rows.locator("th[data-name=lane]").is_visible()
    assert not rows.locator("th[data-name=mse]").is_visible()

    image, button = page.locator("figure img").first, page.locator("button.zoom").first
    fitted = image.evaluate("image => image.width")
    button.click()
    assert image.evaluate("image => image.width") == 3 > fitted
    assert button.inner_text() == "Fit to the page"
    button.click()
    assert image.evaluate("image => image.width") == fitted


@pytest.mark.parametrize(("viewport", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_the_page_fits_its_screen_and_its_paper(viewport, scheme, report, visit) -> None:
    page = visit(report, viewport=viewport, color_scheme=scheme)
    read = "(style => [style.backgroundColor, style.color])(getComputedStyle(document.body))"
    paper, ink = (int(re.findall(r"\d+", colour)[0]) for colour in page.evaluate(read))
    assert paper > 200 > 60 > ink if scheme == "light" else ink > 200 > 60 > paper

    page.locator("details").first.evaluate("details => details.open = true")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("input:visible").count()
    # Chromium does not repeat the heading of a table on each sheet if there is a button in it.
    button = page.locator("thead button").first
    assert button.evaluate("button => getComputedStyle(button).display") == "contents"
    page.set_viewport_size({"width": 700, "height": 900})
    cut = "box => box.scrollWidth > document.documentElement.clientWidth"
    assert not any(box.evaluate(cut) for box in page.locator(".scroll").all())
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 1

    page.set_viewport_size(viewport)
    page.emulate_media(media="screen")
    page.locator("details").evaluate_all("all => all.forEach(details => details.open = true)")
    for button in page.locator("button.zoom").all():
        button.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    box = page.locator(".scroll:has(table.wide)").first
    assert box.evaluate("box => box.scrollWidth > box.clientWidth")
