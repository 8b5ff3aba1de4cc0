import pytest

from nfbench.harness.errors import NfbenchError, NotFound
from nfbench.harness.gap_reported import FAMILIES, read_reported


@pytest.mark.parametrize(
    ("text", "family", "value", "precision"),
    [
        ("psnr=31.0", "psnr", 31.0, 0.05),
        ("PSNR=31", "psnr", 31.0, 0.5),
        ("psnr=31.", "psnr", 31.0, 0.5),
        ("ssim=.947", "ssim", 0.947, 0.0005),
        ("MS-SSIM=0.98", "ms_ssim", 0.98, 0.005),
        ("lpips_vgg=.08", "lpips", 0.08, 0.005),
        ("iou=57.1%", "iou", 0.571, 0.0005),
        ("iou = 57 %", "iou", 0.57, 0.005),
        ("cd=2.5e-3", "chamfer", 0.0025, 0.00005),
        ("Chamfer-L1=1E+2", "chamfer", 100, 50),
        ("chamfer_sq_sum=-1.5", "chamfer", -1.5, 0.05),
        ("fscore@r0.01=0.9", "fscore", 0.9, 0.05),
        ("F1(0.01)=0.9", "fscore", 0.9, 0.05),
        ("f=+0.9", "fscore", 0.9, 0.05),
        ("nc=.9", "normal_consistency", 0.9, 0.05),
        ("acc=.9", "accuracy", 0.9, 0.05),
        ("comp=.9", "completeness", 0.9, 0.05),
        ("hd=.9", "hausdorff", 0.9, 0.05),
        ("prec=.9", "precision", 0.9, 0.05),
        ("rec=.9", "recall", 0.9, 0.05),
    ],
)
def test_a_number_is_read_with_its_precision(text, family, value, precision):
    ((name, read),) = read_reported(text).items()
    assert name == read.name == text.partition("=")[0].strip()
    assert read.family is FAMILIES[family]
    assert read.value == pytest.approx(value, rel=1e-12)
    assert read.precision == pytest.approx(precision, rel=1e-12)


def test_several_numbers_keep_their_order_and_names():
    read = read_reported(" ssim=.9, psnr=30.00 ,lpips_alex=.1,lpips_vgg=.2,")
    assert list(read) == ["ssim", "psnr", "lpips_alex", "lpips_vgg"]
    assert read["psnr"].precision == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("psrn=3", NotFound, ("psrn", "psnr")),
        ("chamfre=3", NotFound, ("chamfre", "chamfer")),
        ("psnr", NfbenchError, ("name=value", "psnr=31.0")),
        ("=3", NfbenchError, ("name=value",)),
        ("psnr=good", NfbenchError, ("psnr='good'", "no number")),
        ("psnr=nan", NfbenchError, ("no number",)),
        ("psnr=.", NfbenchError, ("no number",)),
        ("psnr=1,psnr=2", NfbenchError, ("psnr twice",)),
        ("", NfbenchError, ("No number",)),
        (" , ", NfbenchError, ("No number",)),
    ],
)
def test_what_cannot_be_read_is_named(text, error, words):
    with pytest.raises(error) as caught:
        read_reported(text)
    for word in words:
        assert word in f"{caught.value.message} {caught.value.hint}"
