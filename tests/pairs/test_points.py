"""Points on a device: the kernel as it is, run on cores, and compiled for cards; its bits are those of the products."""

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupegrid.pairs import points
from tests.conftest import ROOT

KERNEL = files("dupegrid.pairs").joinpath("near_bits.cu")
ROWS, COLUMNS = np.array([0, 2, 1, 2]), np.array([1, 0, 2, 2])  # of squares


@given(
    count=st.integers(1, 40),
    components=st.sampled_from([3, 23, 24]),
    norm=st.sampled_from([0, 500, 31_900]),
    spread=st.sampled_from([0.6, 20.0, 900.0]),
    within=st.sampled_from([0.0, 1.0, 170.0, 1_800.0, 64_000.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_rows_of_points_near_each_other_have_a_product_below_zero_with_room_for_rounding(
    count: int, components: int, norm: float, spread: float, within: float, seed: int
) -> None:
    """Their product in float64 is below zero by more than what is granted to rounding."""
    random = np.random.default_rng(seed)
    centre = random.normal(0, 1, components)
    some = np.round(centre * norm / np.linalg.norm(centre) + random.normal(0, spread, (count, components)))
    some[count // 2 :] = some[: count - count // 2] + np.round(random.uniform(-1, 1, components) * within / 5)
    some = np.clip(some, -32_768, 32_767)  # cosines are int16, which others would wrap round
    apart = np.sqrt(((some[:, None] - some[None]) ** 2).sum(axis=2))
    both = points.operands(some.astype(np.int16), np.array([0, count]), 64, within)
    for side in both:
        np.testing.assert_array_equal(side.astype(np.float16), side)
    left, right = (side[0].astype(np.float64) for side in both)
    products, magnitudes = left @ right.T, abs(left) @ abs(right).T
    inner = products[:count, :count] + 63 * 2.0**-22 * magnitudes[:count, :count]
    assert (inner[apart <= within] < 0).all()
    assert (products[count:] > 0).all()
    assert (products[:, count:] > 0).all()


@pytest.mark.parametrize("norm", [100, 2_000, 31_000])
@pytest.mark.parametrize(("bits", "block"), [(24, 8), (25, 16), (23, 4)])
def test_what_tensor_cores_cut_off_loses_no_pair(bits: int, block: int, norm: int) -> None:
    """Those of Ampere, of Hopper and later, and of Volta, the coarsest of all, as MMA-Sim has them (arXiv:2511.10909).

    Points are float16 as they are, and all pairs as far apart as is near, so that no other room is left.
    """
    random, step, count = np.random.default_rng(bits), max(1, norm // 1_000), 3_000
    some = random.normal(0, 1, (count, 24)) * 2.0 ** -random.integers(0, 9, (count, 24))
    some = np.round(some / np.linalg.norm(some, axis=1, keepdims=True) * norm / step) * step
    difference = random.integers(-3, 4, 24) * step
    others = some + random.permuted(np.tile(difference, (count, 1)), axis=1)
    within = float(np.linalg.norm(difference)) * (1 + 1e-12)
    both = np.concatenate([some, others]).astype(np.int16)
    (left, _), (_, right) = points.operands(both, np.array([0, count, 2 * count]), count, within)
    order = random.permutation(points.WIDTH)
    left, right = (side[:, order].astype(np.float64) for side in (left, right))
    sums = by_tensor_cores(left, right, bits, block)
    assert (sums < 0).all()
    rounding = points.WIDTH / block * ((block + 1) * 2.0**-bits + 2.0**-23)
    assert (abs(sums - (left * right).sum(axis=1)) <= rounding * abs(left * right).sum(axis=1)).all()
    assert rounding < 32 * 2.0**-22  # half of what is granted


def by_tensor_cores(left: Any, right: Any, bits: int, block: int) -> Any:
    """Inner products of paired rows: exact, but so many at once, and the sum so far, are cut off below the largest."""
    sums = np.zeros(len(left))
    for start in range(0, points.WIDTH, block):
        products = (left * right)[:, start : start + block]
        terms = np.concatenate([products, sums[:, None]], axis=1)
        sums = cut_off(terms, abs(terms).max(axis=1)[:, None], bits).sum(axis=1)
        sums = cut_off(sums, sums, 23)
    return sums


def cut_off(values: Any, largest: Any, bits: int) -> Any:
    unit = np.exp2(np.frexp(largest)[1] - 1.0 - bits)
    return np.trunc(values / unit) * unit


@pytest.fixture(scope="module")
def on_cores(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    library = tmp_path_factory.mktemp("warp") / "warp.so"
    source, options = ROOT / "tests/helpers/warp.cpp", ["-std=c++17", "-O1", "-shared", "-fPIC"]
    subprocess.run(["g++", *options, f'-DKERNEL="{KERNEL}"', "-o", library, source], check=True)
    return ctypes.CDLL(str(library)).on_cores


@pytest.mark.parametrize(("side", "threads"), [(64, 256), (192, 64)])
def test_the_kernel_finds_what_the_products_find(side: int, threads: int, on_cores: Callable[..., Any]) -> None:
    random = np.random.default_rng(side)
    some = np.round(random.normal(0, 300, (2 * side, 23))).astype(np.int16)
    both = points.operands(some, np.array([0, side, side + 5, 2 * side]), side, 1_500.0)
    halves = [np.ascontiguousarray(rows.astype(np.float16)) for rows in both]
    bits = np.full((len(ROWS), side // 16, side // 8, 4), 0xA5A5A5A5, np.uint32)
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (*halves, ROWS, COLUMNS)]
    on_cores(*pointers, side, ctypes.c_void_p(bits.ctypes.data), len(ROWS), -(-side // (threads * 2)), threads)
    by_bits = np.stack(points._by_bits(bits))
    by_products = np.stack(points.near(*both, ROWS, COLUMNS))
    assert 100 < by_products.shape[1] < len(ROWS) * side**2 / 2
    np.testing.assert_array_equal(by_bits[:, np.lexsort(by_bits)], by_products[:, np.lexsort(by_products)])


@pytest.mark.parametrize("card", ["sm_80", "sm_90"])
def test_the_kernel_compiles(card: str) -> None:
    """By NVIDIA's compiler from a wheel, which needs neither a card nor a driver."""
    nvrtc = pytest.importorskip("nvidia.cuda_nvrtc", reason="pip install nvidia-cuda-nvrtc-cu12")
    (library,) = Path(nvrtc.__path__[0]).glob("lib/libnvrtc.so.*")
    compiler, program, log = ctypes.CDLL(str(library)), ctypes.c_void_p(), ctypes.create_string_buffer(1 << 16)
    text = KERNEL.read_text(encoding="utf-8")
    assert not compiler.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"near_bits.cu", 0, None, None)
    options = (ctypes.c_char_p * 1)(f"--gpu-architecture={card}".encode())
    failed = compiler.nvrtcCompileProgram(program, 1, options)
    compiler.nvrtcGetProgramLog(program, log)
    assert not failed, log.value.decode()
    assert not log.value.strip(b"\0"), log.value.decode()
    assert "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32" in text  # what tests/helpers/warp.cpp does
