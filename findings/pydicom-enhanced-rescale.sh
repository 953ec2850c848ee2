#!/usr/bin/env bash
# pydicom 3.0.2: apply_modality_lut returns stored values unchanged for an enhanced multi-frame object, whose rescale
# slope and intercept are in the functional groups (PS3.3 C.7.6.16.2.9). No error, no warning: an enhanced CT is 1,024
# units off. The same values in a classic object are rescaled. highdicom and dcmtk read the groups.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q pydicom==3.0.2 numpy==2.4.6
"$folder/env/bin/python" -W error - <<'PY'
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut
from pydicom.sequence import Sequence

print("pydicom", pydicom.__version__)


def rescale():
    found = Dataset()
    found.RescaleSlope, found.RescaleIntercept, found.RescaleType = "1", "-1024", "HU"
    return found


classic, enhanced, group = rescale(), Dataset(), Dataset()
enhanced.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"  # Enhanced CT Image Storage
group.PixelValueTransformationSequence = Sequence([rescale()])
enhanced.SharedFunctionalGroupsSequence = Sequence([group])
stored = np.array([[1064]], np.int16)
values = {name: float(apply_modality_lut(stored, one)[0, 0]) for name, one in (("classic", classic), ("enhanced", enhanced))}
print(f"stored 1064 with intercept -1024: classic {values['classic']:.0f}, enhanced {values['enhanced']:.0f}")
assert values == {"classic": 40.0, "enhanced": 1064.0}, "the behaviour has changed"
PY
