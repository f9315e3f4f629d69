"""The report in a browser: tables sort, filter and scroll, on a phone, in the dark and on paper."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.browser import DESKTOP, PHONE
from tests.test_html_report import ABOUT, NEW_VERDICT, make, row

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
        make(folder / name, rows, {"C1": NEW_VERDICT, "C10": NEW_VERDICT, "C2": NEW_VERDICT}, about)
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


def heading(table: Any, name: str) -> Any:
    return table.locator(f"th[data-name={name}]")


def test_a_click_on_a_heading_sorts_by_number_and_again_the_other_way(report, visit) -> None:
    table = visit(report).locator("article table.sortable").first
    assert column(table, "seed") == ["1", "2", "3", "4", "5"]
    gap = heading(table, "gap")
    assert gap.get_attribute("aria-sort") == "none"
    gap.locator("button").click()
    assert column(table, "seed") == ["3", "4", "1", "5", "2"]  # no number: at the end
    assert gap.get_attribute("aria-sort") == "ascending"
    gap.locator("button").click()
    assert column(table, "seed") == ["5", "1", "4", "3", "2"]
    assert gap.get_attribute("aria-sort") == "descending"
    heading(table, "seed").locator("button").click()
    assert column(table, "seed") == ["1", "2", "3", "4", "5"]
    assert gap.get_attribute("aria-sort") == "none"


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_a_heading_sorts_by_keyboard(key, report, visit) -> None:
    page = visit(report)
    table = page.locator("article table.sortable").first
    heading(table, "seed").locator("button").focus()
    for _ in range(2):
        page.keyboard.press("Tab")  # past sigma
    page.keyboard.press(key)
    assert column(table, "seed") == ["3", "4", "1", "5", "2"]


def test_claims_sort_in_natural_order(report, visit) -> None:
    page = visit(report)
    claims = "[...document.querySelectorAll('#summary tbody th')].map(cell => cell.firstChild.data)"
    assert [name.strip() for name in page.evaluate(claims)] == ["C1", "C2", "C10"]
    for _ in range(2):
        page.locator("#summary th button").first.click()
    assert [name.strip() for name in page.evaluate(claims)] == ["C10", "C2", "C1"]


def test_a_filter_leaves_the_rows_that_have_all_its_words(report, visit) -> None:
    page = visit(report)
    page.fill("[data-filters=summary]", "c10 held")
    assert page.locator("#summary tbody tr:visible").count() == 1
    assert page.inner_text("[data-counts=summary]") == "1 of 3"
    page.fill("[data-filters=summary]", "")
    assert page.locator("#summary tbody tr:visible").count() == 3
    page.locator("details.all summary").first.click()
    page.fill("[data-filters=rows-study-1]", "-20")
    assert column(page.locator("#rows-study-1 table"), "seed") == ["3"]
    assert len(column(page.locator("#rows-study-2 table"), "seed")) == 5


def test_columns_are_chosen(report, visit) -> None:
    page = visit(report)
    page.locator("details.all > summary").first.click()
    page.locator("details.columns > summary").first.click()
    table = page.locator("#rows-study-1 table")
    assert heading(table, "mse").is_visible()
    assert not heading(table, "lane").is_visible()
    page.locator("[data-columns-of=rows-study-1]").get_by_label("lane", exact=True).check()
    assert heading(table, "lane").is_visible()
    page.locator("[data-columns-of=rows-study-1]").get_by_label("MSE", exact=True).uncheck()
    assert not heading(table, "mse").is_visible()


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page_does_not_scroll_sideways_but_its_tables_do(viewport, report, visit) -> None:
    page = visit(report, viewport=viewport)
    for details in page.locator("details").all():
        details.evaluate("details => details.open = true")
    width = "document.documentElement.scrollWidth"
    assert page.evaluate(width) <= viewport["width"]
    for button in page.locator("button.zoom").all():
        button.click()
    assert page.evaluate(width) <= viewport["width"]
    box = page.locator(".scroll:has(table.wide)").first
    assert box.evaluate("box => box.scrollWidth > box.clientWidth")


def test_in_the_dark_the_page_is_dark_and_its_text_light(report, visit) -> None:
    levels = {}
    for scheme in ("light", "dark"):
        page = visit(report, color_scheme=scheme)
        colours = page.evaluate(
            "(style => [style.backgroundColor, style.color])(getComputedStyle(document.body))"
        )
        levels[scheme] = [int(re.findall(r"\d+", colour)[0]) for colour in colours]
    paper, ink = levels["light"]
    assert paper > 200 > 60 > ink
    paper, ink = levels["dark"]
    assert ink > 200 > 60 > paper


def test_on_paper_all_details_are_open_and_tables_are_whole(report, visit) -> None:
    page = visit(report, viewport={"width": 700, "height": 900}, color_scheme="dark")
    page.locator("details").first.evaluate("details => details.open = true")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    cut = "box => box.scrollWidth > document.documentElement.clientWidth"
    assert not any(box.evaluate(cut) for box in page.locator(".scroll").all())
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("input:visible").count()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 1


def test_on_paper_the_heading_of_a_table_stands_on_every_page(report, visit) -> None:
    page = visit(report)
    (heading,) = page.locator("article table.sortable").first.locator("thead button").all()[:1]
    assert heading.evaluate("button => getComputedStyle(button).display") != "contents"
    page.emulate_media(media="print")  # a heading that has a button is not repeated by Chromium
    assert heading.evaluate("button => getComputedStyle(button).display") == "contents"


def test_a_picture_is_shown_in_full_size_and_fitted_again(report, visit) -> None:
    page = visit(report)
    image, button = page.locator("figure img").first, page.locator("button.zoom").first
    fitted = image.evaluate("image => image.width")
    button.click()
    assert image.evaluate("image => image.width") == 3 > fitted
    assert button.inner_text() == "Fit to the page"
    button.click()
    assert image.evaluate("image => image.width") == fitted
