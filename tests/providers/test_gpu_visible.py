"""Which devices the variables of CUDA and of ROCm show to a program."""

from __future__ import annotations

import pytest

from runcontext import NotInContext
from runcontext_providers._gpu.cuda_visible import CudaDevice, MigInstance, visible_devices
from runcontext_providers._gpu.rocm_visible import rocm_visible_devices

UUIDS = ["GPU-aaaa1111", "GPU-aaaa2222", "GPU-bbbb0000"]
FIRST, SECOND, THIRD = UUIDS
SMALL, LARGE = MigInstance("MIG-5f2a", "1g.5gb", 7, 0), MigInstance("MIG-5f77", "3g.20gb", 2, 0)


def names(setting: str | None, devices: list[CudaDevice]) -> list[str]:
    """Give the names of the devices that CUDA shows."""
    return [shown.name for shown in visible_devices(setting, devices)]


@pytest.mark.parametrize(
    ("setting", "visible"),
    [
        (None, [FIRST, SECOND, THIRD]),
        ("", []),
        (" ", []),
        ("0", [FIRST]),
        ("2,0", [THIRD, FIRST]),
        (" 1 , +2, -0", [SECOND, THIRD, FIRST]),
        ("0,2,-1,1", [FIRST, THIRD]),
        ("0,3,1", [FIRST]),
        ("0,,1", [FIRST]),
        ("1gpu2,2ampere", [SECOND, THIRD]),
        ("one,two,0", []),
        ("1,two,0", [SECOND]),
        ("0,1,0", []),
        ("0,GPU-bbbb", [FIRST]),
        ("GPU-bbbb", [THIRD]),
        ("GPU-aaaa2,GPU-bbbb0000", [SECOND, THIRD]),
        ("GPU-aaaa", []),
        ("GPU-", []),
        (" GPU-bbbb", []),
        ("GPU-bbbb, GPU-aaaa1", [THIRD]),
        ("gpu-bbbb", []),
        ("GPU-bbbb,GPU-cccc,GPU-aaaa1", [THIRD]),
        ("GPU-bbbb,GPU-bbbb0", []),
        ("GPU-bbbb,0", [THIRD]),
        ("MIG-5f2a", []),
        ("NoDevFiles", []),
        ("all", []),
        ("٣", []),
    ],
)
def test_every_form_of_the_variable(setting: str | None, visible: list[str]) -> None:
    """Each form that CUDA accepts or rejects shows what CUDA would show."""
    assert names(setting, [CudaDevice(uuid) for uuid in UUIDS]) == visible


DIVIDED = [CudaDevice(FIRST, in_mig_mode=True, instances=[SMALL, LARGE]), CudaDevice(SECOND)]


@pytest.mark.parametrize(
    ("setting", "visible"),
    [
        ("MIG-5f2a", [f"{FIRST}/MIG-5f2a"]),
        ("MIG-5f7", [f"{FIRST}/MIG-5f77"]),
        ("MIG-5f", []),
        ("MIG-5f2a,MIG-5f77", [f"{FIRST}/MIG-5f2a", f"{FIRST}/MIG-5f77"]),
        ("MIG-5f2a,MIG-5f2a", []),
        ("MIG-5f2a ,0", [f"{FIRST}/MIG-5f2a"]),
        ("MIG-77bc,MIG-5f2a", []),
        (f"MIG-{FIRST}/2/0", [f"{FIRST}/MIG-5f77"]),
        (f"MIG-{FIRST}/2/1", []),
        (f"MIG-{SECOND}/2/0", []),
        ("MIG-GPU-cccc/2/0", []),
        (SECOND, [SECOND]),
    ],
)
def test_every_form_of_a_mig_instance(setting: str, visible: list[str]) -> None:
    """A MIG instance is told with its device, by UUID, its beginning, or the older form; others hide the rest."""
    assert names(setting, DIVIDED) == visible


@pytest.mark.parametrize("setting", [None, "0", "0,1", FIRST])
def test_instances_that_cuda_chooses_itself(setting: str | None) -> None:
    """Where the variable leaves several instances to CUDA, the answer is not known."""
    with pytest.raises(NotInContext, match="picks one of 2 MIG instances by itself"):
        names(setting, DIVIDED)


