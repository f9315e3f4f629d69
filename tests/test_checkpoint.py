"""vaejax.store.checkpoint: a run comes back bit for bit, and a save that fails harms nothing."""

import json
import os
import resource
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from vaejax import parallel, train
from vaejax.config import Config, knobs, stack
from vaejax.errors import LabError
from vaejax.run import Images, Run
from vaejax.store import checkpoint
from vaejax.trained import Trained, begin, one_lane

CONFIG = Config(
    image_shape=(2, 3, 1), latent_size=2, encoder_widths=(8,), decoder_widths=(8,), batch_size=16
)
IMAGES = np.random.default_rng(0).integers(0, 256, (64, 6), dtype=np.uint8)  # 4 steps an epoch
FILES = {"objective": 4 * 2, "error": 4 * 2, "kl": 4 * 2 * 2}
"""The bytes that a step of two lanes takes in each file of the trace."""


def make_run(**changes) -> Run:
    fields = {
        "name": "z2", "images": Images("digits"), "config": CONFIG,
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


@pytest.fixture(scope="module")
def five() -> Advanced:
    """The same run after five epochs without a stop."""
    return advance(begin(make_run()), 5)


@pytest.fixture
def folder(two: Advanced, tmp_path: Path) -> Path:
    """The folder of the run, saved after two epochs."""
    checkpoint.create(tmp_path, two.whole.run)
    two.save(tmp_path)
    return tmp_path


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


def rows(steps: int) -> dict[str, int]:
    """The sizes of files that hold so many steps."""
    return {term: steps * row for term, row in FILES.items()}


def fail_to_save_the_state(patch: pytest.MonkeyPatch) -> None:
    def full(*_, **__) -> None:
        raise OSError(28, "No space left on device")

    patch.setattr(ocp.Checkpointer, "save", full)


def test_what_is_restored_is_what_was_saved(two: Advanced, folder: Path) -> None:
    restored = checkpoint.restore(folder)
    assert restored.step == 8
    assert restored.run.labels == {"depth": (1, 2)}
    assert_same(restored, two.whole)
    assert_same(checkpoint.restore(str(folder)), two.whole)


def test_two_epochs_restore_and_three_are_five_bit_for_bit(five: Advanced, folder: Path) -> None:
    resumed = advance(checkpoint.restore(folder), 3)
    assert_same(resumed.whole, five.whole)
    resumed.save(folder)
    assert_same(checkpoint.restore(folder), five.whole)


def test_only_the_newest_checkpoint_is_kept(two: Advanced, folder: Path) -> None:
    advance(two.whole, 1).save(folder)
    assert checkpoint.latest(folder) == 12
    assert names(folder) == ["12", "config.json", "trace"]


def test_a_restored_trace_stays_on_disk_until_it_is_asked_for(folder: Path) -> None:
    trace = checkpoint.restore(folder).trace
    assert all(isinstance(values, np.memmap) for values in trace)
    assert not any(np.asarray(values).flags.writeable for values in trace)


def test_a_save_writes_what_is_new_and_no_step_of_before(two: Advanced, folder: Path) -> None:
    assert sizes(folder) == rows(8)
    path = folder / "trace" / "objective.f32"
    written = path.read_bytes()
    mark = b"\xff" * 8
    with path.open("r+b") as file:
        file.write(mark)  # would be gone if the first step were written again
    later = advance(two.whole, 1)
    later.save(folder)
    assert sizes(folder) == rows(12)
    new = np.ascontiguousarray(later.new.objective.T).tobytes()
    assert path.read_bytes() == mark + written[8:] + new


def test_the_checkpoint_of_a_state_does_not_grow_with_the_trace(
    two: Advanced, folder: Path
) -> None:
    def size(step: int) -> int:
        return sum(path.stat().st_size for path in (folder / str(step)).rglob("*"))

    before = size(8)
    long = jax.tree.map(lambda terms: np.repeat(terms, 10_000, 1), two.new)
    checkpoint.save(folder, two.whole.state, long, 80_008)
    assert sizes(folder) == rows(80_008)
    assert size(80_008) < 2 * before < sizes(folder)["objective"]


def test_a_save_that_fails_leaves_the_checkpoint_before(
    two: Advanced, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail_to_save_the_state(patch)
        with pytest.raises(LabError, match=r"Cannot write a checkpoint.*No space left.*--resume"):
            advance(two.whole, 1).save(folder)
    assert_same(checkpoint.restore(folder), two.whole)


@pytest.mark.parametrize("epochs", [1, 3])
def test_steps_of_a_killed_save_are_written_over_by_the_next_one(
    two: Advanced, folder: Path, epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the trace and the state: the files hold steps beyond the checkpoint."""
    with monkeypatch.context() as patch:
        fail_to_save_the_state(patch)
        killed = advance(two.whole, 2)
        stale = killed.new._replace(objective=np.full_like(killed.new.objective, 7.0))
        with pytest.raises(LabError):
            checkpoint.save(folder, killed.whole.state, stale, 16)
    assert sizes(folder) == rows(16)
    resumed = advance(checkpoint.restore(folder), epochs)
    resumed.save(folder)
    assert sizes(folder) == rows(8 + 4 * epochs)
    assert_same(checkpoint.restore(folder), advance(two.whole, epochs).whole)


def test_a_disk_too_full_is_told_before_anything_is_written(
    two: Advanced, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(folder)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(LabError, match=r"it takes 1\.\d MiB, 0\.0 MiB are free\. Free some space"):
        advance(two.whole, 1).save(folder)
    assert names(folder) == ["8", "config.json", "trace"]
    assert sizes(folder) == rows(8)


def test_another_run_in_the_folder_is_refused_with_what_differs(folder: Path) -> None:
    other = make_run(config=Config(image_shape=(2, 3, 1), latent_size=3, batch_size=16))
    with pytest.raises(LabError, match=r"latent_size is 2, asked is 3"):
        checkpoint.create(folder, other)


def test_labels_do_not_make_another_run_of_it(two: Advanced, folder: Path) -> None:
    labels = {"start": ("random", "trained")}
    checkpoint.create(folder, make_run(labels=labels))
    assert checkpoint.restore(folder).run.labels == labels


def test_where_images_are_and_which_are_for_test_may_change(two: Advanced, folder: Path) -> None:
    moved = Images("digits", path="/elsewhere", test="test[:9]", test_digest="12")
    checkpoint.create(folder, make_run(images=moved))
    assert checkpoint.restore(folder).run.images == moved


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seeds": (0, 2)}, "seed is 0 1, asked is 0 2"),
        ({"knobs": stack([knobs(CONFIG, learning_rate=0.01)] * 2)},
         "learning_rate is 0.001, asked is 0.01; recon_scale is 3 6, asked is 6"),
        ({"images": Images("patches", "train[:9]")},
         r"dataset is digits, asked is patches; train is train, asked is train\[:9\]"),
        ({"start": "z2 after 1 step"}, "start is None, asked is z2 after 1 step"),
    ],
)  # fmt: skip
def test_what_differs_is_named_with_both_values(
    folder: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(LabError, match=rf"holds another run: {said}\. Use the flags"):
        checkpoint.create(folder, make_run(**change))


def test_a_run_that_never_reached_a_checkpoint_gives_way(tmp_path: Path) -> None:
    checkpoint.create(tmp_path, make_run())
    checkpoint.create(tmp_path, make_run(seeds=(2, 3)))
    assert checkpoint.read_run(tmp_path).seeds == (2, 3)


def test_a_damaged_checkpoint_is_one_clear_error(folder: Path) -> None:
    for path in (folder / "8").rglob("*"):
        if path.is_file() and path.stat().st_size > 100:
            path.write_bytes(b"damaged" * 20)
    with pytest.raises(LabError, match=r"The checkpoint in .*8 is damaged"):
        checkpoint.restore(folder)


def test_a_flipped_bit_in_any_file_is_one_error(two: Advanced, folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert {path.relative_to(folder).parts[0] for path in files} == {"8", "config.json", "trace"}
    for path in files:
        content = path.read_bytes()
        half = len(content) // 2
        path.write_bytes(content[:half] + bytes([content[half] ^ 4]) + content[half + 1 :])
        with pytest.raises(LabError) as caught:
            checkpoint.restore(folder)
        assert str(folder) in str(caught.value)
        path.write_bytes(content)
    assert_same(checkpoint.restore(folder), two.whole)


@pytest.mark.parametrize("name", ["config.json", "trace", "8"])
def test_a_part_of_another_run_is_not_taken_for_its_own(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    """Of a run of the same shapes."""
    other = tmp_path_factory.mktemp("other")
    run = make_run(seeds=(2, 3))
    checkpoint.create(other, run)
    advance(begin(run), 2).save(other)
    if (folder / name).is_dir():
        shutil.rmtree(folder / name)
    (other / name).rename(folder / name)
    with pytest.raises(LabError, match="damaged"):
        checkpoint.restore(folder)


@pytest.mark.parametrize("term", FILES)
@pytest.mark.parametrize("lost", [1, None])
def test_a_trace_that_lacks_steps_is_one_clear_error(
    folder: Path, term: str, lost: int | None
) -> None:
    path = folder / "trace" / f"{term}.f32"
    if lost is None:
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size - lost)
    with pytest.raises(LabError, match=r"The checkpoint in .*8 is damaged.*train again"):
        checkpoint.restore(folder)


def test_no_run_no_checkpoint_and_a_damaged_config_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"holds no config\.json"):
        checkpoint.restore(tmp_path)
    checkpoint.create(tmp_path, make_run())
    with pytest.raises(LabError, match="holds no checkpoint yet"):
        checkpoint.restore(tmp_path)
    text = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(text | {"config": {"latent_size": 1}}))
    with pytest.raises(LabError, match=r"config\.json is damaged"):
        checkpoint.restore(tmp_path)


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change what config.json says."""
    path = folder / "config.json"
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))


@pytest.mark.parametrize(
    "content",
    ["[1]", "3", "{", '{"format": 2}', '{"format": 2, "images": 3}'],
)
def test_a_config_that_holds_something_else_is_one_error_wherever_it_is_read(
    folder: Path, content: str
) -> None:
    (folder / "config.json").write_text(content)
    for read in (lambda: checkpoint.create(folder, make_run()), lambda: checkpoint.restore(folder)):
        with pytest.raises(LabError, match=r"config\.json is damaged \(.*: mend it"):
            read()


def test_a_run_of_another_version_is_refused_as_such(folder: Path) -> None:
    edit(folder, lambda fields: fields.update(format=checkpoint.FORMAT + 1, lanes="otherwise"))
    for read in (
        checkpoint.read_run,
        checkpoint.restore,
        checkpoint.nets_of,
        lambda folder: checkpoint.create(folder, make_run()),
    ):
        with pytest.raises(LabError, match=r"config\.json is of another version of vaejax: use"):
            read(folder)


def test_a_value_that_no_config_has_is_named(folder: Path) -> None:
    edit(folder, lambda fields: fields["config"].update(latent_size=0))
    with pytest.raises(LabError, match=r"config\.json: latent_size=0: use whole numbers"):
        checkpoint.restore(folder)


def test_other_images_of_the_same_name_are_refused(two: Advanced, tmp_path: Path) -> None:
    these, others = (make_run(images=Images("digits", train_digest=name)) for name in "ab")
    checkpoint.create(tmp_path, these)
    two.save(tmp_path)
    checkpoint.create(tmp_path, these)
    with pytest.raises(LabError, match="on other images that are called digits as well"):
        checkpoint.create(tmp_path, others)


@pytest.mark.parametrize("killed_before", ["nothing", "trace", "config.json", "12"])
def test_lanes_that_were_trained_apart_are_one_run(
    two: Advanced, tmp_path: Path, killed_before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order that is asked for, and from wherever a killed process left off."""
    folder, aside = tmp_path / "run", tmp_path / "run" / "added"
    whole = make_run(
        seeds=(0, 5, 1), labels={"depth": (1, 3, 2)},
        knobs=stack([knobs(CONFIG, recon_scale=scale) for scale in ("elbo", 7.0, 3.0)]),
    )  # fmt: skip
    old, new = (advance(begin(run), 3) for run in (make_run(), whole.of_lanes([1])))
    for place, part in ((folder, old), (aside, new)):
        checkpoint.create(place, part.whole.run)
        part.save(place)
    added = checkpoint.added_lanes(folder, whole)
    assert added is not None
    assert added == ([0, 2], [1])
    with monkeypatch.context() as patch:
        for name in ("replace", "rename"):
            real = getattr(Path, name)

            def move(path: Path, target: Path, real: Any = real) -> Path:
                if path.parent.name == "merged" and path.name == killed_before:
                    raise KeyboardInterrupt
                return real(path, target)

            patch.setattr(Path, name, move)
        with suppress(KeyboardInterrupt):
            checkpoint.merge(folder, whole, added)
    checkpoint.finish_merging(folder)
    found = checkpoint.restore(folder)
    assert found.run.to_json() == whole.to_json()
    assert found.step == 12
    for lane, (part, index) in enumerate([(old, 0), (new, 0), (old, 1)]):
        want = one_lane(part.whole, index)
        assert_same(one_lane(found, lane)._replace(run=want.run), want)
    assert checkpoint.added_lanes(folder, whole) is None


@pytest.mark.parametrize("size", [1, 3])
def test_a_config_that_was_edited_does_not_fit_its_checkpoint(folder: Path, size: int) -> None:
    edit(folder, lambda fields: fields["config"].update(latent_size=size))
    with pytest.raises(LabError, match=r"config\.json") as caught:
        checkpoint.restore(folder)
    assert "fit" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["0", "999"])
def test_an_empty_folder_with_the_name_of_a_checkpoint_is_passed_over(
    two: Advanced, folder: Path, name: str
) -> None:
    """A process that is killed while it deletes the older checkpoint leaves one."""
    (folder / name).mkdir()
    assert checkpoint.latest(folder) == 8
    assert_same(checkpoint.restore(folder), two.whole)
    later = advance(two.whole, 1)
    later.save(folder)
    assert_same(checkpoint.restore(folder), later.whole)
    assert names(folder) == ["12", "config.json", "trace"]


def test_a_folder_or_file_of_another_name_is_no_checkpoint(two: Advanced, folder: Path) -> None:
    others = ["0099", "8 copy", "backup_7", "backup_99"]
    for name in others:
        (folder / name).mkdir()
    (folder / "100").touch()
    assert checkpoint.latest(folder) == 8
    assert_same(checkpoint.restore(folder), two.whole)
    later = advance(two.whole, 1)
    later.save(folder)
    assert_same(checkpoint.restore(folder), later.whole)
    assert names(folder) == sorted([*others, "100", "12", "config.json", "trace"])


def test_a_limit_on_the_size_of_files_is_told_before_anything_is_written(
    two: Advanced, folder: Path
) -> None:
    later, limits = advance(two.whole, 1), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**19, limits[1]))
    try:
        with pytest.raises(LabError, match=r"it takes 1\.\d MiB, 0\.5 MiB are free"):
            later.save(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(folder) == ["8", "config.json", "trace"]
    assert sizes(folder) == rows(8)
    later.save(folder)
    assert checkpoint.latest(folder) == 12


def test_the_trace_holds_the_terms_of_every_step_from_the_first(two: Advanced) -> None:
    run, _, trace = two.whole
    assert trace.objective.shape == (2, 8)
    scale = np.asarray(run.knobs.recon_scale)[:, None]
    total = scale * trace.error + trace.kl.sum(-1)
    np.testing.assert_allclose(trace.objective, total, rtol=1e-5)
    fresh = parallel.init(CONFIG, run.seeds)
    first = jax.tree.map(lambda leaf: leaf[0], fresh)
    first = first._replace(key=jax.random.wrap_key_data(first.key))
    order = jax.jit(train.epoch_order, static_argnums=(0, 2))(CONFIG, first, len(IMAGES))
    one = jax.tree.map(lambda knob: knob[0], run.knobs)
    batch = jax.numpy.asarray(IMAGES[np.asarray(order)[0]])
    step = jax.jit(train.step, static_argnums=(0, 4))
    _, alone = step(CONFIG, one, first, batch, False)
    np.testing.assert_allclose(trace.objective[0, 0], alone.objective, rtol=1e-5)


def test_one_lane_is_a_run_of_its_own(two: Advanced) -> None:
    alone = one_lane(two.whole, 1)
    assert alone.run.lanes == two.whole.run.lanes[1:]
    assert alone.run.labels == {"depth": (2,)}
    assert alone.step == 8
    for got, want in zip(jax.tree.leaves(alone[1:]), jax.tree.leaves(two.whole[1:]), strict=True):
        np.testing.assert_array_equal(got, want[1:], strict=True)
