"""Contests about images of 800x800 pixels: SSIM, PSNR, decoding PNGs, putting RGBA over white.

SSIM has scikit-image in float64 as its reference, PNG Pillow, whose default compression wrote the files; OpenCV and
imagecodecs take part where they are installed.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
from contest import Contest
from numpy.typing import NDArray
from PIL import Image as Pillow
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from nfbench.harness import image as images
from nfbench.harness.over import flatten
from nfbench.harness.png import read_png

SIDE = 800
TURNS = 15
WHITE = (1.0, 1.0, 1.0)
Bytes = NDArray[np.uint8]


def rendering() -> Bytes:
    """A textured, slightly noisy disc with a soft edge over nothing, as NeRF-synthetic images are, (800,800,4)."""
    rng = np.random.default_rng(0)
    y, x = (np.mgrid[:SIDE, :SIDE] - SIDE / 2) / (SIDE / 2)
    waves = np.stack([0.5 + 0.4 * np.sin(40 * x * f) * np.cos(23 * y + f) for f in (1, 2, 3)], axis=-1)
    alpha = np.clip((0.5 - x**2 - y**2) * 50, 0, 1)[..., None]
    colour = np.clip(waves + rng.normal(0, 0.01, waves.shape), 0, 1) * (alpha > 0)
    return np.rint(np.concatenate([colour, alpha], axis=-1) * 255).astype(np.uint8)


def readers(path: Path) -> Contest:
    """Everything installed that reads a PNG, by its name."""
    contest: Contest = {"Pillow": lambda: np.array(Pillow.open(path)), "nfbench": lambda: read_png(path)}
    for name, read in (("cv2", _by_opencv), ("imagecodecs", _by_imagecodecs)):
        try:
            library = importlib.import_module(name)
        except ImportError:
            continue
        contest[name] = lambda library=library, read=read: read(library, path)  # type: ignore[misc]
    return contest


def _by_opencv(cv2: object, path: Path) -> Bytes:
    stored: Bytes = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)  # type: ignore[attr-defined]
    return stored[..., [2, 1, 0, 3][: stored.shape[2]]]


def _by_imagecodecs(imagecodecs: object, path: Path) -> Bytes:
    decoded: Bytes = imagecodecs.png_decode(path.read_bytes())  # type: ignore[attr-defined]
    return decoded


def pair() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A textured disc on white, as NeRF-synthetic images are, and a noisy copy."""
    rng = np.random.default_rng(0)
    y, x = (np.mgrid[:SIDE, :SIDE] - SIDE / 2) / (SIDE / 2)
    waves = np.stack([0.5 + 0.4 * np.sin(40 * x * f) * np.cos(23 * y + f) for f in (1, 2, 3)], axis=-1)
    truth = np.where((x**2 + y**2 < 0.5)[..., None], waves, 1.0)
    noisy = truth + rng.normal(0, 0.03, truth.shape)
    return tuple(np.rint(np.clip(a, 0, 1) * 255).astype(np.uint8) for a in (noisy, truth))  # type: ignore[return-value]


def contests(folder: Path) -> dict[str, tuple[Contest, int]]:
    """What is computed, to contestants and turns; `folder` takes the PNGs."""
    rgba = rendering()
    Pillow.fromarray(rgba).save(folder / "rgba.png")
    Pillow.fromarray(rgba[..., :3]).save(folder / "rgb.png")
    x, y = pair()
    x64, y64 = x / 255, y / 255
    found: dict[str, Contest] = {
        "SSIM": {
            "scikit-image, float64": lambda: structural_similarity(
                x64, y64, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, channel_axis=-1
            ),
            "nfbench, 8-bit, double": lambda: float(images.ssim(x, y)),
            "nfbench, 8-bit, single": lambda: float(images.ssim(x, y, precision="single")),
            "nfbench, float64, double": lambda: float(images.ssim(x64, y64)),
        },
        "SSIM, 7x7 uniform": {
            "scikit-image, float64": lambda: structural_similarity(x64, y64, data_range=1, channel_axis=-1),
            "nfbench, 8-bit, double": lambda: float(images.ssim(x, y, variant="uniform7")),
            "nfbench, 8-bit, single": lambda: float(images.ssim(x, y, variant="uniform7", precision="single")),
        },
        "PSNR": {
            "scikit-image, 8-bit": lambda: peak_signal_noise_ratio(y, x),
            "nfbench, 8-bit": lambda: float(images.psnr(x, y)),
        },
        "RGBA PNG": readers(folder / "rgba.png"),
        "RGB PNG": readers(folder / "rgb.png"),
        "RGBA over white": {
            "numpy": lambda: images.quantise(images.composite(rgba, WHITE)),
            "nfbench": lambda: flatten(rgba, WHITE),
        },
    }
    return {what: (contest, TURNS) for what, contest in found.items()}
