"""What a data set is called: two embedded sets, and the names that TFDS gives to its sets."""

import re
from typing import NamedTuple

from vaejax.errors import LabError

EMBEDDED = ("digits", "patches")
"""The sets that come with scikit-learn (see `embedded`)."""

_NAME = re.compile(
    r"(?P<name>[A-Za-z]\w*)(?:/(?P<config>[\w+.-]+))?(?::(?P<version>[\d*]+\.[\d*]+\.[\d*]+))?"
)
_WORD_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class Request(NamedTuple):
    """The parts of a TFDS name, `name[/config][:version]`; a version may hold `*`."""

    name: str
    config: str | None
    version: str | None

    def __str__(self) -> str:
        config = f"/{self.config}" if self.config else ""
        return self.name + config + (f":{self.version}" if self.version else "")


def parse(name: str) -> Request:
    """The parts of a TFDS name. A name in CamelCase becomes snake_case, as in TFDS.

    Raises LabError for a text that is no such name.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise LabError(
            f"'{name}' is no data set name: write 'name', 'name/config' or 'name:1.2.3' as TFDS "
            "does, for example 'mnist'."
        )
    snake = _WORD_BOUNDARY.sub("_", match["name"]).lower()
    return Request(snake, match["config"], match["version"])
