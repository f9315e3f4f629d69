"""vaejax.store.records: rows come back, and a file is whole or as it was."""

import errno
import json
import math
import os
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.errors import LabError
from vaejax.store import records

ROWS = [{"z": 2, "nll_nats": 97.1, "dataset": "mnist", "ok": True, "note": None}, {"z": 4}]


def test_rows_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "study" / "results.jsonl"
    assert records.read(path) == []
    records.append(path, ROWS)
    records.append(path, [])
    records.append(path, iter([{"text": "a\nb\u2028c \x85 \u00fc"}]))
    assert records.read(path) == [*ROWS, {"text": "a\nb\u2028c \x85 \u00fc"}]
    assert len(path.read_bytes().splitlines()) == 3


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.array([[1, 2], [3, 4]], np.uint8), [[1, 2], [3, 4]]),
        (np.array(1.5), 1.5),
        (jnp.arange(3), [0, 1, 2]),
        ((1, (2.0, "x")), [1, [2.0, "x"]]),
        (math.nan, None),
        (-math.inf, None),
        (np.float32(np.nan), None),
        (np.array([1, np.inf]), [1.0, None]),
        ({"a": jnp.array([jnp.nan])}, {"a": [None]}),
    ],
    ids=repr,
)
def test_values_become_what_strict_json_knows(value: Any, plain: Any) -> None:
    got = records.plain(value)
    assert json.dumps(got, allow_nan=False) == json.dumps(plain)


def test_a_json_file_is_one_document_with_null_for_nan(tmp_path: Path) -> None:
    records.write_json(tmp_path / "verdict.json", {"C5": {"nats": np.float32("nan"), "n": 3}})
    text = (tmp_path / "verdict.json").read_text()
    assert json.loads(text) == {"C5": {"nats": None, "n": 3}}
    assert "NaN" not in text
    assert text.endswith("}\n")


@pytest.mark.parametrize(("owner", "call"), [(Path, "replace"), (os, "fsync")])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()], ids=repr
)
def test_a_write_that_fails_leaves_the_old_rows_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, call: str, error: BaseException
) -> None:
    path = tmp_path / "results.jsonl"
    records.append(path, ROWS)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(owner, call, fail)
    with pytest.raises((LabError, KeyboardInterrupt)) as caught:
        records.append(path, ROWS)
    if isinstance(error, OSError):
        assert f"Cannot write {path}: No space left on device." in str(caught.value)
    assert records.read(path) == ROWS
    assert list(tmp_path.iterdir()) == [path]


def test_a_row_that_is_no_json_leaves_the_old_rows_whole(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    records.append(path, ROWS)
    with pytest.raises(TypeError):
        records.append(path, [{"fine": 1}, {"fine": {(1, 2): 3}}])
    assert records.read(path) == ROWS


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b'{}\n{}\n{"z": 2', 3), (b"{}\n\n", 2), (b"\0\0\0\0\n{}\n", 1), (b"{}\n\xff\xfe\n", 2),
        (b'{"z": 1} {"z": 2}\n', 1), (b"nonsense\n{}\n", 1), (b"{}\r\n[1]\r\n", 2),
    ],
)  # fmt: skip
def test_a_damaged_line_is_named_by_its_number_in_the_file(
    tmp_path: Path, content: bytes, line: int
) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(content)
    with pytest.raises(LabError, match=rf"^Line {line} of .*results\.jsonl is damaged \("):
        records.read(path)


def test_of_each_model_the_newest_row_counts_that_says_what_is_wanted() -> None:
    rows = [
        {"run": run, "lane": lane, "epochs": epochs, "number": number}
        for number, (run, lane, epochs) in enumerate(
            [("b", 0, 1), ("b", 1, 1), ("a", 0, 1), ("b", 0, 9), ("b", 1, 9), ("b", 0, 1)]
        )
    ]

    def numbers(wanted: Any) -> list[int]:
        return [row["number"] for row in records.current([*rows, {"note": 3}], wanted)]

    assert numbers({"a": {"epochs": 1}, "b": {"epochs": 9}}) == [2, 3, 4]
    assert numbers({"b": {"epochs": 1}}) == [5, 1]
    assert numbers({"b": {"epochs": 3}, "c": {}}) == []
    assert [row["number"] for row in records.current(rows)] == [5, 4, 2]
    assert records.current([{"mse": 1}, {"mse": 2}]) == [{"mse": 1}, {"mse": 2}]


def test_a_file_mended_by_hand_takes_more_rows(tmp_path: Path) -> None:
    """An editor may leave the last line without its end."""
    path = tmp_path / "results.jsonl"
    path.write_text('{"z": 2}')
    records.append(path, [{"z": 4}])
    assert records.read(path) == [{"z": 2}, {"z": 4}]
