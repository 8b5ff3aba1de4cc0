"""What the formats of photographed scenes share: folders of images in several sizes, and the rule of every eighth view.

<scene>/images/         as photographed
<scene>/images_<N>/     the same, each side divided by N
"""

from __future__ import annotations

import os
import re
import struct
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError, Unsupported
from nfbench.harness.imagefile import ENDINGS, image_size, read_image
from nfbench.harness.png import MAX_PIXELS, read_header, write_png
from nfbench.harness.scene import Image, Views
from nfbench.loaders.listfile import within

HOLD = 8
"""Every eighth view is held out, from the first on: llffhold of bmild/nerf and google-research/multinerf."""

_COPY = re.compile(r"images(?:_([1-9]\d{0,2}))?")
_ROUNDING = 1.0  # pixels by which the side of a smaller copy may differ from the exact quotient
_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # SOF0-SOF15, ITU-T T.81 table B.1
_HEAD = 1024  # bytes that are read at first
_SEGMENT = struct.Struct(">BBHBHHB")  # of a frame header, up to the number of channels
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})  # without a length, same table


def is_picture(name: str) -> bool:
    """Whether a file is called as an image that can be read is; hidden files are not."""
    return name.lower().endswith(ENDINGS) and not name.startswith(".")


def stem(name: str) -> str:
    """The name of a view: its image's path without the ending, with _ between folder and file."""
    path = name.replace("\\", "/")
    return (path.rpartition(".")[0] if is_picture(path.rpartition("/")[2]) else path).replace("/", "_")


def leads_out(name: str) -> bool:
    """Whether a relative path that a file gives leads out of its folder, or is none, on any system."""
    path = name.replace("\\", "/")
    return "\0" in path or path.startswith("/") or path[1:2] == ":" or ".." in path.split("/")


def copies(scene: Path) -> dict[int, Path]:
    """The folders of images of a scene by the number their sides are divided by; 1 is `images`."""
    try:
        children = list(scene.iterdir())
    except OSError:
        return {}
    found = {}
    for child in children:
        match = _COPY.fullmatch(child.name)
        if match and child.is_dir():
            found[int(match[1] or 1)] = child
    return found


def chosen_copy(scene: Path, factor: int | None, order: Sequence[int]) -> tuple[int, Path]:
    """The number and the folder of the images to open: those of `factor`, or the first of `order` that is there.

    Raises:
        DataMissing: there is no such folder, or none at all.
    """
    there = copies(scene)
    known = ", ".join(there[n].name for n in sorted(there)) or "no folder of images"
    if factor is not None and factor not in there:
        name = "images" if factor == 1 else f"images_{factor}"
        raise DataMissing(f"{scene} has no {name}.", f"There is {known}.")
    if not there:
        raise DataMissing(f"{scene} has no folder images, images_2, images_4 or images_8.", "Download the images too.")
    number = factor if factor is not None else next((n for n in order if n in there), min(there))
    return number, there[number]


def pictures(folder: Path) -> list[str]:
    """The images of a folder, sorted by name.

    Raises:
        DataCorrupt: the folder cannot be read.
    """
    try:
        return sorted(name for name in os.listdir(folder) if is_picture(name))  # noqa: PTH208  # 3x as fast
    except OSError as error:
        raise DataCorrupt(
            f"{folder} cannot be read: {error.strerror}.", "Check its permissions and the disk."
        ) from None


def held_out(count: int) -> tuple[list[int], list[int]]:
    """Which of `count` views in order are for training and which for testing: every eighth, from 0 on.

    >>> held_out(10)[1]
    [0, 8]
    """
    return [i for i in range(count) if i % HOLD], list(range(0, count, HOLD))


def check_inside(scene: Path, files: Iterable[Path]) -> None:
    """Raise DataCorrupt where a file lies, after all links, outside of the scene's folder."""
    parents: dict[str, bool] = {}
    for file in files:
        path = str(file)  # as text: ten thousand paths are checked in a tenth of the time
        parent = path.rpartition(os.sep)[0]
        if parent not in parents:
            parents[parent] = within(scene, file.parent)
        if not parents[parent] or (os.path.islink(path) and not within(scene, file)):  # noqa: PTH114
            raise DataCorrupt(f"{file} lies outside of {scene}.", "Move it into the folder of the scene.")