def test_the_only_instance_hides_whole_devices() -> None:
    """CUDA shows one instance, and no whole device beside it (MIG User Guide, "CUDA Device Enumeration")."""
    devices = [CudaDevice(FIRST), CudaDevice(SECOND, in_mig_mode=True, instances=[LARGE])]
    assert names(None, devices) == [f"{SECOND}/MIG-5f77"]
    assert names(FIRST, devices) == [FIRST]


def test_instances_of_which_nothing_is_known() -> None:
    """A name that may be right is given as it stands."""
    hidden = [CudaDevice(FIRST, in_mig_mode=True, instances=None), CudaDevice("")]
    assert names("MIG-77bc", hidden) == ["MIG-77bc"]
    assert names(f"MIG-{FIRST}/3/1", hidden) == [f"{FIRST}/3/1"]
    assert names("MIG-GPU-cccc/3/1", hidden) == ["MIG-GPU-cccc/3/1"]


def test_identifier_that_may_be_a_device_without_uuid() -> None:
    """An identifier that no known UUID matches is not called invalid while a device's UUID is unknown."""
    devices = [CudaDevice(FIRST), CudaDevice("")]
    with pytest.raises(NotInContext, match="GPU-cccc may be device 1, whose UUID is not known"):
        names("GPU-cccc", devices)
    assert names("GPU-aaaa1", devices) == [FIRST]
    assert names("1,0", devices) == ["", FIRST]


ROCM = ["GPU-1d3cf1a08a2b7f11", "GPU-1d3cf1a08a2b7f22", "0000:c3:00.0"]


@pytest.mark.parametrize(
    ("variables", "places"),
    [
        ({}, [0, 1, 2]),
        ({"ROCR_VISIBLE_DEVICES": ""}, []),
        ({"ROCR_VISIBLE_DEVICES": "1"}, [1]),
        ({"ROCR_VISIBLE_DEVICES": " 2 , 0x0 "}, [2, 0]),
        ({"ROCR_VISIBLE_DEVICES": "01,010"}, [1]),
        ({"ROCR_VISIBLE_DEVICES": "08"}, []),
        ({"ROCR_VISIBLE_DEVICES": "1,1,0"}, [1]),
        ({"ROCR_VISIBLE_DEVICES": "0,-1,1"}, [0]),
        ({"ROCR_VISIBLE_DEVICES": "0,7,1"}, [0]),
        ({"ROCR_VISIBLE_DEVICES": "0,1a"}, [0]),
        ({"ROCR_VISIBLE_DEVICES": "GPU-1d3cf1a08a2b7f22,0"}, [1, 0]),
        ({"ROCR_VISIBLE_DEVICES": "gpu-1D3CF1A08A2B7F22"}, [1]),
        ({"ROCR_VISIBLE_DEVICES": "GPU-1d3c"}, []),
        ({"ROCR_VISIBLE_DEVICES": "GPU-"}, []),
        ({"ROCR_VISIBLE_DEVICES": "GPU-1d3cf1a08a2b7f22000"}, []),
        ({"HIP_VISIBLE_DEVICES": ""}, [0, 1, 2]),
        ({"HIP_VISIBLE_DEVICES": "2,0"}, [2, 0]),
        ({"HIP_VISIBLE_DEVICES": "2,2,0"}, [2, 0]),
        ({"HIP_VISIBLE_DEVICES": "0, 1"}, [0]),
        ({"HIP_VISIBLE_DEVICES": "0,-1,1"}, [0]),
        ({"HIP_VISIBLE_DEVICES": "00"}, []),
        ({"HIP_VISIBLE_DEVICES": "9"}, []),
        ({"HIP_VISIBLE_DEVICES": "-1"}, []),
        ({"HIP_VISIBLE_DEVICES": "GPU-1d3cf1a08a2b7f22"}, [1]),
        ({"HIP_VISIBLE_DEVICES": "GPU-nothing"}, []),
        ({"CUDA_VISIBLE_DEVICES": "1"}, [1]),
        ({"HIP_VISIBLE_DEVICES": "0", "CUDA_VISIBLE_DEVICES": "1"}, [0]),
        ({"ROCR_VISIBLE_DEVICES": "2,1", "HIP_VISIBLE_DEVICES": "1"}, [1]),
    ],
)
def test_every_form_of_rocms_variables(variables: dict[str, str], places: list[int]) -> None:
    """ROCm's runtime chooses first, then HIP among what is left; each form as their sources read it.

    Sources: ROCR-Runtime, amd_filter_device.cpp; clr, rocdevice.cpp.
    """
    assert rocm_visible_devices(variables, ROCM) == places
