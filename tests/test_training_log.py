"""vaejax.study.training_log: what `--log` writes, and that no result depends on it."""

import json
import struct
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests import test_training
from tests.test_training import CONFIG, LANES, RUN, assert_same_run, interrupt_save
from vaejax import train
from vaejax.errors import LabError
from vaejax.store import checkpoint
from vaejax.study import flags, plans, training_log
from vaejax.study.flags import Flags, LogFormat
from vaejax.trained import Trained

event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
BOTH: tuple[LogFormat, ...] = ("jsonl", "tensorboard")
STEPS = 4
"""Of an epoch."""


def trained(folder: Path, formats: Sequence[LogFormat] = BOTH, epochs: int = 6) -> Trained:
    """The tiny run, with a checkpoint every two epochs."""
    return test_training.trained(folder, None, epochs, every=2, log=tuple(formats))


def metrics(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "log" / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


class Event(NamedTuple):
    lane: str
    tag: str
    step: int
    value: Any


def events(folder: Path) -> list[Event]:
    """What TensorBoard shows of the event files of a run: a session that starts at a step forgets
    what the files before it say of that step and later ones."""
    found = []
    for lane in sorted((folder / "log").glob("lane*")):
        shown: list[Event] = []
        for path in sorted(lane.iterdir()):
            for event in map(event_pb2.Event.FromString, messages(path.read_bytes())):
                if event.HasField("session_log"):
                    shown = [old for old in shown if old.step < event.step]
                for value in event.summary.value:
                    content = getattr(value, value.WhichOneof("value"))
                    shown.append(Event(lane.name, value.tag, event.step, content))
        found += shown
    return found


def messages(data: bytes) -> list[bytes]:
    """The records of a TFRecord file: length, checksum, content, checksum."""
    found = []
    while data:
        (length,) = struct.unpack_from("<Q", data)
        found.append(data[12 : 12 + length])
        data = data[16 + length :]
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    trained(folder)
    return folder


def test_a_run_has_the_same_bits_with_and_without_a_log(whole: Path, tmp_path: Path) -> None:
    assert_same_run(trained(tmp_path, ()), checkpoint.restore(whole))
    assert not (tmp_path / "log").exists()


def test_a_line_holds_the_averages_of_an_epoch_of_a_lane(whole: Path) -> None:
    trace = checkpoint.restore(whole).trace
    found = metrics(whole)
    assert [(row["epoch"], row["step"], row["lane"]) for row in found] == [
        (epoch, STEPS * epoch, lane) for epoch in range(1, 7) for lane in (0, 1)
    ]
    for row in found:
        steps = slice(row["step"] - STEPS, row["step"])
        kl = trace.kl[row["lane"], steps].sum(-1).mean()
        assert row["objective"] == pytest.approx(trace.objective[row["lane"], steps].mean())
        assert row["error"] == pytest.approx(trace.error[row["lane"], steps].mean())
        assert row["kl_nats"] == pytest.approx(kl, rel=1e-5)
        assert row["learning_rate"] == pytest.approx(0.03)


def test_tensorboard_gets_the_same_scalars_a_histogram_and_pictures(whole: Path) -> None:
    found = events(whole)
    lanes = ["lane00_seed=0_recon_scale=1", "lane01_seed=1_recon_scale=100"]
    for row in metrics(whole):
        for name in ("objective", "error", "kl_nats", "learning_rate"):
            (value,) = [
                event.value
                for event in found
                if event[:3] == (lanes[row["lane"]], name, row["step"])
            ]
            assert value == pytest.approx(row[name], rel=1e-6)
    histograms = [event for event in found if event.tag == "kl_per_unit_nats"]
    assert len(histograms) == 2 * 6
    assert {event.value.num for event in histograms} == {CONFIG.latent_size}
    for name, rows in (("reconstructions", 2), ("samples", 8)):
        pictures = [event for event in found if event.tag == name]
        assert [event.step for event in pictures] == [8, 16, 24] * 2
        sizes = {(event.value.height, event.value.width) for event in pictures}
        assert sizes == {(rows * 5 - 1, 8 * 5 - 1)}  # a pixel between them


def test_a_run_that_was_killed_has_each_epoch_once_after_it_is_resumed(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_save(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path)
    assert checkpoint.latest(tmp_path) == 2 * STEPS
    assert metrics(tmp_path)[-1]["epoch"] == 2
    trained(tmp_path)
    assert metrics(tmp_path) == metrics(whole)
    found = events(tmp_path)
    assert sorted(found, key=lambda event: event[:3]) == sorted(
        events(whole), key=lambda event: event[:3]
    )
    assert set(Counter(event[:3] for event in found).values()) == {1}


@pytest.mark.parametrize("without", [range(4, 5), range(4, 7, 2)], ids=["before", "all"])
def test_a_log_that_is_asked_for_later_has_the_epochs_before(
    without: range, whole: Path, tmp_path: Path
) -> None:
    for epochs in without:
        trained(tmp_path, (), epochs)
    trained(tmp_path)
    assert metrics(tmp_path) == metrics(whole)
    scalars = {"objective", "error", "kl_nats", "learning_rate"}
    of_both = [
        [event for event in events(folder) if event.tag in scalars] for folder in (tmp_path, whole)
    ]
    assert of_both[0] == of_both[1]


def test_a_run_in_blocks_has_an_entry_for_each_block() -> None:
    plan = plans.Plan(5, STEPS, 2, 2)
    terms = np.arange(2 * 20, dtype=np.float32).reshape(2, 20)
    trace = train.Trace(terms, terms, np.stack([terms, terms], -1))
    found = list(training_log.entries(RUN, plan, trace))
    assert [(entry.epoch, entry.step) for entry in found] == [(2, 8), (4, 16), (5, 20)]
    np.testing.assert_allclose(found[0].scalars["objective"], terms[:, :8].mean(1))
    np.testing.assert_allclose(found[2].kl, trace.kl[:, 16:].mean(1))


def test_a_number_that_is_not_finite_is_null_and_in_no_histogram(tmp_path: Path) -> None:
    terms = np.full((2, STEPS), np.nan, np.float32)
    trace = train.Trace(terms, terms, np.stack([terms, terms], -1))
    found = list(training_log.entries(RUN, plans.Plan(1, STEPS, 1, 1), trace))
    assert json.loads(training_log.lines(found).splitlines()[1])["objective"] is None
    training_log.write_events(tmp_path / "log" / "lane00", found, 0, {})
    tags = [event.tag for event in events(tmp_path)]
    assert tags == ["objective", "error", "kl_nats", "learning_rate"]


def test_the_learning_rate_is_that_of_the_last_step() -> None:
    knobs = LANES._replace(decay_steps=np.asarray([0.0, 8.0], np.float32))
    rates = train.learning_rates(knobs, 8)[:, 7]
    np.testing.assert_allclose(training_log.rates(knobs, np.int32(7)), rates, rtol=1e-6)


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flags, "find_spec", lambda _: None)
    with pytest.raises(LabError, match="pip install tensorboardX"):
        Flags(log=("tensorboard",))
    assert Flags(log=("jsonl",)).log == ("jsonl",)


@pytest.mark.parametrize("name", BOTH)
def test_a_log_that_cannot_be_written_is_one_line(name: LogFormat, tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    with pytest.raises(LabError, match=r"^Cannot write .*log") as caught:
        trained(tmp_path, (name,), epochs=1)
    assert "\n" not in str(caught.value)
