import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from nfbench.harness import feature_cache, lpips
from nfbench.harness.feature_cache import FeatureCache
from nfbench.harness.lpips_networks import NETWORKS

BYTES = 4 * (8 * 8 * 64 + 3 * 3 * 192 + 1 * 384 + 1 * 256 + 1 * 256)  # of the taps of a 35x35 image


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "alex.pth"
    generator = torch.Generator().manual_seed(0)
    named = NETWORKS["alex"].trunk().named_parameters()
    torch.save({f"features.{n}": torch.randn(p.shape, generator=generator) * 0.03 for n, p in named}, path)
    return lpips.load("alex", path)


@pytest.fixture
def computed(monkeypatch):
    """The images whose features were computed, not read."""
    images = []
    compute = lpips.features

    def counted(model, image, **choices):
        images.append(image)
        return compute(model, image, **choices)

    monkeypatch.setattr(feature_cache, "features", counted)
    return images


def truth(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (35, 35, 3), dtype=np.uint8)


def same(a, b):
    assert (a.net, a.version, a.size, a.normalised) == (b.net, b.version, b.size, b.normalised)
    return len(a.taps) == len(b.taps) and all(torch.equal(x, y) for x, y in zip(a.taps, b.taps, strict=True))


def files(folder):
    return sorted(folder.iterdir())


def age(file, seconds):
    os.utime(file, (time.time() - seconds,) * 2)


def test_features_are_computed_once_and_the_same(model, computed, tmp_path):
    cache = FeatureCache(tmp_path / "new" / "folder")
    expected = lpips.features(model, truth())
    for _ in range(3):
        assert same(cache.features(model, truth()), expected)
    assert same(FeatureCache(cache.folder).features(model, truth()), expected)
    assert len(computed) == 1
    assert [f.suffix for f in files(cache.folder)] == [".safetensors"]
    prediction = truth(1)
    read = cache.features(model, truth())
    assert lpips.distance_to(model, prediction, read) == float(lpips.distance(model, prediction, truth()))


def test_the_limit_is_4_gib(tmp_path):
    assert FeatureCache(tmp_path).limit == feature_cache.LIMIT == 4 * 1024**3


def test_all_that_features_depend_on_is_in_the_key(model, computed, tmp_path, monkeypatch):
    cache = FeatureCache(tmp_path)
    image = truth()
    other = image.copy()
    other[34, 34, 2] ^= 1
    cache.features(model, image)
    cache.features(model, other)
    cache.features(model, image, normalised=False)
    cache.features(model, (image / 255).astype(np.float32))
    cache.features(model, np.ascontiguousarray(image.reshape(-1)[: 34 * 35 * 3].reshape(34, 35, 3)))
    older = lpips.Lpips("alex", "0.0").requires_grad_(False)
    older.load_state_dict(model.state_dict())
    cache.features(older, image)
    changed = lpips.Lpips("alex").requires_grad_(False)
    cache.features(changed, image)
    monkeypatch.setattr(torch, "__version__", "0")
    cache.features(model, image)
    monkeypatch.undo()
    monkeypatch.setattr(feature_cache, "FORMAT", 2)
    cache.features(model, image)
    assert len(files(tmp_path)) == 9


def test_the_shape_is_in_the_key(model):
    flat = np.zeros((40, 50, 3), np.uint8)
    assert feature_cache._key(model, flat, True) != feature_cache._key(model, flat.reshape(50, 40, 3), True)


def test_strided_images_have_the_key_of_their_copy(model):
    image = truth()[:, ::-1]
    assert feature_cache._key(model, image, True) == feature_cache._key(model, image.copy(), True)
    assert len(feature_cache._key(model, image, True)) == 64


def flip(file):
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)


def without_checks(file):
    save_file(load_file(file), file)


def other_shape(file):
    taps = load_file(file)
    checks = feature_cache._checks([taps[str(i)] for i in range(5)])
    taps["4"] = taps["4"].reshape(256)
    save_file(taps, file, {"checks": checks})


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        without_checks,
        other_shape,
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(b"something else"),
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.write_bytes(bytes(file.stat().st_size)),
        lambda file: save_file({"a": torch.zeros(3)}, file, {"checks": ""}),
    ],
)
def test_damaged_files_are_written_again(model, computed, tmp_path, damage):
    cache = FeatureCache(tmp_path)
    expected = cache.features(model, truth())
    (file,) = files(tmp_path)
    content = file.read_bytes()
    damage(file)
    assert same(cache.features(model, truth()), expected)
    assert len(computed) == 2
    assert files(tmp_path) == [file]
    assert file.read_bytes() == content


def size_of_one(model, tmp_path):
    FeatureCache(tmp_path / "one").features(model, truth())
    (file,) = files(tmp_path / "one")
    return file.stat().st_size


