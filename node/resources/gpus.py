"""Which GPUs this machine has, and how programs are told of those that are theirs.

NVIDIA's are found by the driver's own library, through `nvidia-ml-py`; AMD's in /sys, where the kernel's compute driver
lists them. They go by the name that the driver has given them, not by number: inside a sandbox that shows one of four,
numbers begin anew.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from ctypes import CDLL
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from ...overlay.errors import ConfigError
from ...overlay.ports import Gpu

_NVIDIA_SHARED: Final = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")
_AMD_SHARED: Final = ("/dev/kfd",)
_KFD: Final = Path("/sys/class/kfd/kfd/topology/nodes")
_HIDDEN: Final = "-1"
"""No device has this number."""


class Found(msgspec.Struct, frozen=True):
    gpus: tuple[Gpu, ...]
    why: str
    """Of whatever is not there, in words for a person."""


class Nvml(Protocol):
    """What is used of the library; `pynvml` is one."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> object: ...  # noqa: N802

    def nvmlShutdown(self) -> object: ...  # noqa: N802

    def nvmlDeviceGetCount(self) -> int: ...  # noqa: N802

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any: ...  # noqa: N802

    def nvmlDeviceGetUUID(self, handle: Any) -> str: ...  # noqa: N802

    def nvmlDeviceGetName(self, handle: Any) -> str: ...  # noqa: N802

    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any: ...  # noqa: N802

    def nvmlDeviceGetMinorNumber(self, handle: Any) -> int: ...  # noqa: N802


def load_nvml() -> Nvml:
    """Raises ImportError and OSError. Without a driver the package, which takes a while to load, is left alone."""
    CDLL("libnvidia-ml.so.1")
    library: Nvml = importlib.import_module("pynvml")
    return library


def find_gpus(load: Callable[[], Nvml] = load_nvml, kfd: Path = _KFD) -> Found:
    """Blocks while the driver wakes up. What a broken driver lists is not there."""
    nvidia, why = _of_nvidia(load)
    amd = tuple(_of_amd(kfd))
    return Found((*nvidia, *amd), "" if amd else why)


def _of_nvidia(load: Callable[[], Nvml]) -> tuple[tuple[Gpu, ...], str]:
    try:
        library = load()
    except ImportError:
        return (), "NVIDIA: the Python package nvidia-ml-py is not installed"
    except OSError:
        return (), "no driver for NVIDIA's is here (libnvidia-ml.so.1), nor one for AMD's (/dev/kfd)"
    try:
        library.nvmlInit()
    except library.NVMLError as error:
        return (), f"NVIDIA: {error}"
    try:
        return tuple(_nvidia(library, index) for index in range(library.nvmlDeviceGetCount())), ""
    except library.NVMLError as error:
        return (), f"NVIDIA: {error}"
    finally:
        with suppress(library.NVMLError):
            library.nvmlShutdown()


def _nvidia(library: Nvml, index: int) -> Gpu:
    handle = library.nvmlDeviceGetHandleByIndex(index)
    return Gpu(
        library.nvmlDeviceGetUUID(handle),
        library.nvmlDeviceGetName(handle),
        int(library.nvmlDeviceGetMemoryInfo(handle).total),
        (f"/dev/nvidia{library.nvmlDeviceGetMinorNumber(handle)}", *_NVIDIA_SHARED),
        "nvidia",
    )


def _of_amd(kfd: Path) -> Iterator[Gpu]:
    with suppress(OSError):
        for node in sorted(kfd.iterdir(), key=lambda path: (len(path.name), path.name)):
            told = _properties(node / "properties")
            if not int(told.get("simd_count", "0")):
                continue  # a CPU
            memory_bytes = sum(int(_properties(bank).get("size_in_bytes", "0")) for bank in node.glob("mem_banks/*/*"))
            device = f"/dev/dri/renderD{told.get('drm_render_minor', '')}"
            name = _line(node / "name") or "AMD GPU"
            yield Gpu(f"GPU-{int(told.get('unique_id', '0')):016x}", name, memory_bytes, (device, *_AMD_SHARED), "amd")


def _properties(file: Path) -> dict[str, str]:
    pairs = (line.split() for line in _line(file).splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _line(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def environment_of(gpus: Sequence[Gpu]) -> dict[str, str]:
    """For a program that may use these and no others."""
    nvidia, amd = (",".join(gpu.uuid for gpu in gpus if gpu.maker == maker) for maker in ("nvidia", "amd"))
    told = {"CUDA_VISIBLE_DEVICES": nvidia or _HIDDEN, "ROCR_VISIBLE_DEVICES": amd or _HIDDEN}
    # Where ROCR shows some, HIP counts among those.
    return told if amd else {**told, "HIP_VISIBLE_DEVICES": _HIDDEN}


def devices_of(gpus: Iterable[Gpu]) -> list[str]:
    return list(dict.fromkeys(path for gpu in gpus for path in gpu.devices))


def lent(gpus: Sequence[Gpu], rule: str) -> tuple[Gpu, ...]:
    """Those that the owner lends: `all`, `none`, or their numbers, as in `0,2`. Raises ConfigError."""
    if rule in ("all", "none"):
        return tuple(gpus) if rule == "all" else ()
    chosen = rule.split(",")
    if any(not (number.isascii() and number.isdecimal()) or int(number) >= len(gpus) for number in chosen):
        raise ConfigError([f"gpus {rule!r}: all, none, or numbers below {len(gpus)}, the GPUs found here"])
    return tuple(gpus[number] for number in sorted({int(number) for number in chosen}))
