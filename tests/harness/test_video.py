import importlib.util

import numpy as np
import pytest
from PIL import Image

from nfbench.harness import video
from nfbench.harness.errors import NfbenchError, Unsupported

FRAMES = [np.full((11, 13, 3), (60 * k, 200 - 60 * k, 90), np.uint8) for k in range(4)]


@pytest.mark.parametrize("ending", [".webp", ".gif", ".png", ".WEBP"])
def test_films_of_pillow_come_back(tmp_path, ending):
    path = tmp_path / "sub" / f"film{ending}"
    video.write_film(path, FRAMES, 2.0)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    with Image.open(path) as film:
        assert film.n_frames == 4
        for k in range(4):
            film.seek(k)
            film.load()
            assert film.info["duration"] == 500
            assert np.abs(np.asarray(film.convert("RGB"), int) - FRAMES[k]).max() < 8


def test_mp4_comes_back_or_names_the_extra(tmp_path, monkeypatch):
    path = tmp_path / "film.mp4"
    if importlib.util.find_spec("av") is not None:
        import av

        video.write_film(path, FRAMES, 2.0)
        with av.open(str(path)) as film:
            frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
            assert float(film.streams.video[0].average_rate) == pytest.approx(2)
        assert len(frames) == 4
        assert frames[0].shape == (12, 14, 3)  # by twos
        assert np.abs(frames[2].astype(int)[:11, :13] - FRAMES[2]).max() < 16

    def absent(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(video, "import_module", absent)
    with pytest.raises(Unsupported, match=r"nfbench\[video\]"):
        video.check_ending(path)


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(NfbenchError, match="like a film"):
        video.write_film(tmp_path / "film.avi", FRAMES, 1.0)