def test_the_least_recently_used_goes_first(model, computed, tmp_path):
    size = size_of_one(model, tmp_path)
    cache = FeatureCache(tmp_path / "cache", limit=2 * size + BYTES)
    names = []
    for seed in range(3):
        cache.features(model, truth(seed))
        (new,) = set(files(cache.folder)) - set(names)
        names.append(new)
        age(new, 10000 - seed)
    cache.features(model, truth(0))  # used now
    cache.features(model, truth(3))
    assert not names[1].exists()
    assert names[0].exists()
    assert names[2].exists()
    assert len(files(cache.folder)) == 3


def test_the_limit_is_kept_to_the_byte(model, tmp_path):
    size = size_of_one(model, tmp_path)
    for limit, count in ((size + BYTES, 2), (size + BYTES - 1, 1)):
        cache = FeatureCache(tmp_path / str(limit), limit)
        cache.features(model, truth(0))
        (first,) = files(cache.folder)
        cache.features(model, truth(1))
        assert len(files(cache.folder)) == count
        age(first, 4000)
        cache.features(model, truth(2))
        assert not first.exists()
        assert len(files(cache.folder)) == count


def test_files_in_use_stay(model, computed, tmp_path):
    size = size_of_one(model, tmp_path)
    cache = FeatureCache(tmp_path / "cache", limit=size + BYTES)
    for _ in range(2):
        for seed in range(4):
            cache.features(model, truth(seed))
    assert len(files(cache.folder)) == 2
    assert len(computed) == 1 + 4 + 2
    used, older = files(cache.folder)
    age(used, feature_cache.RESTING - 60)
    age(older, feature_cache.RESTING + 60)
    cache.features(model, truth(9))
    assert used.exists()
    assert not older.exists()


def test_nothing_is_removed_in_vain(model, tmp_path):
    cache = FeatureCache(tmp_path)
    cache.features(model, truth(0))
    (file,) = files(tmp_path)
    age(file, 4000)
    FeatureCache(tmp_path, limit=BYTES - 1).features(model, truth(1))
    assert files(tmp_path) == [file]


def test_foreign_files_are_left_alone_and_do_not_count(model, tmp_path):
    key = "0" * 64
    foreign = [
        tmp_path / name for name in ("mine.safetensors", f"{key}.safetensors", f"lpips-{key}.npz", "lpips-a.part")
    ]
    for file in foreign:
        file.write_bytes(bytes(100_000))
        age(file, 4000)
    cache = FeatureCache(tmp_path, limit=BYTES)
    cache.features(model, truth())
    assert len(files(tmp_path)) == 5
    assert all(file.exists() for file in foreign)


def test_partial_files_of_dead_writers_go(model, tmp_path):
    old, new = (tmp_path / f".lpips-{'0' * 64}.safetensors.{name}.part" for name in ("old", "new"))
    for file in (old, new):
        file.write_bytes(b"half")
    age(old, 4000)
    FeatureCache(tmp_path).features(model, truth())
    assert not old.exists()
    assert new.exists()


def full(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("broken", ["save_file", "replacing"])
def test_a_full_disk_costs_nothing_but_time(model, computed, tmp_path, monkeypatch, broken):
    monkeypatch.setattr(feature_cache, broken, full)
    cache = FeatureCache(tmp_path)
    expected = lpips.features(model, truth())
    for _ in range(2):
        assert same(cache.features(model, truth()), expected)
    assert len(computed) == 2
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_made(model, tmp_path):
    (tmp_path / "file").write_text("in the way")
    found = FeatureCache(tmp_path / "file" / "folder").features(model, truth())
    assert same(found, lpips.features(model, truth()))
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_read_only_folder_still_serves(model, computed, tmp_path, monkeypatch):
    cache = FeatureCache(tmp_path)
    cache.features(model, truth())
    monkeypatch.setattr(os, "utime", full)
    cache.features(model, truth())
    assert len(computed) == 1


def test_files_that_cannot_be_removed_stay_counted(model, tmp_path, monkeypatch):
    cache = FeatureCache(tmp_path, limit=BYTES)
    cache.features(model, truth(0))
    (file,) = files(tmp_path)
    age(file, 4000)
    monkeypatch.setattr(type(file), "unlink", full)
    cache.features(model, truth(1))
    assert files(tmp_path) == [file]


def test_many_at_once(model, tmp_path):
    cache = FeatureCache(tmp_path)
    expected = [lpips.features(model, truth(seed)) for seed in range(3)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: cache.features(model, truth(i % 3)), range(24)))
    assert all(same(f, expected[i % 3]) for i, f in enumerate(found))
    assert len(files(tmp_path)) == 3
    assert all(f.suffix == ".safetensors" for f in files(tmp_path))
