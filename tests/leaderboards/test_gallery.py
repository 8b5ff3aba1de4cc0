import base64
import io

import numpy as np
from PIL import Image

from nfbench.leaderboards.gallery import thumbnail


def decoded(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_thumbnails_are_small_and_true(tmp_path):
    path = tmp_path / "x.png"
    x, y = np.meshgrid(np.linspace(0, 255, 800), np.linspace(0, 255, 400))
    Image.fromarray(np.stack([x, y, 255 - x], -1).astype(np.uint8)).save(path)
    small = decoded(thumbnail(path))
    assert small.size == (200, 100)
    reference = np.asarray(Image.open(path).resize((200, 100), Image.Resampling.BOX), np.float64)
    assert np.abs(np.asarray(small.convert("RGB"), np.float64) - reference).mean() < 2
    Image.fromarray(np.zeros((20, 10, 3), np.uint8)).save(path)
    assert decoded(thumbnail(path)).size == (10, 20)
