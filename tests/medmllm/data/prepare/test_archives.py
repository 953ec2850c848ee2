import tarfile
import zipfile

import pytest

from medmllm.data.prepare.archives import ARCHIVES, NILEARN, PYRADIOMICS, check_archives, unpack
from medmllm.errors import DataError


def test_missing_archives_come_with_the_command_that_fetches_them(tmp_path):
    with pytest.raises(DataError) as caught:
        check_archives(tmp_path)
    for archive in ARCHIVES:
        assert f"curl -fL --create-dirs -o {tmp_path / archive.file} https://" in caught.value.hint


def test_a_changed_archive_is_refused(tmp_path):
    for archive in ARCHIVES:
        (tmp_path / archive.file).write_bytes(b"not the archive")
    with pytest.raises(DataError, match="SHA-256 is") as caught:
        check_archives(tmp_path)
    assert ARCHIVES[0].file in caught.value.where


def test_only_needed_members_are_unpacked(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("volume")
    with tarfile.open(tmp_path / PYRADIOMICS.file, "w:gz") as sdist:
        sdist.add(tmp_path / "data/file", "pyradiomics-3.1.0/data/lung1")
        sdist.add(tmp_path / "data/file", "pyradiomics-3.1.0/setup.py")
    with zipfile.ZipFile(tmp_path / NILEARN.file, "w") as wheel:
        wheel.writestr(NILEARN.needed[0] + "_t1", "template")
        wheel.writestr("nilearn/__init__.py", "")
    monkeypatch.setattr("medmllm.data.prepare.archives.ARCHIVES", (PYRADIOMICS, NILEARN))
    unpack(tmp_path, tmp_path / "out")
    found = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {"lung1", "mni_icbm152_t1"}
