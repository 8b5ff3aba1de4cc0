"""Folders of images and masks as multi-view datasets keep them: listed in order, and looked at by their headers."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError
from nfbench.harness.imagefile import ENDINGS, image_size
from nfbench.harness.png import MAX_PIXELS, read_header
from nfbench.harness.scene import Views

_THRESHOLD = 127.5  # lioryariv/idr code/utils/rend_util.py load_mask: grey above it, of 0 to 255, is foreground
_OFF_CENTRE = 0.2  # of the size of the image; cameras for twice its size are 0.5 off, for half of it 0.25
_LEAST_FOCAL = 1e-3  # of the size of the image: all but half a turn in view
_AGAIN = "Download or copy the file again."


def image_files(folder: Path, inside: str, skip: str = "") -> tuple[Path, ...]:
    """The images in the folder `inside` of a dataset, sorted by file name as all readers of these formats sort them.

    Args:
        folder: the dataset, which no image may lie outside of.
        inside: the folder's name in it.
        skip: the end of the names, without ending, of images to leave out; none are left out without it.

    Raises:
        DataMissing: no such folder, or no image in it.
        DataCorrupt: a link that leads out of the dataset, or two images whose names differ in their endings only.
    """
    place, root = folder / inside, folder.resolve()
    if not place.is_dir():
        raise DataMissing(f"There is no folder {place}.", "Copy the whole dataset again.")
    files = sorted(p for p in place.iterdir() if p.suffix.lower() in ENDINGS and p.name[0] != ".")
    files = [file for file in files if not (skip and file.stem.endswith(skip))]
    if not files:
        raise DataMissing(f"{place} holds no images.", "Copy the whole dataset again.")
    kept = within(root, place)
    for file in files:
        if not kept or (file.is_symlink() and not within(root, file)):
            raise DataCorrupt(f"{file} is outside of {folder}.", "Copy the image into the folder of the scene.")
    stems: dict[str, Path] = {}
    for file in files:
        if file.stem in stems:
            raise DataCorrupt(f"{place} holds {stems[file.stem].name} and {file.name}.", "Take one of the two away.")
        stems[file.stem] = file
    return tuple(files)


def within(root: Path, path: Path) -> bool:
    """Whether `path` is below the resolved folder `root` after all links."""
    try:
        return path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # links in a circle
        return False


def image_sizes(files: Iterable[Path]) -> NDArray[np.int32]:
    """(N,2) width and height by the headers, which are checked; raises what `imagefile.image_size` does."""
    return np.array([image_size(file) for file in files], np.int32).reshape(-1, 2)


def check_one_size(files: Sequence[Path], size: NDArray[np.int32]) -> None:
    """Raise DataCorrupt, naming the first of `files`, where `size` (N,2) is not that of the first image."""
    for file, (width, height) in zip(files, size.tolist(), strict=True):
        if (width, height) != tuple(size[0].tolist()):
            raise DataCorrupt(
                f"{file}: {width}x{height} pixels, but {files[0].name} has {size[0, 0]}x{size[0, 1]}.",
                "All images of a scene in this format have one size; scale or drop this image.",
            )


def check_intrinsics(K: NDArray[np.floating], size: NDArray[np.int32], files: Sequence[Path], source: Path) -> None:
    """Raise DataCorrupt where intrinsics (N,3,3) in pixels cannot be of images of `size` (N,2).

    The principal point of an image is near its middle unless it was cropped hard; that of cameras for images twice or
    half as large is not. The first of `files` whose camera is so is named, and the file `source` of the cameras.
    """
    odd = (K[:, [0, 1], [0, 1]] < _LEAST_FOCAL * size).any(1) | (np.abs(K[:, 0, 1]) > K[:, 0, 0])
    for i in np.flatnonzero(odd)[:1]:
        raise DataCorrupt(
            f"{source}: its camera of {files[i].name} has the intrinsics {K[i].tolist()}, not those of an image of "
            f"{size[i, 0]}x{size[i, 1]} pixels.",
            "Give focal lengths in pixels, and no more skew than that.",
        )
    off = np.abs(K[:, :2, 2] / size - 0.5)
    bad = np.flatnonzero(~(off <= _OFF_CENTRE).all(1))
    if len(bad):
        i = bad[0]
        x, y = K[i, :2, 2].tolist()
        raise DataCorrupt(
            f"{source}: its camera of {files[i].name} has its principal point at ({x:.1f}, {y:.1f}), that of an image "
            f"of about {2 * x:.0f}x{2 * y:.0f} pixels; the image has {size[i, 0]}x{size[i, 1]}.",
            "Cameras and images are of different sizes: scale the one or the other, or fetch the pair that belongs "
            "together.",
        )


def mask_size(path: Path) -> tuple[int, int]:
    """Width and height of a mask by its header, of a PNG of any kind of at most 8 bits, or of an image.

    Raises:
        DataMissing: there is no such file.
        DataCorrupt: it is damaged, without pixels, too large, or of 16 bits.
    """
    if path.suffix.lower() != ".png":
        return image_size(path)
    header = read_header(path)
    if header.depth > 8:
        raise DataCorrupt(f"{path}: a mask of {header.depth} bits.", "Convert it to 8-bit grey.")
    if not 0 < header.width * header.height <= MAX_PIXELS:
        raise DataCorrupt(f"{path}: {header.width}x{header.height} pixels.", _AGAIN)
    return header.size


def read_mask(path: Path) -> NDArray[np.bool_]:
    """The foreground in a mask's file, bool (H,W): grey above 127.5 of 255, as IDR reads it; colours by their luma.

    Raises:
        DataMissing: there is no such file.
        DataCorrupt: what `mask_size` finds, damaged pixels, or transparent ones, which IDR takes for their colour.
    """
    from PIL import Image as Pillow

    mask_size(path)
    try:
        with Pillow.open(io.BytesIO(path.read_bytes()), formats=["PNG", "JPEG", "BMP", "TIFF", "WEBP"]) as image:
            clear = image.has_transparency_data and int(np.asarray(image.convert("RGBA"))[..., 3].min()) < 255
            grey = np.asarray(image.convert("RGB" if image.mode == "P" else image.mode).convert("F"))
    except Exception as error:  # Pillow lets whatever a damaged file provokes through
        raise DataCorrupt(f"{path}: damaged pixels ({type(error).__name__}: {error}).", _AGAIN) from None
    if clear:
        raise DataCorrupt(f"{path}: a mask with transparent pixels.", "Save it as 8-bit grey, white on the object.")
    return np.asarray(grey > _THRESHOLD)


def check_names(where: str, names: Iterable[str]) -> None:
    """Raise ContractBroken where a view's name cannot be a file's, or is another's but for case."""
    taken: dict[str, str] = {}
    for name in names:
        odd = name in ("", ".", "..") or name[0] == "." or set(name) & {"/", "\\", "\0"}
        if odd or name.lower().endswith(ENDINGS) or name.encode(errors="ignore").decode() != name:
            raise ContractBroken(f"{where}: {name!r} cannot be the name of an image.", "Use the name of a file only.")
        if name.casefold() in taken:
            other = taken[name.casefold()]
            raise ContractBroken(
                f"{where}: {other!r} and {name!r} are one file, on some disks at least.", "Rename one."
            )
        taken[name.casefold()] = name


def only_split(folder: Path, splits: Iterable[str]) -> None:
    """Raise ContractBroken unless the one split is `train`: for formats whose views are all given."""
    if (names := list(splits)) != ["train"]:
        raise ContractBroken(
            f"{folder}: the splits are {', '.join(names) or 'none'}.",
            "The format holds out no views: give the views to learn from as train, and no other split.",
        )


def refuse_scene(folder: Path, *names: str) -> None:
    """Raise NfbenchError where one of `names` is in the folder, so that a scene is never written over another."""
    if any((folder / name).exists() for name in names):
        raise NfbenchError(f"{folder} holds a scene already.", "Choose another folder, or delete this one.")


def has_masks(views: Views) -> bool:
    """Whether views come with masks, in files of their own or as the alpha of the first image."""
    return views.load_mask is not None or (len(views) > 0 and views.image(0).shape[2] == 4)