def sizes(files: Sequence[Path]) -> NDArray[np.int32]:
    """(N,2) width and height in pixels by the headers alone.

    Raises as `imagefile.image_size` does, as far as the start of a file tells.
    """
    return np.array([_jpeg_size(file) or image_size(file) for file in files], np.int32).reshape(-1, 2)


def _jpeg_size(path: Path) -> tuple[int, int] | None:
    """Width and height of a JPEG by its frame header; None where Pillow has to be asked, which takes six times as long.

    ITU-T T.81, section B.2: segments of a marker and a length, up to the frame header.
    """
    name = str(path)
    if not name.lower().endswith((".jpg", ".jpeg")):
        return None
    try:
        file = os.open(name, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return None
    try:
        start, at = os.read(file, _HEAD), 2
        while start[:2] == b"\xff\xd8":
            if at + 10 > _HEAD or not start[at:]:  # behind a long segment, a thumbnail for one
                os.lseek(file, at, os.SEEK_SET)
                segment = os.read(file, 10)
            else:
                segment = start[at : at + 10]
            if len(segment) < 10 or segment[0] != 0xFF:
                return None
            _, marker, length, depth, high, wide, channels = _SEGMENT.unpack(segment)
            if marker in _FRAME_MARKERS:
                return (wide, high) if depth == 8 and channels == 3 and 0 < high * wide <= MAX_PIXELS else None
            if marker in _BARE_MARKERS or length < 2:
                return None
            at += 2 + length
    except OSError:
        return None
    finally:
        os.close(file)
    return None


def scaled(K: NDArray[np.float64], declared: NDArray[np.float64], actual: NDArray[np.int32]) -> NDArray[np.float64]:
    """Intrinsics (N,3,3) of images of `declared` (N,2) sizes for the same images resized to `actual` (N,2)."""
    by = np.concatenate([actual / declared, np.ones((len(K), 1))], axis=1)
    return np.asarray(K * by[:, :, None])


def check_sizes(files: Sequence[Path], declared: NDArray[np.float64], actual: NDArray[np.int32], factor: int) -> None:
    """Raise DataCorrupt where an image's size is not the `declared` (N,2) divided by `factor`."""
    allowed = 0.0 if factor == 1 else _ROUNDING
    bad = np.flatnonzero((np.abs(actual - declared / factor) > allowed).any(1))
    if len(bad):
        wide, high = declared[bad[0]].tolist()
        raise DataCorrupt(
            f"{files[bad[0]]}: {actual[bad[0], 0]}x{actual[bad[0], 1]} pixels; its camera says {wide:g}x{high:g}"
            + (f", divided by {factor}." if factor != 1 else "."),
            "Its cameras are of images of another size; fetch the images that belong to them.",
        )


@contextmanager
def naming(where: Path, names: Sequence[str]) -> Iterator[None]:
    """Errors of building Cameras or Views are told with the file and, in place of a number, the view's name."""
    try:
        yield
    except DataCorrupt as error:
        number = re.match(r"camera (\d+)", error.message)
        item = f" ({names[int(number[1])]})" if number else ""
        raise DataCorrupt(f"{where}{item}: {error.message}", error.hint or "Mend or drop this view.") from None


def views_of(scene: Path, cameras: Cameras, names: Sequence[str], files: Sequence[Path]) -> Views:
    """Views that read their images when asked.

    Raises:
        DataCorrupt: two of the same name, of `a.png` and `a.jpg` for one.
    """
    paths = tuple(files)
    with naming(scene, names):
        return Views(cameras, tuple(names), lambda i: read_image(paths[i]), files=paths)


def split_views(scene: Path, views: Views, test: Sequence[int]) -> dict[str, Views]:
    """`train` and `test` of all views of a scene, the views at `test` held out.

    Raises:
        DataCorrupt: no view is left in one of the two.
    """
    held = set(test)
    train = [i for i in range(len(views)) if i not in held]
    if not train or not held:
        rest = "test" if train else "train"
        raise DataCorrupt(
            f"{scene}: {len(views)} views, {len(held)} of them held out: none is left to {rest}.",
            f"Every {HOLD}th view is held out; a scene needs two at least.",
        )
    return {"train": views.subset(train), "test": views.subset(test)}


def in_order(folder: Path, splits: Mapping[str, Views]) -> list[tuple[str, str, int]]:
    """Name, split and index of all views of `train` and `test`, sorted as their files will be.

    Raises:
        ContractBroken: other splits than these, a name given twice, or one that cannot be a file's.
        NfbenchError: the folder is not empty.
    """
    if set(splits) != {"train", "test"}:
        raise ContractBroken(f"{folder}: the splits are {', '.join(splits)}.", "Give train and test.")
    if folder.exists() and any(folder.iterdir()):
        raise NfbenchError(f"{folder} holds something already.", "Choose another folder, or delete this one.")
    order = sorted(
        ((name, split, i) for split, views in splits.items() for i, name in enumerate(views.names)),
        key=lambda item: f"{item[0]}.png",
    )
    for (name, _, _), (other, _, _) in zip(order, [*order[1:], ("", "", 0)], strict=True):
        if name == other:
            raise ContractBroken(f"{folder}: two views are named {name!r}.", "Name the views of train and test apart.")
        check_name(folder, name)
    return order


def check_name(folder: Path, name: str) -> None:
    """Raise ContractBroken where a view's name cannot be the name of a file."""
    if name in ("", ".", "..") or set(name) & {"/", "\\", "\0", "\n", "\r"} or name[0] == "." or is_picture(name):
        raise ContractBroken(f"{folder}: {name!r} cannot be the name of an image.", "Use the name of a file only.")
    if name != name.strip() or not name.isprintable():
        raise ContractBroken(f"{folder}: {name!r} begins or ends with space, or is unprintable.", "Rename the view.")


def follows_the_rule(order: Sequence[tuple[str, str, int]]) -> bool:
    """Whether exactly every eighth view of an `in_order` is one of `test`."""
    return all((split == "test") == (i % HOLD == 0) for i, (_, split, _) in enumerate(order))


def write_pictures(folder: Path, order: Sequence[tuple[str, str, int]], splits: Mapping[str, Views]) -> None:
    """Write `<folder>/images/<name>.png` for all views of an `in_order`."""
    for name, split, index in order:
        write_png(folder / "images" / f"{name}.png", splits[split].image(index))


def grey_pixels(path: Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """(H,W) values of a grey PNG of 8 or 16 bits, or the largest colour of a coloured one: masks and depths.

    Raises:
        DataMissing, DataCorrupt: as `png.read_header` does, and for damaged pixels or too many.
    """
    header = read_header(path)
    if header.width * header.height > MAX_PIXELS or header.width * header.height < 1:
        raise DataCorrupt(f"{path}: {header.width}x{header.height} pixels.", "Scale it down, or write it again.")
    from PIL.PngImagePlugin import PngImageFile

    try:
        with warnings.catch_warnings(action="ignore"), path.open("rb") as file:
            image: Image = np.asarray(PngImageFile(file))
    except Exception as error:  # Pillow lets whatever a damaged file provokes through
        raise DataCorrupt(f"{path}: damaged pixels ({error}).", "Download or copy the file again.") from None
    if image.dtype not in (np.uint8, np.uint16, np.bool_):
        raise Unsupported(f"{path}: pixels of {image.dtype}.", "Save it as a grey PNG of 8 or 16 bits.")
    channels = 1 if header.channels == 2 else 3  # the last of two, or of four, is alpha
    values = image[:, :, :channels].max(2) if image.ndim == 3 else image
    return values.astype(np.uint8) if values.dtype == np.bool_ else values


def mapped_array(path: Path) -> NDArray[np.generic]:
    """The array of an NPY file, mapped: its header may declare what is not there. Nothing is unpickled.

    Raises:
        DataCorrupt: it cannot be read, or is an NPZ of several arrays.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # about headers that Python 2 wrote, and damaged ones
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy's reader lets whatever a damaged header provokes through
        raise DataCorrupt(f"{path} cannot be read as NPY: {error}", "Fetch it, or write it, again.") from None
    if not isinstance(array, np.ndarray):
        raise DataCorrupt(f"{path} holds several arrays.", "Write one array with numpy.save.")
    return array
