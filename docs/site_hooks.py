"""What MkDocs does to a page of `docs/` beyond its extensions.

Formulas, written `$...$` or `$$...$$` in LaTeX, become MathML, which every browser draws without a
script. Links to a file of the project, such as `../vaejax/loss.py` or
`../tests/test_loss.py#test_kl_is_zero_at_the_prior_and_only_there`, lead to the documentation of
that module or of that name in it: in the checkout they lead to the file.
"""

import functools
import html
import posixpath
import re
from pathlib import Path
from typing import Any

import latex2mathml.converter

DOCS = Path(__file__).parent
FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)
LINK = re.compile(r"\]\((?P<target>[^)\s#:]+\.py)(?:#(?P<name>[\w.]+))?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links that leave `docs/` to the page that documents their module."""
    folder = posixpath.dirname(page.file.src_uri)

    def pointed(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", folder, link["target"]))
        if path.startswith("docs/"):
            return link[0]
        module = path.removesuffix(".py").replace("/", ".")
        target = posixpath.relpath(documented()[module], folder or ".")
        name = f".{link['name']}" if link["name"] else ""
        return f"]({target}#{module}{name})"

    return LINK.sub(pointed, markdown)


@functools.cache
def documented() -> dict[str, str]:
    """The page of each module that `docs/reference/` documents."""
    return {
        module: page.relative_to(DOCS).as_posix()
        for page in (DOCS / "reference").glob("*.md")
        for module in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)
    }


def on_page_content(content: str, **_: Any) -> str:
    """Turn formulas into MathML."""

    def drawn(formula: re.Match[str]) -> str:
        display = "block" if formula["tag"] == "div" else "inline"
        return latex2mathml.converter.convert(html.unescape(formula["latex"]), display=display)

    return FORMULA.sub(drawn, content)
