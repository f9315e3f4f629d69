"""vaejax.store: a run comes back bit for bit, what fails harms nothing, and damage is named."""

import json
import re
import resource
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from vaejax import parallel, train
from vaejax.config import Config, knobs, stack
from vaejax.errors import LabError
from vaejax.run import Images, Run
from vaejax.store import checkpoint, description, merging
from vaejax.trained import Trained, begin, one_lane

CONFIG = Config(
    image_shape=(2, 3, 1), latent_size=2, encoder_widths=(8,), decoder_widths=(8,), batch_size=16
)
IMAGES = np.random.default_rng(0).integers(0, 256, (64, 6), dtype=np.uint8)  # 4 steps an epoch


def make_run(**changes) -> Run:
    fields = {
        "name": "z2", "images": Images("digits", train_digest="a"), "config": CONFIG,
        "knobs": stack([knobs(CONFIG), knobs(CONFIG, recon_scale=3.0)]), "seeds": (0, 1),
        "labels": {"depth": (1, 2)},
    }  # fmt: skip
    return Run(**(fields | changes))


def joined(*traces: train.Trace) -> train.Trace:
    return jax.tree.map(lambda *parts: np.concatenate(parts, 1), *traces)


class Advanced(NamedTuple):
    """A run after some more epochs."""

    whole: Trained
    new: train.Trace
    """The terms of these epochs alone."""

    def save(self, folder: Path) -> None:
        checkpoint.save(folder, self.whole.state, self.new, self.whole.step)


def advance(trained: Trained, epochs: int) -> Advanced:
    run, images = trained.run, parallel.replicate(IMAGES)
    results = list(parallel.advance(run.config, run.knobs, trained.state, images, epochs))
    new = joined(*(trace for _, trace in results))
    state = results[-1][0].on_host()
    return Advanced(Trained(run, state, joined(trained.trace, new)), new)


@pytest.fixture(scope="module")
def two() -> Advanced:
    """A run after two epochs."""
    return advance(begin(make_run()), 2)


@pytest.fixture
def folder(two: Advanced, tmp_path: Path) -> Path:
    """The folder of the run, saved after two epochs."""
    checkpoint.write(tmp_path / "run", two.whole)
    return tmp_path / "run"


