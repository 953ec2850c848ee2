import numpy as np
import pytest

from medmllm.data.prepare.slices import (
    SIDE,
    Section,
    body_mask,
    body_section,
    cut,
    on_canvas,
    pixel_spacing,
    place,
    shade,
    side_of,
    slab_split,
    third_of,
    tissue_shares,
    window_limits,
)


def planted_section() -> Section:
    """A square body with a structure (label 3) in its left third."""
    body = np.zeros((SIDE, SIDE), bool)
    body[20:92, 20:92] = True
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[40:60, 25:45] = 3
    return Section(
        np.where(labels > 0, 100.0, np.where(body, 0.0, -1024.0)).astype(np.float32), body, labels, (7.2, 7.2)
    )


@pytest.mark.parametrize(
    ("count", "spacing", "offset"), [(300, 1.0, 0.02), (100, 3.0, 0.12), (25, 6.5, 0.42), (48, 5.0, 0.02)]
)
def test_slabs_are_separated_by_their_guard(count, spacing, offset):
    splits = [slab_split(position, count, spacing, offset) for position in range(count)]
    assert {"train", "validation", "test_slab"} <= set(splits)
    held = [(p, split) for p, split in enumerate(splits) if split in ("validation", "test_slab")]
    for position, split in held:
        others = [p for p, other in enumerate(splits) if other not in (None, split)]
        assert min(abs(position - p) for p in others) * spacing >= 5.0
    assert splits.count("train") > 0.5 * count


def test_cut_shows_planes_as_radiologists_look_at_them():
    data = np.zeros((4, 5, 6))
    data[3, 2, 1] = 1  # at the right of the body
    data[1, 4, 1] = 2  # at its front
    data[1, 2, 5] = 3  # at its top
    axial, coronal, sagittal = cut(data, "axial", 1), cut(data, "coronal", 2), cut(data, "sagittal", 1)
    assert np.argwhere(axial == 1)[0].tolist() == [2, 0], "right of the body at the left of the picture"
    assert np.argwhere(axial == 2)[0][0] == 0, "front at the top"
    assert np.argwhere(coronal == 1)[0][1] == 0
    assert np.argwhere(coronal == 3)[0][0] == 0, "head at the top"
    assert np.argwhere(sagittal == 2)[0][1] == 0, "front at the left"
    assert np.argwhere(sagittal == 3)[0][0] == 0


@pytest.mark.parametrize(
    ("plane", "expected"), [("axial", (2.0, 1.0)), ("coronal", (3.0, 1.0)), ("sagittal", (3.0, 2.0))]
)
def test_pixel_spacing_is_rows_then_columns(plane, expected):
    assert pixel_spacing((1.0, 2.0, 3.0), plane) == expected


def test_windows_clip_at_their_limits():
    low, high = window_limits("soft tissue")
    assert (low, high) == (-160.0, 240.0)
    assert shade(np.array([-1000.0, -160.0, 40.0, 240.0, 3000.0]), low, high).tolist() == [0, 0, 128, 255, 255]
    assert window_limits("lung") == (-1350.0, 150.0)
    assert window_limits("bone") == (-500.0, 1500.0)


def test_body_mask_fills_holes_and_drops_crumbs():
    values = np.full((60, 60), -1000.0, np.float32)
    values[10:50, 10:50] = 40
    values[25:35, 25:35] = -900  # a lung
    values[2:5, 55:58] = 40  # a crumb
    mask = body_mask(values, "CT", 0)
    assert mask[30, 30]
    assert not mask[3, 56]
    assert not body_mask(np.full((60, 60), -1000.0, np.float32), "CT", 0).any()


def test_section_needs_a_body():
    air = np.full((200, 200), -1000.0, np.float32)
    assert body_section(air, np.zeros(air.shape, np.uint8), (1.0, 1.0), "CT", 0) is None
    person = air.copy()
    person[50:150, 40:160] = 30
    found = body_section(person, np.zeros(air.shape, np.uint8), (1.0, 1.0), "CT", 0)
    assert found is not None
    assert found.size_cm == pytest.approx((10, 12), abs=0.3)
    assert found.values[0, 0] == -1024


def test_canvas_makes_pixels_square():
    tall = on_canvas(np.ones((10, 10), np.float32), (5.0, 1.0), -1.0)
    rows, columns = np.argwhere(tall > 0).T
    assert (np.ptp(rows) + 1) / (np.ptp(columns) + 1) == pytest.approx(5, rel=0.1)
    assert set(np.unique(on_canvas(np.array([[1, 7]], np.uint8), (1.0, 1.0), 0))) == {0, 1, 7}, "labels do not mix"


def test_side_follows_the_flip():
    found = planted_section()
    for number in range(5):
        straight, flipped = place(found, False, number), place(found, True, number)
        assert side_of(straight.labels == 3, straight.body) == "left"
        assert side_of(flipped.labels == 3, flipped.body) == "right"
        assert np.array_equal(flipped.values, straight.values[:, ::-1])
        assert np.array_equal(flipped.labels, straight.labels[:, ::-1])


def test_placement_moves_values_and_labels_together():
    placed = place(planted_section(), False, "key")
    assert (placed.labels > 0).sum() > 100
    assert np.mean(placed.values[placed.labels > 0] > 50) > 0.95
    assert not np.array_equal(placed.labels, place(planted_section(), False, "other").labels)


def test_side_is_open_near_the_middle():
    body = np.ones((10, 100), bool)
    middle = np.zeros((10, 100), bool)
    middle[:, 47:56] = True
    assert side_of(middle, body) is None


def test_tissues_by_hounsfield_units():
    values = np.array([-800.0, -100.0, -100.0, 40.0, 60.0, 100.0, 400.0, -300.0])
    shares = tissue_shares(values, np.ones(8, bool))
    assert shares == {"air": 1 / 8, "fat": 2 / 8, "soft tissue": 3 / 8, "bone": 1 / 8}


def test_thirds_leave_their_borders_out():
    assert [third_of(position, 101) for position in (0, 30, 33, 50, 67, 70, 100)] == [
        "lower",
        "lower",
        None,
        "middle",
        None,
        "upper",
        "upper",
    ]
