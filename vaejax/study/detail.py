"""The detail that pictures keep, which several studies compare with that of blur."""

from collections.abc import Sequence

from vaejax.measure.spectrum import discernible_from
from vaejax.store.records import Row
from vaejax.study.claims import column

KEPT_DETAIL = column("half_power_cycles", "detail kept (cycles per image)")
LEAST_DETAIL = column("cycles_per_image", "least detail that is no blur", discernible_from)


def of_pictures(rows: Sequence[Row]) -> list[Row]:
    """The rows of models of pictures; vectors have no detail."""
    return [row for row in rows if row.get("cycles_per_image") is not None]
