"""Volumes of all formats: one cut is one picture, whatever the file, and damage is noticed."""

import gzip
import zlib

import numpy as np
import pytest
from dicom_files import decoded_grey as grey

from medmllm.data.images import decode
from medmllm.errors import DataError

nibabel = pytest.importorskip("nibabel")

VOXELS = np.random.default_rng(0).integers(-1000, 1000, (5, 6, 4)).astype(np.int16)
# An oblique volume: its axes run back, up and left, a little turned.
AFFINE = np.array([[0.1, 0, -2.0, 10], [-1.5, 0.1, 0, 20], [0, 1.0, 0.1, -30], [0, 0, 0, 1]])
CUTS = [
    f"{plane}={index}" for plane, count in (("axial", 6), ("coronal", 5), ("sagittal", 4)) for index in range(count)
]


def metaimage(path, voxels, affine, *, packed=False, data="LOCAL", **fields):
    """A MetaImage file, as ITK writes it."""
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    kinds = {"int16": "MET_SHORT", "uint8": "MET_UCHAR", "float32": "MET_FLOAT", ">i2": "MET_SHORT"}
    content = voxels.tobytes(order="F")
    content = zlib.compress(content) if packed else content
    lines = {
        "ObjectType": "Image", "NDims": voxels.ndim, "BinaryData": "True",
        "BinaryDataByteOrderMSB": str(voxels.dtype.byteorder == ">"), "CompressedData": str(packed),
        "TransformMatrix": " ".join(f"{x:.12g}" for x in (lps[:3, :3] / spacing).T.ravel()),
        "Offset": " ".join(map(str, lps[:3, 3])), "ElementSpacing": " ".join(f"{x:.12g}" for x in spacing),
        "DimSize": " ".join(map(str, voxels.shape)), "ElementType": kinds[voxels.dtype.name], **fields,
        "ElementDataFile": data,
    }  # fmt: skip
    head = "".join(f"{name} = {value}\n" for name, value in lines.items()).encode()
    path.write_bytes(head + (content if data == "LOCAL" else b""))
    if data != "LOCAL":
        (path.parent / data).write_bytes(content)
    return path


def nrrd_file(path, voxels, affine, encoding="gzip", **header):
    nrrd = pytest.importorskip("nrrd")
    turns = [list(row) for row in affine[:3, :3].T]
    header = {"space": "right-anterior-superior", "space directions": np.array(turns),
              "space origin": affine[:3, 3], "encoding": encoding} | header  # fmt: skip
    nrrd.write(str(path), voxels, {name: value for name, value in header.items() if value is not None})
    return path


def nifti(path, voxels=VOXELS, affine=AFFINE, kind=None):
    nibabel.save((kind or nibabel.Nifti1Image)(voxels, affine), path)
    return path


def write(path):
    """The volume in the format that a name says."""
    if path.suffix in (".nrrd", ".nhdr"):
        return nrrd_file(path, VOXELS, AFFINE)
    if path.suffix == ".mhd":
        return metaimage(path, VOXELS, AFFINE, data="v.zraw", packed=True)
    if path.suffix == ".mha":
        return metaimage(path, VOXELS, AFFINE, packed=True)
    kind = nibabel.Nifti2Image if path.name.startswith("second") else None
    kind = nibabel.Nifti1Pair if path.name.startswith("pair") else kind
    return nifti(path, kind=kind)


