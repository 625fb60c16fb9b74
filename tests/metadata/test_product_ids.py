"""File names of the missions are read; any other name gives None."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpdisc_core.metadata.product_ids import ProductId, parse_product_id


def parse(name: str) -> ProductId:
    product = parse_product_id(name)
    assert product is not None, name
    return product


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "0003ML0000000110100031E01_DRCL.JPG",
            {
                "mission": "msl",
                "instrument": "MAST_LEFT",
                "sol": 3,
                "sequence": "000000",
                "thumbnail": False,
                "sclk": None,
            },
        ),
        ("3060ML0159860360308509C00_DRXX_1.1.IMG", {"instrument": "MAST_LEFT", "sol": 3060, "sequence": "015986"}),
        ("0003MH0000000110100031I01_DXXX", {"instrument": "MAHLI", "thumbnail": True}),
        ("CRU_MD0000000110100031E01_XXXX.LBL", {"instrument": "MARDI", "sol": None}),
        (
            "NLB_486265257EDR_F0481570NCAM00323M_",
            {
                "mission": "msl",
                "instrument": "NAV_LEFT_B",
                "sclk": 486265257.0,
                "site": 48,
                "drive": 1570,
                "sol": None,
                "sequence": "NCAM00323",
                "thumbnail": False,
            },
        ),
        ("opgs/edr/fcam/FRA_397506434EDR_T0010000AUT_04096M1.JPG", {"instrument": "FHAZ_RIGHT_A", "thumbnail": True}),
        ("CR0_678286536EDR_F0891862CCAM02163M_.JPG", {"instrument": "CHEMCAM_RMI", "site": 89, "drive": 1862}),
        (
            "ZL6_1484_0798697293_098ECM_N0730000ZCAM01022_034080J",
            {
                "mission": "mars2020",
                "instrument": "MCZ_LEFT",
                "filter": "L6",
                "sol": 1484,
                "sclk": 798697293.098,
                "site": 73,
                "drive": 0,
                "sequence": "ZCAM01022",
                "thumbnail": False,
            },
        ),
        (
            "ESF_0000_0666965708_609ECM_N0010052EDLC00000_0000LUJ01_1200.jpg",
            {"instrument": "EDL_DDCAM", "filter": "F", "sol": 0},
        ),
        (
            "nrm_0002_0667130166_842ecm_t0010052aut_04096_00_4i1j01.png",
            {"instrument": "NAVCAM_RIGHT", "filter": "M", "thumbnail": True, "sequence": "AUT_04096"},
        ),
        ("QQ__0100_0675828717_276ECM_N0040218QCAM00503_01_295J", {"instrument": "QQ", "filter": ""}),
        (
            "1N128455831EFF0200P1505L0M1.IMG",
            {"mission": "mer-b", "instrument": "NAVCAM_LEFT", "sclk": 128455831.0, "site": 2, "drive": 0, "filter": ""},
        ),
        (
            "2P126471340ETH0200P2600L7M1.JPG",
            {"mission": "mer-a", "instrument": "PANCAM_LEFT", "filter": "L7", "thumbnail": True},
        ),
    ],
)
def test_fields_of_product_names(name: str, expected: dict[str, object]) -> None:
    """Each field of each naming rule, with folders and suffixes, in either case."""
    fields = dataclasses.asdict(parse(name))
    assert {field: fields[field] for field in expected} == expected


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        ("0003ML0000000110100031D01_DRCL", "0003ML0000000110100031E01_DRCL"),  # gray JPEG < color JPEG
        ("0003ML0000000110100031E01_DRCL", "0003ML0000000110100031C00_DRCL"),  # JPEG < lossless, whatever the version
        ("0003ML0000000110100031E01_DRCL", "0003ML0000000110100031E02_DRCL"),
        ("NLB_486265257EDR_D0481570NCAM00323M1", "NLB_486265257EDR_F0481570NCAM00323M1"),  # downsampled < full
        ("NLB_486265257EDR_F0481570NCAM00323M1", "NLB_486265257EDR_F0481570NCAM00323M_"),  # `_` comes after Z
        (
            "ZL0_0180_0682919878_394ECM_N0062666ZCAM03014_048095J02",
            "ZL0_0180_0682919878_394ECM_N0062666ZCAM03014_0480LMJ01",
        ),
        (
            "ZL0_0180_0682919878_394ECM_N0062666ZCAM03014_0481LMJ01",
            "ZL0_0180_0682919878_394ECM_N0062666ZCAM03014_048050J01",
        ),
        (
            "ZL0_0180_0682919878_394ECM_N0062666ZCAM03014_048085J01",
            "ZL0_0180_0682919878_394ECM_N0062666ZCAM03014_048085J02",
        ),
        ("1N128455831EDN0200P1505L0M1", "1N128455831EFF0200P1505L0M1"),
    ],
)
def test_versions_of_a_product_are_ordered_by_quality(worse: str, better: str) -> None:
    """The better of two versions of a product has the higher quality."""
    assert parse(worse).product == parse(better).product
    assert parse(worse).quality < parse(better).quality


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("0003ML0000000110100031E01_DRCL", "0003ML0000000110100031E01_DRXX"),  # another processing
        ("0003ML0000000110100031E01_DRCL", "0003ML0000000110200031E01_DRCL"),  # the number used for a second time
        ("0003MH0000000110100031E01_DRCL", "0003MH0000000110100031S01_DRCL"),  # a range map
        ("0003ML0000000110100031M01_DRCL", "0003ML0000000110100031M11_DRCL"),  # another frame of a film
        (
            "NLF_0009_0667755636_926ECM_N0030000NCAM05000_01_295J",
            "NLF_0009_0667755636_926ECM_N0030000NCAM05000_02_295J",
        ),
        (
            "ZL5_1484_0798697293_098ECM_N0730000ZCAM01022_034080J",
            "ZL6_1484_0798697293_098ECM_N0730000ZCAM01022_034080J",
        ),
        ("1N128455831EFF0200P1505L0M1", "1N128455831FFL0200P1505L0M1"),
    ],
)
def test_tiles_filters_and_processings_are_different_products(first: str, second: str) -> None:
    """None of them supersedes another."""
    assert parse(first).product != parse(second).product


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "photo.jpg",
        "0003.JPG",
        "C000M0190_613408865EDR_F0000_0461M_.JPG",
        "NRF_1646_0813073669",
        "٠٠٠٣ML0000000110100031E01",
        "0003ML0000000110100031E01_DRCL" * 500,
        "0003ML0000000110100031E01/readme.txt",
    ],
)
def test_other_names_are_not_products(name: str) -> None:
    """Also names that are nearly a product's."""
    assert parse_product_id(name) is None


_SHAPED = st.from_regex(
    r"[0-9A-Za-z_]{4}(M[LRHD]|[A-Z]{2})[0-9A-Z_]{16}[A-U][0-9A-F][0-9A-Z](_[A-Z]{4})?|[12][EFMNPR][0-9]{9}[A-Z]{3}[0-9A-Z#]{4}"
    r"[A-Z][0-9]{4}[LRBMN][0-9A-Z]{2}[0-9A-Z_]|[A-Z]{2}[0-9A-Z_]{2}[0-9A-Z]{4}_[0-9]{10}_[0-9]{3}[A-Z0-9]{3}_[NT][0-9A-Z_]{16}"
    r"_[0-9A-Z_]{3}[0-9_][0-9A-Z_]{2}[A-Z_]([0-9A-Z_]{2})?",
    fullmatch=True,
)


@given(st.one_of(st.text(), _SHAPED))
def test_any_name_gives_a_product_or_none(name: str) -> None:
    """Whatever a file is called."""
    product = parse_product_id(name)
    assert product is None or (product.quality >= 0 and product.product.startswith(product.mission))
