"""Pictures: all their bits, their pages, their turn, and what is white."""

import io
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from medmllm.data.config import DataConfig
from medmllm.data.images import decode
from medmllm.data.pictures import decode_picture, is_deep
from medmllm.data.sources import open_source
from medmllm.errors import DataError

RNG = np.random.default_rng(0)


def shown(data, name="x"):
    return np.asarray(decode(data, where="x", name=name))


def png(pixels, colour):
    """A PNG of sixteen bits a channel, with each of the format's filters in turn."""
    height, width = pixels.shape[:2]
    rows = np.frombuffer(pixels.astype(">u2").tobytes(), np.uint8).reshape(height, -1).astype(int)
    step, lines, above = rows.shape[1] // width, b"", np.zeros(rows.shape[1], int)
    for number, row in enumerate(rows):
        left, corner = (np.concatenate([np.zeros(step, int), one[:-step]]) for one in (row, above))
        near = np.abs([above - corner, left - corner, left + above - 2 * corner]).argmin(0)
        paeth = np.choose(near, [left, above, corner])
        guess = [0 * row, left, above, (left + above) // 2, paeth][number % 5]
        lines, above = lines + bytes([number % 5]) + ((row - guess) % 256).astype(np.uint8).tobytes(), row
    parts = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)), (b"IDAT", zlib.compress(lines)),
             (b"IEND", b""))  # fmt: skip
    chunks = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiff(pixels, photometric, order="<", packed=False):
    """A TIFF of one page in either byte order; `photometric` 0 says that white is 0."""
    height, width = pixels.shape[:2]
    count = 1 if pixels.ndim == 2 else pixels.shape[2]
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    data = zlib.compress(data) if packed else data
    bits, start = 8 * pixels.dtype.itemsize, 8 + 2 + 12 * 9 + 4
    entries = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, count, bits),
        (259, 3, 1, 8 if packed else 1), (262, 3, 1, photometric),
        (273, 4, 1, start + 6), (277, 3, 1, count), (278, 3, 1, height), (279, 4, 1, len(data)),
    ]  # fmt: skip
    out = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8) + struct.pack(order + "H", 9)
    for tag, kind, number, value in entries:
        short = struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value)
        out += struct.pack(order + "HHI", tag, kind, number) + (
            struct.pack(order + "I", start) if number > 2 else short
        )
    return out + struct.pack(order + "I", 0) + struct.pack(order + "HHH", bits, bits, bits) + data


def rescaled(values):
    values = values.astype(float)
    return np.rint((values - values.min()) / (values.max() - values.min()) * 255)


@pytest.mark.parametrize("top", [65535, 4095])
def test_sixteen_bits_of_every_colour_are_read(top):
    """Twelve bits in sixteen would be nearly black if only the high byte were read."""
    colours = RNG.integers(0, top + 1, (11, 9, 3)).astype(np.uint16)
    tiffs = [tiff(colours, 2, order, packed) for order in "<>" for packed in (False, True)]
    for data in (png(colours, 2), *tiffs):
        assert np.array_equal(shown(data), rescaled(colours))
        assert is_deep(data)
    opaque = np.full((11, 9, 1), 65535, np.uint16)
    assert np.array_equal(shown(png(np.concatenate([colours, opaque], -1), 6)), rescaled(colours))
    grey = colours[..., :1]
    assert np.array_equal(shown(png(np.concatenate([grey, opaque], -1), 4))[..., 0], rescaled(grey[..., 0]))
    assert np.array_equal(shown(png(grey[..., 0], 0))[..., 0], rescaled(grey[..., 0]))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_both_byte_orders_and_both_whites_of_tiff(order, dtype):
    grey = RNG.integers(0, 256, (6, 7)).astype(dtype)
    grey[0, :2] = 0, 255
    for packed in (False, True):
        assert np.array_equal(shown(tiff(grey, 1, order, packed))[..., 0], grey)
        assert np.array_equal(shown(tiff(grey, 0, order, packed))[..., 0], 255 - grey)


