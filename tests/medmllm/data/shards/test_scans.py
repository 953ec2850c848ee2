"""Shards and Parquet carry all that opening a scan knows: its name, frame, plane, window and slices."""

import json
import tarfile

import numpy as np
import pytest
from dicom_files import dicom

from medmllm.data.config import DataConfig
from medmllm.data.images import decode
from medmllm.data.shards.index import open_index
from medmllm.data.shards.webdataset import index_tars
from medmllm.data.shards.write import write_shards
from medmllm.data.sources import open_source
from medmllm.errors import ConfigError, DataError
from medmllm.training.trainer import train

nibabel = pytest.importorskip("nibabel")
pytest.importorskip("pydicom")


@pytest.fixture
def scans(tmp_path):
    """A data set with a row for each way of naming a scan; two people, so that one can be held out."""
    rng = np.random.default_rng(0)

    def noise(*shape):
        return rng.integers(-1000, 1000, shape).astype(np.int16)

    folder = tmp_path / "set"
    for number in range(4):
        place = {"ImagePositionPatient": [0, 0, -number], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
        dicom(
            folder / f"series/IM{number}",
            noise(28, 28),
            SeriesInstanceUID="1.2",
            WindowCenter=0,
            WindowWidth=900,
            **place,
        )
    dicom(folder / "frames.dcm", noise(5, 28, 28), NumberOfFrames=5)
    dicom(folder / "bare", noise(28, 28))
    nibabel.save(nibabel.Nifti1Image(noise(28, 28, 6, 2), np.diag([1, 1, 3, 1])), folder / "v.nii.gz")
    nibabel.save(nibabel.Nifti1Image(noise(28, 28, 9), np.diag([-1, 1, 1, 1])), folder / "w.nii")
    names = [
        "series/#axial=1", "series/", "frames.dcm#axial=4", "frames.dcm", "bare", "v.nii.gz#time=1,coronal=3",
        "v.nii.gz#axial=2", "w.nii",
    ]  # fmt: skip
    words = ["left", "right", "box", "dark", "bright", "upper", "lower", "middle"]
    rows = [
        {"image": name, "question": "Where is it?", "answer": word, "subject": "p1", "id": f"r{n}"}
        for n, (name, word) in enumerate(zip(names, words, strict=True))
    ]
    held = {"image": "bare", "question": "Where is it?", "answer": "left", "subject": "p2", "id": "held"}
    (folder / "rows.json").write_text(json.dumps(rows))
    (folder / "held.json").write_text(json.dumps([held]))
    return folder


def config(scans, **options):
    return DataConfig(source=str(scans / "rows.json"), validation=str(scans / "held.json"), **options)


@pytest.mark.parametrize("layout", ["tar", "parquet"])
@pytest.mark.parametrize("options", [{}, {"window": "lung"}, {"slices": 3}], ids=str)
def test_a_shard_shows_what_its_files_show(scans, tmp_path, layout, options):
    if layout == "parquet":
        pytest.importorskip("pyarrow")
    files = open_source(config(scans, **options))
    write_shards(files, tmp_path / "out", samples=3, layout=layout)
    again = {} if "window" in options else options | {"slices": 1}
    shards = open_source(config(scans, **again).model_copy(update={"source": str(tmp_path / "out")}))
    assert len(shards.records("train")) == len(files.records("train")) == (14 if "slices" in options else 8)
    for ours, theirs in zip(files.records("train"), shards.records("train"), strict=True):
        assert (ours.image, ours.id) == (theirs.image, theirs.id)
        assert files.image(ours).tobytes() == shards.image(theirs).tobytes()
    assert shards.window == options.get("window", "auto")
    assert open_index(tmp_path / "out").window == shards.window


def test_the_members_of_a_tar_say_what_they_are(scans, tmp_path):
    write_shards(open_source(config(scans)), tmp_path / "out")
    with tarfile.open(tmp_path / "out/000000.tar") as tar:
        names = [name.partition(".")[2] for name in tar.getnames()]
    assert names[1::2] == ["dcm", "dcm", "dcm", "dcm", "dcm", "nii.gz", "nii.gz", "nii"]


def test_a_window_can_be_asked_for_when_shards_are_read(scans, tmp_path):
    write_shards(open_source(config(scans)), tmp_path / "out")
    for window in ("lung", "percentile", "0/300"):
        files = open_source(config(scans, window=window))
        shards = open_source(config(scans, window=window).model_copy(update={"source": str(tmp_path / "out")}))
        for ours, theirs in zip(files.records("train"), shards.records("train"), strict=True):
            assert files.image(ours).tobytes() == shards.image(theirs).tobytes()
    with pytest.raises(ConfigError, match="when they were written"):
        open_source(config(scans, slices=3).model_copy(update={"source": str(tmp_path / "out")}))


@pytest.mark.parametrize("window", [17, None, ["lung"], "bogus", "0/0"], ids=str)
def test_a_window_that_is_none_is_refused_when_the_index_is_opened(scans, tmp_path, window):
    write_shards(open_source(config(scans)), tmp_path / "out")
    index = tmp_path / "out/index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"window": window}))
    with pytest.raises(DataError, match="index of the shards cannot be read"):
        open_index(tmp_path / "out")


def test_a_scan_of_two_files_is_refused_when_shards_are_written(scans, tmp_path):
    nibabel.save(nibabel.Nifti1Pair(np.zeros((4, 4, 4), np.int16), np.eye(4)), scans / "p.hdr")
    row = {"image": "p.hdr", "question": "Where?", "answer": "left", "subject": "p1"}
    (scans / "rows.json").write_text(json.dumps([row]))
    with pytest.raises(DataError, match="in two files") as error:
        write_shards(open_source(config(scans)), tmp_path / "out")
    assert "p.hdr" in error.value.where


def test_bytes_inside_parquet_keep_kind_and_slice(scans, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    names = ["frames.dcm#axial=4", "frames.dcm#axial=0", "v.nii.gz#time=1,coronal=3", "w.nii", "bare"]
    cells = [{"bytes": (scans / name.partition("#")[0]).read_bytes(), "path": name} for name in names]
    columns = {"image": cells, "question": ["Where?"] * 5, "answer": ["left"] * 5, "split": ["train"] * 4 + ["val"]}
    parquet.write_table(pa.table(columns), tmp_path / "rows.parquet")
    source = open_source(DataConfig(source=str(tmp_path / "rows.parquet"), window="0/1500"))
    records = [*source.records("train"), *source.records("validation")]
    for record, name in zip(records, names, strict=True):
        path = scans / name.partition("#")[0]
        assert source.image(record).tobytes() == decode(path, where="x", name=name, window="0/1500").tobytes()
    assert records[0].subject == records[1].subject  # frames of one file show one person
    source = open_source(DataConfig(source=str(tmp_path / "rows.parquet"), slices=2))
    assert [record.image.partition("#")[2] for record in source.records("train")] == [
        "axial=4", "axial=0", "time=1,coronal=3", "axial=2", "axial=6"
    ]  # fmt: skip


def test_foreign_tars_hold_scans_too(scans, tmp_path):
    folder = tmp_path / "tars"
    folder.mkdir()
    row = {"question": "Where?", "answer": "left", "image": "v.nii.gz#axial=2"}
    (tmp_path / "row.json").write_text(json.dumps(row))
    with tarfile.open(folder / "a.tar", "w") as tar:
        tar.add(tmp_path / "row.json", "1.json")
        tar.add(scans / "v.nii.gz", "1.nii.gz")
    index_tars(folder)
    shards = open_source(config(scans).model_copy(update={"source": str(folder)}))
    wanted = decode(scans / "v.nii.gz", where="x", name="v.nii.gz#axial=2")
    assert shards.image(shards.records("train")[0]).tobytes() == wanted.tobytes()


def test_training_says_how_scans_are_shown_and_shards_give_the_same_weights(tiny, scans, tmp_path):
    from medmllm.run.callbacks import Listener

    class Heard(Listener):
        def message(self, text):
            lines.append(text)

    lines, weights, said = [], [], []
    files = {"source": str(scans / "rows.json"), "validation": str(scans / "held.json"), "window": "lung"}
    write_shards(open_source(DataConfig(**files)), tmp_path / "shards", samples=100)
    for name, data in (("files", files), ("shards", {**files, "source": str(tmp_path / "shards"), "window": "auto"})):
        lines.clear()
        settings = tiny(data=data, train={"steps": 2, "batch_size": 8}, model={"language": {"vocab_size": 300}})
        train(settings, tmp_path / f"run-{name}", listener=Heard())
        said.append([line for line in lines if line.startswith("scans are shown")])
        weights.append((tmp_path / f"run-{name}" / "model/model.safetensors").read_bytes())
    assert said == [["scans are shown in the window lung"]] * 2
    from medmllm.evaluate.scan_window import own_window

    assert own_window(tmp_path / "run-shards") == "lung"
    assert weights[0] == weights[1]
