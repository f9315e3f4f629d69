"""vaejax.files and the folders that a user names: permissions, `~`, and no home directory."""

import os
import stat
from pathlib import Path

import pytest

from tests import tiny
from vaejax import files
from vaejax.data import cache, prepared
from vaejax.errors import LabError
from vaejax.study.flags import Flags

NOBODYS = "~nobody-has-this-name/x"


def test_a_file_has_the_permissions_that_the_umask_leaves(tmp_path: Path) -> None:
    for mask, mode in ((0o077, 0o600), (0o002, 0o664)):
        before = os.umask(mask)
        try:
            files.write_bytes(tmp_path / f"{mask}", b"x")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / f"{mask}").stat().st_mode) == mode


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Flags(out=Path("~/x")).folder == tmp_path / "x"
    monkeypatch.setenv("VAEJAX_CACHE_DIR", "~/cache")
    assert cache.root() == tmp_path / "cache"
    monkeypatch.setenv("TFDS_DATA_DIR", "~/data")
    assert prepared.data_dir() == tmp_path / "data"


@pytest.mark.parametrize("command", ["report", "explore", "inspect_checkpoint"])
def test_a_command_finds_the_folder_that_a_tilde_names(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert str(tmp_path / "nothing") in tiny.fail(capsys, command, "~/nothing")


def test_without_a_home_directory_each_folder_is_one_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(LabError, match="Give a path without ~, or set HOME"):
        _ = Flags(out=Path(NOBODYS)).folder
    monkeypatch.setenv("VAEJAX_CACHE_DIR", NOBODYS)
    with pytest.raises(LabError, match="or set HOME"):
        cache.root()
    monkeypatch.setenv("TFDS_DATA_DIR", NOBODYS)
    with pytest.raises(LabError, match="or set HOME"):
        prepared.data_dir()

    def homeless(*_: object) -> str:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(LabError, match=r"home directory\. Give a path without ~, or set HOME"):
        prepared.data_dir()
    monkeypatch.delenv("VAEJAX_CACHE_DIR")
    monkeypatch.setattr(cache, "user_cache_path", homeless)
    with pytest.raises(LabError, match="set VAEJAX_CACHE_DIR"):
        cache.root()