def test_transparent_pictures_lie_on_black():
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0] = [[200, 100, 50, 255], [200, 100, 50, 128], [200, 100, 50, 0]]
    place = io.BytesIO()
    Image.fromarray(pixels).save(place, "PNG")
    assert np.abs(shown(place.getvalue())[0].astype(int) - [[200, 100, 50], [100, 50, 25], [0, 0, 0]]).max() <= 1
    place = io.BytesIO()
    picture = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    picture.putpalette([250, 0, 0, 0, 250, 0])
    picture.save(place, "PNG", transparency=1)
    assert shown(place.getvalue())[0].tolist() == [[250, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_pictures_are_turned_as_they_say(orientation, kind):
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:8, :8] = 255
    ways = [lambda a: a, np.fliplr, lambda a: a[::-1, ::-1], np.flipud, lambda a: a.swapaxes(0, 1),
            lambda a: np.rot90(a, -1), lambda a: a[::-1, ::-1].swapaxes(0, 1), lambda a: np.rot90(a, 1)]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    place = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {}
    Image.fromarray(pixels).save(place, kind, exif=exif, **options)
    found = shown(place.getvalue())
    wanted = ways[orientation - 1](pixels)
    assert found.shape == wanted.shape
    assert np.abs(found.astype(int) - wanted).max() < 40


def pages(kind, count=3, **options):
    frames = [Image.new("L", (6, 5), 60 * (n + 1)) for n in range(count)]
    place = io.BytesIO()
    frames[0].save(place, kind, save_all=True, append_images=frames[1:], **options)
    return place.getvalue()


@pytest.mark.parametrize(("kind", "ending"), [("TIFF", "tif"), ("GIF", "gif"), ("WEBP", "webp"), ("PNG", "png")])
def test_pages_are_named_or_refused(tmp_path, kind, ending):
    data = pages(kind, **({"lossless": True} if kind == "WEBP" else {}))
    for number in range(3):
        assert shown(data, f"a.{ending}#page={number}")[0, 0, 0] == 60 * (number + 1)
    for name in (f"a.{ending}", f"a.{ending}#page"):
        with pytest.raises(DataError, match=r"has 3 (pages|frames), and none is named") as error:
            shown(data, name)
    assert "#page=0" in error.value.hint
    with pytest.raises(DataError, match="3 is requested"):
        shown(data, f"a.{ending}#page=3")
    (tmp_path / f"a.{ending}").write_bytes(data)
    rows = [{"image": f"a.{ending}", "question": "Q", "answer": "A", "split": split} for split in ("train", "val")]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    source = open_source(DataConfig(source=str(tmp_path / "rows.json"), slices=3))
    records = source.records("train")
    assert [record.image for record in records] == [f"a.{ending}#page={n}" for n in range(3)]
    assert [source.image(record).getpixel((0, 0))[0] for record in records] == [60, 120, 180]


def test_small_copies_of_pages_are_no_pages():
    place = io.BytesIO()
    small = Image.new("L", (2, 2), 9)
    small.encoderinfo = {"tiffinfo": {254: 1}}
    Image.new("L", (6, 5), 60).save(place, "TIFF", save_all=True, append_images=[small])
    assert shown(place.getvalue())[0, 0, 0] == 60


def test_a_picture_has_no_planes(tmp_path):
    Image.new("L", (6, 5), 60).save(tmp_path / "a", "PNG")
    with pytest.raises(DataError, match="no axial slices"):
        shown(tmp_path / "a", "a#axial=3")


def test_signed_jpeg_2000():
    """Pillow shifts signed values up by half the range, which a rescaling does not show."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.data import get_testdata_file

    data = pydicom.dcmread(get_testdata_file("JPEG2000.dcm"))
    code = next(pydicom.encaps.generate_frames(data.PixelData, number_of_frames=1))
    assert (data.PixelRepresentation, data.pixel_array.min()) == (1, -30)
    assert np.array_equal(shown(code, "a.jp2")[..., 0], rescaled(data.pixel_array))


@pytest.mark.parametrize("order", ["<", ">"])
def test_damaged_tiffs_are_refused(order):
    sound = tiff(RNG.integers(0, 9999, (6, 7)).astype(np.uint16), 0, order)
    for length in (4, 9, 60, len(sound) - 9):
        with pytest.raises(DataError):
            shown(sound[:length])


@pytest.mark.parametrize("compression", ["raw", "packbits", "tiff_lzw", "jpeg"])
def test_brightness_and_colour_of_every_page_are_read(compression):
    """Pillow 12 reads three bytes a pixel as four, and takes what is missing from the next page."""
    colours = [(200, 30, 60), (20, 160, 220)]
    first, second = (Image.new("RGB", (32, 32), colour).convert("YCbCr") for colour in colours)
    stream = io.BytesIO()
    first.save(stream, "TIFF", save_all=True, append_images=[second], compression=compression)
    for page, colour in enumerate(colours):
        pixels = np.asarray(decode_picture(stream.getvalue(), page)).reshape(-1, 3).astype(int)
        assert np.abs(pixels - colour).max() <= 3


def test_colours_of_four_pixels_at_once_are_refused():
    stream = io.BytesIO()
    Image.new("YCbCr", (32, 32), (90, 110, 140)).save(stream, "TIFF")
    one, four = (struct.pack("<HHIHH", 530, 3, 2, places, places) for places in (1, 2))
    assert one in stream.getvalue()
    with pytest.raises(DataError, match="brightness"):
        decode_picture(stream.getvalue().replace(one, four))
