"""The explorer as one file of HTML: the template in `web`, filled with the data of models.

The page asks no network for anything. Its script, in plain JavaScript, is in `web` in the order of
`SCRIPTS`.
"""

import html
import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

WEB = Path(__file__).parent / "web"
SCRIPTS = (
    *("nets.js", "pictures.js", "sweep.js", "clouds.js"),
    *("pad.js", "pen.js", "one_model.js", "explorer.js"),
)


def explorer_page(page: Mapping[str, Any], weights: Mapping[str, str]) -> str:
    """The explorer in HTML.

    Args:
        page: JSON values, see `explorer.exploration`.
        weights: the weights of each model in base64, by the name that `page` gives to it.
    """
    blocks = [
        f'<script type="text/plain" id="{html.escape(name)}">{text}</script>'
        for name, text in weights.items()
    ]
    return Template(_read("explorer.html")).substitute(
        title=html.escape(title(page["folder"], page["dataset"])),
        style=_read("explorer.css"),
        script="\n".join(map(_read, SCRIPTS)),
        # In a script element only `<` could end the data.
        data=json.dumps(page, separators=(",", ":")).replace("<", "\\u003c"),
        weights="\n".join(blocks),
    )


def title(folder: str, dataset: str) -> str:
    """The folder, and the data set if the folder is not named after it."""
    return folder if dataset in folder else f"{folder} ({dataset})"


def _read(name: str) -> str:
    return (WEB / name).read_text(encoding="utf-8")
