import json
import shutil

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from vaejax import checkpoint, sweep, train
from vaejax.config import Config, Run, knobs, stack
from vaejax.errors import LabError

CONFIG = Config(image_shape=(2, 3, 1), latent_size=2, batch_size=16)
IMAGES = np.random.default_rng(0).integers(0, 256, (64, 6), dtype=np.uint8)


def make_run(**changes):
    fields = {
        "name": "z2", "dataset": "digits", "split": "train", "config": CONFIG,
        "knobs": stack([knobs(CONFIG), knobs(CONFIG, recon_scale=3.0)]), "seeds": (0, 1),
    }  # fmt: skip
    return Run(**(fields | changes))


def advance(run, saved, epochs):
    mesh = sweep.mesh()
    images = sweep.replicate(mesh, IMAGES)
    for collect, trace in sweep.fit(mesh, run.config, run.knobs, saved.state, images, epochs):
        saved = saved.extended(collect(), trace)
    return saved


def bits(saved):
    leaves = jax.tree.leaves(saved)
    assert all(isinstance(leaf, np.ndarray) for leaf in leaves)
    return leaves


@pytest.fixture
def stored(tmp_path):
    run = make_run()
    checkpoint.create(tmp_path, run)
    saved = advance(run, checkpoint.start(run), 2)
    checkpoint.save(tmp_path, saved)
    return tmp_path, run, saved


def test_what_is_restored_is_what_was_saved(stored):
    folder, run, saved = stored
    restored_run, restored = checkpoint.restore(folder)
    assert restored_run.to_json() == run.to_json()
    assert restored.step == 8
    for got, want in zip(bits(restored), bits(saved), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)


def test_two_epochs_restore_and_three_are_five_bit_for_bit(stored):
    folder, run, _ = stored
    resumed = advance(run, checkpoint.restore(folder)[1], 3)
    whole = advance(run, checkpoint.start(run), 5)
    for got, want in zip(bits(resumed), bits(whole), strict=True):
        np.testing.assert_array_equal(got, want)


def test_only_the_newest_checkpoint_is_kept(stored):
    folder, run, saved = stored
    checkpoint.save(folder, advance(run, saved, 1))
    assert checkpoint.latest(folder) == 12
    assert sorted(path.name for path in folder.iterdir()) == ["12", "config.json"]


def test_a_save_that_fails_leaves_the_checkpoint_before(stored, monkeypatch):
    folder, run, saved = stored

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ocp.CheckpointManager, "save", full)
        with pytest.raises(LabError, match=r"Cannot write a checkpoint.*No space left.*--resume"):
            checkpoint.save(folder, advance(run, saved, 1))
    assert checkpoint.restore(folder)[1].step == 8


def test_a_disk_too_full_is_told_before_anything_is_written(stored, monkeypatch):
    folder, run, saved = stored
    usage = shutil.disk_usage(folder)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(LabError, match=r"it takes 1\.\d MiB, 0\.0 MiB are free\. Free some space"):
        checkpoint.save(folder, advance(run, saved, 1))
    assert sorted(path.name for path in folder.iterdir()) == ["8", "config.json"]


def test_another_run_in_the_folder_is_refused_with_what_differs(stored):
    folder, _, _ = stored
    other = make_run(config=Config(image_shape=(2, 3, 1), latent_size=3, batch_size=16))
    with pytest.raises(LabError, match=r"config\.latent_size is 2, asked is 3"):
        checkpoint.create(folder, other)


def test_a_damaged_checkpoint_is_one_clear_error(stored):
    folder, _, _ = stored
    for path in (folder / "8").rglob("*"):
        if path.is_file() and path.stat().st_size > 100:
            path.write_bytes(b"damaged" * 20)
    with pytest.raises(LabError, match=r"The checkpoint in .*8 is damaged"):
        checkpoint.restore(folder)


def test_no_run_no_checkpoint_and_a_damaged_config_are_told_apart(tmp_path):
    with pytest.raises(LabError, match=r"holds no config\.json"):
        checkpoint.restore(tmp_path)
    checkpoint.create(tmp_path, make_run())
    with pytest.raises(LabError, match="holds no checkpoint yet"):
        checkpoint.restore(tmp_path)
    text = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(text | {"config": {"latent_size": 1}}))
    with pytest.raises(LabError, match=r"config\.json is damaged"):
        checkpoint.restore(tmp_path)


def test_the_trace_holds_the_terms_of_every_step_from_the_first(stored):
    _, run, saved = stored
    assert saved.trace.objective.shape == (2, 8)
    scale = np.asarray(run.knobs.recon_scale)[:, None]
    total = scale * saved.trace.error + saved.trace.kl.sum(-1)
    np.testing.assert_allclose(saved.trace.objective, total, rtol=1e-5)
    first = train.init(CONFIG, jax.numpy.uint32(0))
    order = train.epoch_order(CONFIG, first, len(IMAGES))
    one = jax.tree.map(lambda knob: knob[0], run.knobs)
    _, alone = train.step(CONFIG, one, first, IMAGES[order[0]])
    np.testing.assert_allclose(saved.trace.objective[0, 0], alone.objective, rtol=1e-5)