NAMES = [
    "v.nii",
    "v.nii.gz",
    "second.nii",
    "second.nii.gz",
    "pair.hdr",
    "pair.img",
    "v.nrrd",
    "v.nhdr",
    "v.mha",
    "v.mhd",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_cut_is_one_picture_whatever_the_format(tmp_path, name):
    path, other = write(tmp_path / name), nifti(tmp_path / "plain.nii")
    alone = name not in ("pair.hdr", "pair.img", "v.nhdr", "v.mhd")
    for cut in CUTS:
        wanted = grey(other, f"plain.nii#{cut}", "0/2000")
        assert np.array_equal(grey(path, f"{name}#{cut}", "0/2000"), wanted)
        if alone:
            assert np.array_equal(grey(path.read_bytes(), f"{name}#{cut}", "0/2000"), wanted)
    if alone:  # by its first bytes, where the name says nothing
        assert np.array_equal(grey(path.read_bytes(), "image-1", "0/2000"), grey(other, "plain.nii", "0/2000"))
    else:
        with pytest.raises(DataError, match=r"pair|another file|other files"):
            grey(path.read_bytes(), name)


def test_the_cuts_are_those_of_simpleitk(tmp_path):
    """SimpleITK writes the same volume in three formats; its own axes say where each voxel lies."""
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(VOXELS.T.copy())
    image.SetSpacing((1.0, 2.0, 3.0))
    image.SetOrigin((5, -6, 7))
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    image.SetDirection(turn.ravel().tolist())
    for name in ("v.nii.gz", "v.nrrd", "v.mha"):
        sitk.WriteImage(image, str(tmp_path / name), True)
    for plane in ("axial", "coronal", "sagittal"):
        one, *others = (grey(tmp_path / n, f"{n}#{plane}=2", "0/2000") for n in ("v.nii.gz", "v.nrrd", "v.mha"))
        assert all(np.array_equal(one, other) for other in others)


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz", "second.nii.gz", "v.nrrd", "v.mha"])
@pytest.mark.parametrize("damage", ["short", "shorter", "flipped"])
def test_damage_is_noticed(tmp_path, name, damage):
    content = bytearray(write(tmp_path / name).read_bytes())
    if damage == "flipped":
        if name == "v.nii":
            return  # plain voxels have no check sum
        content[-len(content) // 8] ^= 0x55
    else:
        del content[-{"short": 3, "shorter": len(content) // 3}[damage] :]
    (tmp_path / name).write_bytes(content)
    for data in (tmp_path / name, bytes(content)):
        with pytest.raises(DataError, match=r"damaged|truncated"):
            decode(data, where="x", name=f"{name}#axial=0")


def test_thick_slices_give_square_pixels(tmp_path):
    path = nifti(tmp_path / "v.nii", np.zeros((64, 64, 12), np.int16), np.diag([1, 1, 5, 1]))
    assert decode(path, where="x", name="v.nii#coronal=3").size == (64, 60)
    assert decode(path, where="x", name="v.nii#sagittal=3").size == (64, 60)
    assert decode(path, where="x", name="v.nii#axial=3").size == (64, 64)


def test_time_points_are_named(tmp_path):
    voxels = np.stack([np.full((3, 4, 5), 50 * n, np.int16) for n in range(4)], axis=-1)
    path = nifti(tmp_path / "v.nii.gz", voxels, np.eye(4))
    shades = [grey(path, f"v.nii.gz#time={n},axial=1", "100/200")[0, 0] for n in range(4)]
    assert shades == [0, 64, 128, 191]
    assert grey(path, "v.nii.gz#axial=1", "100/200")[0, 0] == 0  # as documented: the first
    with pytest.raises(DataError, match="4 volumes in time"):
        grey(path, "v.nii.gz#axial=1,time=4")


def test_colours(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (4, 5, 3, 3)).astype(np.uint8)
    voxels = pixels.view(np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))[..., 0]
    path = nifti(tmp_path / "v.nii", voxels, np.eye(4))
    wanted = pixels[:, :, 1].swapaxes(0, 1)[::-1, ::-1]
    assert np.array_equal(np.asarray(decode(path, where="x", name="v.nii#axial=1")), wanted)
    kinds = {"kinds": ["RGB-color", "domain", "domain", "domain"], "space directions": None, "space origin": None}
    path = nrrd_file(tmp_path / "v.nrrd", np.moveaxis(pixels, -1, 0), np.eye(4), **kinds, spacings=[np.nan, 1, 1, 1])
    assert np.array_equal(np.asarray(decode(path, where="x", name="v.nrrd#axial=1")), wanted)


def test_a_flat_picture_in_a_format_of_volumes(tmp_path):
    film = np.arange(20, dtype=np.int16).reshape(5, 4) * 10
    metaimage(tmp_path / "v.mha", film, np.eye(4), TransformMatrix="1 0 0 1", Offset="0 0", ElementSpacing="1 1")
    nrrd_file(tmp_path / "v.nrrd", film, np.eye(4), **{"space": None, "space directions": None, "space origin": None})
    for name in ("v.mha", "v.nrrd"):
        assert np.array_equal(grey(tmp_path / name, window="100/200"), np.rint(film.T / 200 * 255))


def test_analyze_says_nothing_of_left_and_right(tmp_path):
    nibabel.save(nibabel.Spm99AnalyzeImage(VOXELS, np.eye(4)), tmp_path / "v.img")
    with pytest.raises(DataError, match="does not record left and right"):
        decode(tmp_path / "v.hdr", where="x")


@pytest.mark.parametrize("name", ["../v.raw", "/etc/passwd", "missing.raw", "LIST", "v%03d.raw"])
def test_voxels_lie_beside_their_header(tmp_path, name):
    folder = tmp_path / "set"
    folder.mkdir()
    (tmp_path / "v.raw").write_bytes(VOXELS.tobytes())
    metaimage(folder / "v.mhd", VOXELS, AFFINE, data="v.raw")
    for path, key in ((folder / "v.mhd", b"ElementDataFile = v.raw"), (folder / "v.nhdr", b"data file: v.raw")):
        if path.suffix == ".nhdr":
            nrrd_file(path, VOXELS, AFFINE, encoding="raw")
        content = path.read_bytes()
        assert key in content
        path.write_bytes(content.replace(key, key.replace(b"v.raw", name.encode())))
        with pytest.raises(DataError, match=r"beside it|many files|other files|does not exist"):
            decode(path, where="x")
    (folder / "link.raw").symlink_to(tmp_path / "v.raw")
    metaimage(folder / "v.mhd", VOXELS, AFFINE, data="w.raw")
    content = (folder / "v.mhd").read_bytes()
    (folder / "v.mhd").write_bytes(content.replace(b"w.raw", b"link.raw"))
    with pytest.raises(DataError, match="beside it"):
        decode(folder / "v.mhd", where="x")


@pytest.mark.parametrize("name", ["v.nrrd", "v.mha", "v.nii.gz"])
def test_a_packed_bomb_stops_at_what_the_header_claims(tmp_path, name):
    path = write(tmp_path / name)
    packer = zlib.compressobj(9, zlib.DEFLATED, 15 if name == "v.mha" else 31)
    zeros = b"".join(packer.compress(b"\0" * 2**20) for _ in range(64)) + packer.flush()
    head = {"v.nrrd": b"\n\n", "v.mha": b"LOCAL\n"}.get(name)
    content = path.read_bytes()
    place = content.index(head) + len(head) if head else 0
    if name == "v.nii.gz":
        zeros = gzip.compress(gzip.decompress(content) + b"\0" * 2**26)
    path.write_bytes(content[:place] + zeros)
    with pytest.raises(DataError, match="unpacks to more"):
        decode(path, where="x")


@pytest.mark.parametrize(
    ("field", "value"),
    [("DimSize", "5 6"), ("DimSize", "0 6 4"), ("DimSize", "x"), ("DimSize", "99999 99999 99999"), ("NDims", "7"),
     ("ElementType", "MET_OTHER"), ("TransformMatrix", "1 0"), ("ElementSpacing", "nan 1 1"),
     ("TransformMatrix", "0 0 0 0 0 0 0 0 0"), ("BinaryData", "False"), ("ElementNumberOfChannels", "5")],
)  # fmt: skip
def test_headers_that_cannot_be(tmp_path, field, value):
    metaimage(tmp_path / "v.mha", VOXELS, AFFINE, **{field: value})
    with pytest.raises(DataError):
        decode(tmp_path / "v.mha", where="x")


def test_both_byte_orders(tmp_path):
    metaimage(tmp_path / "v.mha", VOXELS.astype(">i2"), AFFINE)
    nifti(tmp_path / "v.nii")
    assert np.array_equal(grey(tmp_path / "v.mha", window="0/2000"), grey(tmp_path / "v.nii", window="0/2000"))
