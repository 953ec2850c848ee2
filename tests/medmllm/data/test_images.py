"""Images: depth, damage, and size."""

import io
import os
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from medmllm.data.images import decode, locate
from medmllm.errors import DataError


def encoded(image, kind="PNG"):
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("dtype", "kind"), [(np.uint16, "PNG"), (np.uint16, "TIFF"), (np.int32, "TIFF"), (np.float32, "TIFF")]
)
def test_deep_images_are_rescaled_not_clipped(dtype, kind):
    pixels = np.array([[100, 1100], [2100, 4100]], dtype=dtype)
    image = decode(encoded(Image.fromarray(pixels), kind), where="x")
    assert image.mode == "RGB"
    assert np.asarray(image)[..., 0].tolist() == [[0, 64], [128, 255]]


def test_constant_and_non_finite_pixels_become_black():
    assert not np.asarray(decode(encoded(Image.fromarray(np.full((2, 2), 900, np.uint16))), where="x")).any()
    image = decode(encoded(Image.fromarray(np.array([[np.nan, 0], [1, 2]], np.float32)), "TIFF"), where="x")
    assert np.asarray(image)[..., 0].tolist() == [[0, 0], [128, 255]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb(mode):
    image = Image.new("RGB", (5, 4), (0, 255, 0)).convert(mode)
    assert decode(encoded(image, "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"), where="x").mode == "RGB"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_truncated_image_is_refused(kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    with pytest.raises(DataError) as error:
        decode(data[: len(data) // 2], where="train.json: row 4, image a")
    assert error.value.where == "train.json: row 4, image a"
    assert error.value.hint


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_refused(data):
    with pytest.raises(DataError, match="image"):
        decode(data, where="x")


def test_a_decompression_bomb_is_refused(monkeypatch):
    data = encoded(Image.new("L", (50, 50)))
    for limit in (2000, 500):  # Pillow warns above its limit and raises above twice its limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(DataError, match=f"more than {limit:,} pixels"):
            decode(data, where="x")


def test_missing_files_and_pipes_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for ever
    for name in ("pipe.png", "none.png", "n" * 300):
        with pytest.raises(DataError, match="does not exist"):
            decode(tmp_path / name, where="x")


@pytest.mark.parametrize("name", ["../a.png", "x/../../a.png", "/a.png", "loop/a.png", "out/a.png"])
def test_paths_that_leave_the_folder_are_refused(tmp_path, name):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "loop").symlink_to("loop")
    (folder / "out").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="image path"):
        locate(folder, name)


def test_paths_inside_or_allowed_are_found(tmp_path):
    assert locate(tmp_path, "x/../a.png") == tmp_path.resolve() / "a.png"
    assert locate(tmp_path / "set", "../a.png", allow_outside=True) == tmp_path.resolve() / "a.png"


def test_formats_that_run_programs_are_not_read(tmp_path):
    """Pillow hands EPS to Ghostscript; here it is not an image at all."""
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(%pipe%id) (r) file\nshowpage\n%%EOF\n"
    with pytest.raises(DataError, match="not an image that can be read"):
        decode(script, where="x")


def bomb(width, height):
    """A PNG of a few hundred kB that would unpack to `width * height` pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(b"\0" * 2**20) for _ in range(64)) + packer.flush()
    chunks = ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
    parts = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_a_bomb_is_refused_by_its_head_at_once():
    for size in ((30_000, 30_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1)):
        begin = time.process_time()
        tracemalloc.start()
        with pytest.raises(DataError) as error:
            decode(bomb(*size), where="x")
        assert tracemalloc.get_traced_memory()[1] < 2**24
        tracemalloc.stop()
        assert time.process_time() - begin < 3
        assert error.value.hint


def test_texts_and_profiles_inside_a_picture_are_bounded():
    """A compressed comment of 64 MB in a picture of one pixel."""
    packer = zlib.compressobj(9)
    text = b"Comment\0\0" + b"".join(packer.compress(b"a" * 2**20) for _ in range(64)) + packer.flush()
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    sound = encoded(Image.new("L", (1, 1)))
    tracemalloc.start()
    with pytest.raises(DataError):
        decode(sound[:33] + chunk + sound[33:], where="x")
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_a_folder_beside_with_the_same_beginning_is_outside(tmp_path):
    """`data2` begins with the name of `data`, and is not in it."""
    folder, beside = tmp_path / "data", tmp_path / "data2"
    folder.mkdir(), beside.mkdir()
    Image.new("L", (2, 2)).save(beside / "a.png")
    (folder / "link.png").symlink_to(beside / "a.png")
    for name in ("../data2/a.png", "link.png"):
        with pytest.raises(ValueError, match="leaves the data file's folder"):
            locate(folder, name)
        assert locate(folder, name, allow_outside=True) == (beside / "a.png").resolve()