def assert_same(got: Trained, want: Trained) -> None:
    assert got.run.to_json() == want.run.to_json()
    assert got.step == want.step
    for left, right in zip(jax.tree.leaves(got[1:]), jax.tree.leaves(want[1:]), strict=True):
        assert isinstance(left, np.ndarray)
        np.testing.assert_array_equal(left, right, strict=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sizes(folder: Path) -> dict[str, int]:
    return {path.stem: path.stat().st_size for path in (folder / "trace").iterdir()}


def of_steps(steps: int) -> dict[str, int]:
    """The sizes of files that hold so many steps of two lanes."""
    return {"objective": 8 * steps, "error": 8 * steps, "kl": 16 * steps}


def test_two_epochs_restore_and_three_are_five_bit_for_bit(two: Advanced, folder: Path) -> None:
    restored = checkpoint.restore(str(folder))
    assert_same(restored, two.whole)
    assert all(isinstance(values, np.memmap) for values in restored.trace)  # of any length
    resumed, five = advance(restored, 3), advance(begin(make_run()), 5)
    assert_same(resumed.whole, five.whole)
    resumed.save(folder)
    assert_same(checkpoint.restore(folder), five.whole)
    assert names(folder) == ["20", "config.json", "trace"]


def test_a_save_writes_what_is_new_and_no_step_of_before(two: Advanced, folder: Path) -> None:
    assert sizes(folder) == of_steps(8)
    path = folder / "trace" / "objective.f32"
    written, mark = path.read_bytes(), b"\xff" * 8
    with path.open("r+b") as file:
        file.write(mark)  # would be gone if the first step were written again
    later = advance(two.whole, 1)
    later.save(folder)
    assert sizes(folder) == of_steps(12)
    new = np.ascontiguousarray(later.new.objective.T).tobytes()
    assert path.read_bytes() == mark + written[8:] + new


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_run_may_be_written_once_more(two: Advanced, folder: Path, epochs: int) -> None:
    """As it was read, or after fewer epochs."""
    again = advance(begin(make_run()), epochs).whole if epochs else two.whole
    checkpoint.write(folder, again if epochs else checkpoint.restore(folder))
    assert_same(checkpoint.restore(folder), again)


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_save_that_fails_leaves_the_checkpoint_before_and_no_steps(
    two: Advanced, folder: Path, epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files then hold steps beyond it, which the next save writes over."""

    def full(*_, **__) -> None:
        raise OSError(28, "No space left on device")

    killed = advance(two.whole, 2)
    with monkeypatch.context() as patch:
        patch.setattr(ocp.Checkpointer, "save", full)
        stale = killed.new._replace(objective=np.full_like(killed.new.objective, 7.0))
        with pytest.raises(LabError, match=r"Cannot write a checkpoint.*No space left.*--resume"):
            checkpoint.save(folder, killed.whole.state, stale, 16)
    assert sizes(folder) == of_steps(16)
    assert_same(checkpoint.restore(folder), two.whole)
    resumed = advance(checkpoint.restore(folder), epochs)
    resumed.save(folder)
    assert sizes(folder) == of_steps(8 + 4 * epochs)
    assert_same(checkpoint.restore(folder), advance(two.whole, epochs).whole)


@pytest.mark.parametrize(
    ("owner", "name", "small"),
    [
        (shutil, "disk_usage", SimpleNamespace(free=2**19)),
        (resource, "getrlimit", (2**19, -1)),
    ],
)
def test_a_disk_too_full_and_a_limit_on_files_are_told_before_anything_is_written(
    owner: Any, name: str, small: Any, two: Advanced, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, lambda _: small)
    with pytest.raises(LabError, match=r"it takes 1\.\d MiB, 0\.5 MiB are free\. Free some space"):
        advance(two.whole, 1).save(folder)
    assert names(folder) == ["8", "config.json", "trace"]
    assert sizes(folder) == of_steps(8)


@pytest.mark.parametrize(
    "change",
    [
        {"labels": {"start": ("random", "trained")}},
        {"images": Images("digits", path="/elsewhere", test="test[:9]", test_digest="12",
                          train_digest="a")},
    ],
    ids=["labels", "place and test images"],
)  # fmt: skip
def test_what_says_nothing_about_the_training_may_change(folder: Path, change: Any) -> None:
    checkpoint.create(folder, make_run(**change))
    (name,) = change
    assert getattr(checkpoint.restore(folder).run, name) == change[name]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"config": Config(image_shape=(2, 3, 1), latent_size=3, batch_size=16)},
         "holds another run: latent_size is 2, asked is 3; encoder_widths is"),
        ({"seeds": (0, 2)}, "another run: seed is 0 1, asked is 0 2. Use the flags"),
        ({"seeds": (1, 0)}, "another run: its models combine these seeds and knobs in other ways"),
        ({"knobs": stack([knobs(CONFIG, learning_rate=0.01)] * 2)},
         "learning_rate is 0.001, asked is 0.01; recon_scale is 3 6, asked is 6. Use the flags"),
        ({"knobs": stack([knobs(CONFIG, recon_scale=scale, decay_steps=9) for scale in (3, 6)])},
         "decay_steps is 0, asked is 9. (--epochs decides decay_steps if the learning rate falls"),
        ({"images": Images("patches", "train[:9]")},
         "dataset is digits, asked is patches; train is train, asked is train[:9]. Use"),
        ({"start": "z2 after 1 step"}, "start is None, asked is z2 after 1 step"),
        ({"images": Images("digits", train_digest="b")},
         "was trained on other images that are called digits as well"),
    ],
)  # fmt: skip
def test_another_run_in_the_folder_is_refused_with_what_differs(
    folder: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(LabError, match=re.escape(said)):
        checkpoint.create(folder, make_run(**change))


def test_a_run_that_never_reached_a_checkpoint_gives_way(tmp_path: Path) -> None:
    for seeds in ((0, 1), (2, 3)):
        checkpoint.create(tmp_path, make_run(seeds=seeds))
    assert checkpoint.read_run(tmp_path).seeds == (2, 3)
    with pytest.raises(LabError, match="holds no checkpoint yet"):
        checkpoint.restore(tmp_path)


def test_no_file_of_a_run_is_read_that_is_not_as_it_was_saved(two: Advanced, folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert {path.relative_to(folder).parts[0] for path in files} == {"8", "config.json", "trace"}
    for path in files:
        content = path.read_bytes()
        half = len(content) // 2
        flipped = content[:half] + bytes([content[half] ^ 4]) + content[half + 1 :]
        for damaged in (flipped, content[:-2], None):
            path.unlink() if damaged is None else path.write_bytes(damaged)
            with pytest.raises(LabError, match=re.escape(str(folder))):
                checkpoint.restore(folder)
        path.write_bytes(content)
    assert_same(checkpoint.restore(folder), two.whole)


@pytest.mark.parametrize("name", ["config.json", "trace", "8"])
def test_a_part_of_another_run_is_not_taken_for_its_own(
    folder: Path, tmp_path: Path, name: str
) -> None:
    """Of a run of the same shapes."""
    checkpoint.write(tmp_path / "other", advance(begin(make_run(seeds=(2, 3))), 2).whole)
    (folder / name).rename(tmp_path / "its own")
    (tmp_path / "other" / name).rename(folder / name)
    with pytest.raises(LabError, match=r"The checkpoint in .*8 is damaged.*train again"):
        checkpoint.restore(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda _: "[1]", r"is damaged \(.*: mend it"),
        (lambda _: "3", r"is damaged \(.*: mend it"),
        (lambda _: "{", r"is damaged \(.*: mend it"),
        (lambda _: '{"format": 3, "images": 3}', r"is damaged \(.*: mend it"),
        (lambda said: said | {"config": {"latent_size": 1}}, r"is damaged \(.*: mend it"),
        (lambda said: said | {"config": said["config"] | {"latent_size": 0}},
         "latent_size=0: use whole numbers"),
        (lambda said: said | {"config": said["config"] | {"latent_size": 1}}, "does not fit it"),
        (lambda said: said | {"config": said["config"] | {"latent_size": 3}}, "does not fit it"),
        (lambda said: said | {"format": description.FORMAT + 1, "lanes": "otherwise"},
         "is of another version of vaejax: use"),
    ],
)  # fmt: skip
def test_a_config_that_was_edited_is_one_clear_error(
    folder: Path, change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    path = folder / "config.json"
    new = change(json.loads(path.read_text()))
    path.write_text(new if isinstance(new, str) else json.dumps(new))
    with pytest.raises(LabError, match=rf"config\.json.*{said}") as caught:
        checkpoint.restore(folder)
    assert "\n" not in str(caught.value)
    if isinstance(new, str) or new["format"] != description.FORMAT:
        for read in (checkpoint.nets_of, lambda folder: checkpoint.create(folder, make_run())):
            with pytest.raises(LabError, match=rf"config\.json {said}"):
                read(folder)


def test_a_folder_without_a_run_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"holds no config\.json .*give the folder of a run"):
        checkpoint.restore(tmp_path)


def test_a_folder_that_orbax_would_take_for_a_pattern_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"below a \[ in its path"):
        checkpoint.create(tmp_path / "z[2]" / "run", make_run())


def test_a_folder_or_file_of_another_name_is_no_checkpoint(two: Advanced, folder: Path) -> None:
    others = ["0099", "8 copy", "backup_7", "backup_99"]
    for name in others:
        (folder / name).mkdir()
    (folder / "100").touch()
    assert_same(checkpoint.restore(folder), two.whole)
    advance(two.whole, 1).save(folder)
    assert names(folder) == sorted([*others, "100", "12", "config.json", "trace"])


@pytest.mark.parametrize("killed_before", ["nothing", "trace", "config.json", "12"])
def test_lanes_that_were_trained_apart_are_one_run(
    tmp_path: Path, killed_before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order that is asked for, and from wherever a killed process left off."""
    folder = tmp_path / "run"
    whole = make_run(
        seeds=(0, 5, 1), labels={"depth": (1, 3, 2)},
        knobs=stack([knobs(CONFIG, recon_scale=scale) for scale in ("elbo", 7.0, 3.0)]),
    )  # fmt: skip
    old, new = (advance(begin(run), 3).whole for run in (make_run(), whole.of_lanes([1])))
    checkpoint.write(folder, old)
    checkpoint.write(folder / merging.ADDED, new)
    added = merging.added_lanes(folder, whole)
    assert added is not None
    assert added == ([0, 2], [1])
    with monkeypatch.context() as patch:
        for name in ("replace", "rename"):
            real = getattr(Path, name)

            def move(path: Path, target: Path, real: Any = real) -> Path:
                if path.parent.name == merging.MERGED and path.name == killed_before:
                    raise KeyboardInterrupt
                return real(path, target)

            patch.setattr(Path, name, move)
        with suppress(KeyboardInterrupt):
            merging.merge(folder, whole, added)
    merging.finish(folder)
    found = checkpoint.restore(folder)
    assert found.run.to_json() == whole.to_json()
    for lane, (part, index) in enumerate([(old, 0), (new, 0), (old, 1)]):
        want = one_lane(part, index)
        assert one_lane(found, lane).run.lanes == want.run.lanes
        assert_same(one_lane(found, lane)._replace(run=want.run), want)
    assert merging.added_lanes(folder, whole) is None
    assert names(folder) == ["12", "config.json", "trace"]
