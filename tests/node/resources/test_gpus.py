"""GPUs are found by what their drivers say, and a machine without any says why."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.node.resources.gpus import devices_of, environment_of, find_gpus, lent
from potluck.overlay.errors import ConfigError
from potluck.overlay.ports import Gpu

NOWHERE = Path("/nonexistent")


class DriverError(Exception):
    pass


class Library:
    """As much of NVML as is used."""

    NVMLError = DriverError

    def __init__(self, count: int, *, fails_at: str = "") -> None:
        self.count = count
        self.fails_at = fails_at
        self.shut_down = False

    def _call(self, name: str) -> None:
        if name == self.fails_at:
            raise DriverError(f"{name} does not work")

    def nvmlInit(self) -> None:  # noqa: N802
        self._call("nvmlInit")

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.shut_down = True

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        self._call("nvmlDeviceGetCount")
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        self._call("nvmlDeviceGetHandleByIndex")
        return index

    def nvmlDeviceGetUUID(self, handle: Any) -> str:  # noqa: N802
        return f"GPU-{handle}"

    def nvmlDeviceGetName(self, handle: Any) -> str:  # noqa: N802
        return "Card"

    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any:  # noqa: N802
        return SimpleNamespace(total=8 << 30)

    def nvmlDeviceGetMinorNumber(self, handle: Any) -> int:  # noqa: N802
        return int(handle) + 4


def test_every_card_of_the_driver_is_found_with_the_files_that_lead_to_it() -> None:
    library = Library(2)
    found = find_gpus(lambda: library, NOWHERE)
    assert library.shut_down and not found.why
    assert [(gpu.uuid, gpu.name, gpu.memory_bytes) for gpu in found.gpus] == [
        ("GPU-0", "Card", 8 << 30),
        ("GPU-1", "Card", 8 << 30),
    ]
    assert devices_of(found.gpus)[0] == "/dev/nvidia4" and "/dev/nvidia5" in devices_of(found.gpus)
    assert len(devices_of(found.gpus)) == 5


@pytest.mark.parametrize("fails_at", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"])
def test_a_driver_that_fails_has_no_cards_and_says_so(fails_at: str) -> None:
    found = find_gpus(lambda: Library(2, fails_at=fails_at), NOWHERE)
    assert (found.gpus, found.why) == ((), f"NVIDIA: {fails_at} does not work")


@pytest.mark.parametrize("error", [OSError("not found"), ImportError("no module")])
def test_without_a_driver_there_is_a_reason(error: Exception) -> None:
    def load() -> Library:
        raise error

    found = find_gpus(load, NOWHERE)
    assert not found.gpus and "nvidia" in found.why.lower()


def test_the_kernel_lists_what_amd_has_made(tmp_path: Path) -> None:
    for number, simds in ((0, 0), (1, 120), (10, 60)):
        bank = tmp_path / str(number) / "mem_banks" / "0"
        bank.mkdir(parents=True)
        (bank / "properties").write_text("heap_type 1\nsize_in_bytes 1024\n")
        told = f"simd_count {simds}\nunique_id {number + 255}\ndrm_render_minor {128 + number}\n"
        (tmp_path / str(number) / "properties").write_text(told)
        (tmp_path / str(number) / "name").write_text("gfx90a\n")
    found = find_gpus(lambda: Library(0), tmp_path).gpus
    assert [gpu.uuid for gpu in found] == ["GPU-0000000000000100", "GPU-0000000000000109"]
    assert found[0] == Gpu("GPU-0000000000000100", "gfx90a", 1024, ("/dev/dri/renderD129", "/dev/kfd"), "amd")


def gpu(number: int, maker: str) -> Gpu:
    return Gpu(f"{maker}-{number}", "Card", 1, (f"/dev/{maker}{number}",), maker)


@given(st.lists(st.sampled_from(["nvidia", "amd"]), max_size=5))
def test_a_program_is_told_of_its_own_devices_and_of_no_others(makers: list[str]) -> None:
    told = environment_of([gpu(number, maker) for number, maker in enumerate(makers)])
    for variable, maker in (("CUDA_VISIBLE_DEVICES", "nvidia"), ("ROCR_VISIBLE_DEVICES", "amd")):
        expected = [f"{maker}-{number}" for number, one in enumerate(makers) if one == maker]
        assert told[variable] == (",".join(expected) or "-1")
    assert ("HIP_VISIBLE_DEVICES" in told) == ("amd" not in makers)


def test_the_owner_says_which_are_lent() -> None:
    cards = [gpu(number, "nvidia") for number in range(3)]
    assert lent(cards, "all") == tuple(cards)
    assert lent(cards, "none") == ()
    assert lent(cards, "2,0,2") == (cards[0], cards[2])
    for wrong in ("3", "", "x", "0,", "²"):
        with pytest.raises(ConfigError, match="numbers below 3"):
            lent(cards, wrong)
