"""The images of a scene, those in one of its folders or those that its annotations name, looked at by their headers."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError
from nfbench.harness.imagefile import ENDINGS, image_size
from nfbench.harness.png import MAX_PIXELS, read_header
from nfbench.harness.scene import Views
from nfbench.loaders.listfile import within

_THRESHOLD = 127.5  # lioryariv/idr code/utils/rend_util.py load_mask: grey above it, of 0 to 255, is foreground
_OFF_CENTRE = 0.2  # of the size of the image; cameras for twice its size are 0.5 off, for half of it 0.25
_LEAST_FOCAL = 1e-3  # of the size of the image: all but half a turn in view
_AGAIN = "Download or copy the file again."
_WHOLE = "Download or copy the scene again."


def images_in(
    folder: Path, root: Path, endings: tuple[str, ...] = ENDINGS, skip: tuple[str, ...] = ()
) -> dict[str, Path]:
    """The images in `folder` by name, without the ending, sorted by name; other files and hidden ones are left out.

    Args:
        folder: holds the images.
        root: the scene's folder, out of which no link may lead.
        endings: of files that count, in lower case.
        skip: ends of names, without ending, of images to leave out.

    Raises:
        DataMissing: no such folder, or no image in it.
        DataCorrupt: two images of one name, or a link out of `root`.
    """
    try:
        with os.scandir(folder) as entries:  # tells links from files without another look at each
            there = sorted((entry.name, entry.is_symlink()) for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        raise DataMissing(f"There is no folder {folder}.", _WHOLE) from None
    except OSError as error:
        raise DataCorrupt(f"{folder} cannot be read: {error.strerror}.", "Check its permissions.") from None
    files = [(folder / name, linked) for name, linked in there if name.lower().endswith(endings) and name[0] != "."]
    files = [(file, linked) for file, linked in files if not file.stem.endswith(skip)]
    if not files:
        what = "images" if endings == ENDINGS else " or ".join(endings)
        raise DataMissing(f"{folder} holds no {what}.", _WHOLE)
    inside = within(root, folder)
    found: dict[str, Path] = {}
    for file, linked in files:
        if not inside or (linked and not within(root, file)):
            raise DataCorrupt(f"{file} lies outside of {root}.", "Copy what the link leads to into the scene.")
        if file.stem in found:
            raise DataCorrupt(f"{folder} holds {found[file.stem].name} and {file.name}.", "Take one of the two away.")
        found[file.stem] = file
    return found


def beside(
    images: Mapping[str, Path],
    sizes: Iterable[Sequence[int]],
    found: Mapping[str, Path],
    size_of: Callable[[Path], tuple[int, int]],
) -> list[Path]:
    """The masks or depth maps among `found` that go with `images`, by name and in their order.

    Args:
        images: by name.
        sizes: width and height of each of them.
        found: masks or depth maps by name, at least one.
        size_of: tells width and height of one of those.

    Raises:
        DataMissing: an image has none.
        DataCorrupt: one is of another size than its image.
    """
    for name, size in zip(images, sizes, strict=True):
        if name not in found:
            raise DataMissing(f"{next(iter(found.values())).parent} has nothing for image {name}.", _WHOLE)
        if size_of(found[name]) != tuple(size):
            raise DataCorrupt(f"{found[name]} is not of the size of its image, {size[0]}x{size[1]}.", _WHOLE)
    return [found[name] for name in images]


class NamedFiles:
    """The files that the annotations of a folder name, made sure to lie in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.inside: dict[Path, bool] = {}

    def of(self, label: str, frame: Mapping[str, Any], what: str, key: str) -> Path:
        """The file that `frame[what][key]` names, relative to the folder two above.

        Raises:
            DataCorrupt: it names none, or one outside of the folder.
        """
        part = frame.get(what)
        text = part.get(key) if isinstance(part, dict) else None
        if not isinstance(text, str) or "\0" in text or not text.isprintable() or not PurePosixPath(text).name:
            raise DataCorrupt(f"{label}: {what} has no usable {key}: {text!r}.", "Download the annotations again.")
        file = self.folder.parent.parent / PurePosixPath(text)
        if file.parent not in self.inside:
            self.inside[file.parent] = within(self.folder, file.parent)
        if not self.inside[file.parent] or (file.is_symlink() and not within(self.folder, file)):
            raise DataCorrupt(f"{label}: {what} {text} lies outside of {self.folder}.", "Was a folder renamed?")
        return file


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
