"""What MkDocs does to a page of `docs/` beyond its extensions.

Formulas, written `$...$` or `$$...$$` in LaTeX, become MathML, which every browser draws without a
script. A notebook becomes a page, with all that its cells have printed and drawn. A link to a file
of the project, such as `../vaejax/loss.py` or `../vaejax/loss.py#kl_divergence`, leads to its
documentation; in the checkout it leads to the file. Tests have no page: of a link to one the words
stay.

`explorer.html` and `explorer_sizes.html` show VAEs that are trained on the digits when the site is
first built (about 45 seconds of processor time) and kept in `build/digits/`.
"""

import functools
import html
import json
import posixpath
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import latex2mathml.converter
from mkdocs.structure.files import File, Files

DOCS = Path(__file__).parent
ROOT = DOCS.parent
FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)
LINK = re.compile(r"\[(?P<words>[^\[\]]+)\]\((?P<target>[^)\s#:]+\.py)(?:#(?P<name>[\w.]+))?\)")
EXPLORED = {
    "explorer.html": (
        "recon_scale", "--latent-sizes=10", "--epochs=100",
        "--recon-scale", "1", "30", "50", "70", "100", "300", "1000", "6000",
    ),
    "explorer_sizes.html": (
        "latent_size", "--latent-sizes", "1", "2", "4", "10", "--epochs=60", "--nll-samples=5"
    ),
}  # fmt: skip
"""The pages that show models of the digits, and the studies that train them."""


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add the explorers, and a page for each notebook."""
    for path in DOCS.glob("*.ipynb"):
        files.append(File.generated(config, f"{path.stem}.md", content=as_markdown(path)))
    for name in EXPLORED:
        files.append(File.generated(config, name, abs_src_path=str(explorer(name))))
    return files


def explorer(name: str) -> Path:
    """A page of the explorer, made if it is not there."""
    folder, (study, *flags) = ROOT / "build" / "digits", EXPLORED[name]
    page = folder / name
    if not page.exists():
        python, digits = [sys.executable, "-m"], ("--dataset=digits", "--seeds=0")
        train = [*python, f"experiments.{study}", *digits, *flags, "--out", str(folder), "--resume"]
        show = [*python, "experiments.explore", str(folder / study), "--out", str(page)]
        for command in (train, show):
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return page


def as_markdown(path: Path) -> str:
    """A notebook: text, code, and what the code printed and drew."""
    parts = []
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            if "text" in output:
                parts.append(f"```text\n{''.join(output['text'])}```")
            else:
                (title,) = output["data"]["text/plain"]
                parts.append(f"![{title}](data:image/png;base64,{output['data']['image/png']})")
    return "\n\n".join(parts) + "\n"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links that leave `docs/` to the page that documents their module, and those to a
    notebook to its page."""
    folder = posixpath.dirname(page.file.src_uri)

    def pointed(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", folder, link["target"]))
        if path.startswith("docs/"):
            return link[0]
        if path.startswith("tests/"):
            return link["words"]
        module = path.removesuffix(".py").replace("/", ".")
        room = ".".join(module.split(".")[: 2 if module.startswith("vaejax.") else 1])
        target = posixpath.relpath(documented()[room], folder or ".")
        name = f".{link['name']}" if link["name"] else ""
        return f"[{link['words']}]({target}#{module}{name})"

    return LINK.sub(pointed, markdown.replace(".ipynb)", ".md)"))


@functools.cache
def documented() -> dict[str, str]:
    """The page of each room that `docs/reference/` documents."""
    return {
        room: page.relative_to(DOCS).as_posix()
        for page in (DOCS / "reference").glob("*.md")
        for room in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)
    }


def on_page_content(content: str, **_: Any) -> str:
    """Turn formulas into MathML."""

    def drawn(formula: re.Match[str]) -> str:
        display = "block" if formula["tag"] == "div" else "inline"
        return latex2mathml.converter.convert(html.unescape(formula["latex"]), display=display)

    return FORMULA.sub(drawn, content)
