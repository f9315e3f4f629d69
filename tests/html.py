"""What a page of HTML says, as tests read it."""

from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "img", "input", "br", "link", "hr"}
CELLS = {"td", "th", "dt", "dd"}
Attributes = dict[str, str]


class Html(HTMLParser):
    """The elements of a page, and their texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, Attributes]] = []
        """Each tag with its attributes, in the order of the page."""
        self.texts: list[tuple[list[int], str]] = []
        """Each text, with the elements that it is in, by their place in `elements`."""
        self._open: list[tuple[str, int]] = []
        self.feed(page)
        self.close()
        assert not self._open, "a tag is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append((tag, len(self.elements) - 1))

    def handle_endtag(self, tag: str) -> None:
        if tag in CELLS:
            self.handle_data(" ")
        opened, _ = self._open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"

    def handle_data(self, data: str) -> None:
        self.texts.append(([index for _, index in self._open], data))

    def find(self, tag: str, **attributes: Any) -> list[int]:
        """The places of the elements with this tag and these attributes."""
        return [
            index
            for index, (name, own) in enumerate(self.elements)
            if name == tag and attributes.items() <= own.items()
        ]

    def attributes(self, tag: str, name: str) -> list[str]:
        return [self.elements[index][1].get(name, "") for index in self.find(tag)]

    def text(self, element: int | None = None) -> str:
        """The text of an element, or of the whole page but for style and script, with single
        spaces."""
        unread = set(self.find("style") + self.find("script"))
        parts = [
            text
            for within, text in self.texts
            if (element is None or element in within) and not unread & set(within)
        ]
        return " ".join("".join(parts).split())

    def inside(self, tag: str, element: int) -> list[int]:
        """The places of the elements with this tag that hold text and are inside another."""
        found = {
            index: None
            for within, _ in self.texts
            if element in within
            for index in within
            if index > element and self.elements[index][0] == tag
        }
        return sorted(found)

    def table(self, element: int) -> tuple[list[str], list[list[str]]]:
        """The names of the columns of a table, and the texts of the cells of its rows."""
        headings = [
            index for index in self.inside("th", element) if "data-name" in self.elements[index][1]
        ]
        (body,) = self.inside("tbody", element)
        rows = []
        for row in self.inside("tr", body):
            cells = sorted(self.inside("th", row) + self.inside("td", row))
            rows.append([self.text(cell) for cell in cells])
        return [self.elements[index][1]["data-name"] for index in headings], rows
