"""Every CUDA kernel keeps to the budget in its source: the compiler's report says so, without a GPU."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from resource_reports import Budget, Usage, faults, images, read_budgets, read_report, source_name

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "csrc" / "cuda"
INCLUDES = (ROOT / "csrc", ROOT / "csrc" / "include")
ARCHITECTURES = {"sm_80", "sm_90a"}
FLAGS = ("-std=c++17", "-O3", "-Xptxas=-v", "-I", "csrc/include", "-I", "csrc")
SM_90A = ("-gencode", "arch=compute_90a,code=sm_90a")
OTHERS = ("-gencode", "arch=compute_80,code=sm_80", "-gencode", "arch=compute_90,code=compute_90")
FOO = "_ZN9musicstar4cuda39_GLOBAL__N__6a759ec3_7_tiny_cu_a5a1a12410foo_kernelILi64EEEvPf"
REPORT = f"""ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '{FOO}' for 'sm_90a'
ptxas info    : Function properties for {FOO}
    STACK bytes stack frame, STORES bytes spill stores, 16 bytes spill loads
ptxas info    : Used 168 registers, used 1 barriers, 8 bytes cumulative stack size, 2048 bytes smem, 360 bytes cmem[0]
ptxas info    : Compile time = 2.177 ms
"""
SOURCE = """
namespace {
// Adds. // resources of many kinds are not meant.
// resources: registers <= 168, shared <= 96 KiB, threads 256
// resources (sm_80): registers <= 128, shared <= 512 bytes, threads 256, blocks 2
template <int N>
__global__ void __launch_bounds__(max(N, 256), 1) foo_kernel(const __grid_constant__ Parameters p, int* x) {
  x[0] = N;
}

__global__ void bare_kernel(float* x) {}
}  // namespace
"""


def sources() -> dict[str, Path]:
    return {path.name: path for path in sorted(FOLDER.rglob("*.cu"))}


def of_sm_90a_alone(source: str) -> bool:
    return source.endswith("_wgmma.cu")


def with_headers(source: Path) -> set[Path]:
    """A source and every header of ours that it includes, directly or not."""
    found: set[Path] = set()
    waiting = [source]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            names = re.findall(r'^\s*#include "([^"]+)"', path.read_text(), re.MULTILINE)
            places = [folder / name for name in names for folder in (path.parent, *INCLUDES)]
            waiting += [place.resolve() for place in places if place.is_file()]
    return found


def built_objects() -> dict[str, Path]:
    """{source: the newest object of a build in this checkout that is younger than all that it is made from}."""
    changed = {name: max(path.stat().st_mtime for path in with_headers(source)) for name, source in sources().items()}
    found: dict[str, Path] = {}
    for report in sorted((ROOT / "build").rglob("*.cu.o.resources"), key=lambda path: path.stat().st_mtime):
        name = report.name.removesuffix(".o.resources")
        if name in changed and report.stat().st_mtime >= changed[name]:
            found[name] = report.with_suffix("")
    return found


def compiled_objects(names: Iterable[str]) -> dict[str, Path]:
    """The same, compiled now; they stay in build/resources for the next time.

    Raises:
        pytest.skip.Exception: there is no CUDA compiler.
    """
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    compiler = shutil.which("nvcc") or shutil.which("nvcc", path=f"{home}/bin")
    if compiler is None:
        pytest.skip("needs the report of a CUDA build in build/, or a CUDA compiler")
    target = ROOT / "build" / "resources"
    target.mkdir(parents=True, exist_ok=True)

    def compile_one(name: str) -> tuple[str, Path]:
        place = target / f"{name}.o"
        command = [
            "sh",
            ROOT / "cmake" / "keep_resource_report.sh",
            compiler,
            *FLAGS,
            *SM_90A,
            *(() if of_sm_90a_alone(name) else OTHERS),
            "-c",
            sources()[name],
            "-o",
            place,
        ]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert "warning" not in result.stderr, result.stderr
        return name, place

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(pool.map(compile_one, names))


@pytest.fixture(scope="module")
def objects() -> dict[str, Path]:
    """{source: its object}, with the report of each beside it."""
    found = built_objects()
    missing = [name for name in sources() if name not in found]
    return {**found, **(compiled_objects(missing) if missing else {})}


@pytest.fixture(scope="module")
def reports(objects: dict[str, Path]) -> dict[str, list[Usage]]:
    return {name: read_report(Path(f"{path}.resources").read_text()) for name, path in objects.items()}


@pytest.fixture(scope="module")
def usages(reports: dict[str, list[Usage]]) -> list[Usage]:
    return [usage for report in reports.values() for usage in report]


@pytest.fixture(scope="module")
def budgets() -> dict[str, list[Budget]]:
    found: dict[str, list[Budget]] = {}
    for path in [*sources().values(), *sorted(FOLDER.rglob("*.cuh"))]:
        for kernel, lines in read_budgets(path.read_text()).items():
            assert kernel not in found, f"two kernels are named {kernel}"
            assert kernel.endswith("_kernel"), f"{path.name}: {kernel} should end in _kernel"
            assert lines, f"{path.name}: {kernel} has no budget above it"
            found[kernel] = lines
    return found


def test_every_kernel_keeps_to_its_budget(usages, budgets):
    wrong = [line for usage in usages for line in faults(usage, budgets.get(usage.kernel, []))]
    assert not wrong, "\n".join(wrong)


def test_every_kernel_is_compiled_for_every_architecture_that_can_run_it(reports, budgets):
    seen = set()
    for name, report in reports.items():
        for kernel in {usage.kernel for usage in report} & budgets.keys():
            found = {usage.architecture for usage in report if usage.kernel == kernel}
            assert found == ({"sm_90a"} if of_sm_90a_alone(name) else ARCHITECTURES), kernel
            seen.add(kernel)
    assert seen == budgets.keys()


def test_newer_gpus_find_an_intermediate_form(objects, budgets):
    for name, path in objects.items():
        text = sources()[name].read_text()
        if any(re.search(rf"\b{kernel}\b", text) for kernel in budgets) and not of_sm_90a_alone(name):
            assert set(images(path.read_bytes())) == {("machine code", 80), ("machine code", 90), ("PTX", 90)}, name


@pytest.fixture(scope="module")
def launches() -> list[tuple[str, int, int]]:
    """(symbol, threads, dynamic shared memory in bytes) of all launches of the native tests on the emulated GPU.

    Raises:
        pytest.skip.Exception: they have not been run with MUSICSTAR_EMULATED_LAUNCHES=build/emulated-launches.
    """
    path = ROOT / "build" / "emulated-launches"
    changed = max(source.stat().st_mtime for source in sources().values())
    if not path.exists() or path.stat().st_mtime < changed:
        pytest.skip("needs the launches of the native tests on the emulated GPU, of these sources")
    return [(symbol, int(n), int(size)) for symbol, n, size in map(str.split, path.read_text().splitlines())]


def test_launches_keep_to_the_budget(launches, usages, budgets):
    static = {usage.kernel: usage.static_shared for usage in sorted(usages, key=lambda usage: usage.static_shared)}
    wrong = []
    for symbol, threads, size in launches:
        kernel = source_name(symbol)
        for budget in budgets.get(kernel, []):  # the tests of the emulator have kernels of their own
            if threads > budget.threads or size + static[kernel] > budget.shared:
                wrong.append(f"{kernel}: {threads} threads, {size} + {static[kernel]} bytes of shared memory: {budget}")
    assert not wrong, "\n".join(wrong)


def test_names():
    assert source_name(FOO) == "foo_kernel"
    assert source_name("_Z10foo_kernelPf") == "foo_kernel"
    assert source_name("_ZN9musicstar12_GLOBAL__N_110foo_kernelINS_3BarELi128EEEvT_") == "foo_kernel"


@pytest.mark.parametrize(
    ("stack", "stores", "registers", "wrong"),
    [
        (0, 0, 168, ["loads 16"]),
        (0, 4, 168, ["spills 4 bytes and loads 16"]),
        (8, 4, 168, ["spills 4 bytes", "stack frame of 8 bytes"]),
        (0, 0, 169, ["loads 16", "169 registers, 168 allowed"]),
    ],
)
def test_a_spill_is_caught(stack, stores, registers, wrong):
    text = REPORT.replace("STACK", str(stack)).replace("STORES", str(stores)).replace("168", str(registers))
    (usage,) = read_report(text)
    assert (usage.kernel, usage.architecture, usage.static_shared) == ("foo_kernel", "sm_90a", 2048)
    found = faults(usage, read_budgets(SOURCE)["foo_kernel"])
    assert len(found) == len(wrong)
    assert all(part in line for part, line in zip(wrong, found, strict=True))


def test_a_clean_kernel_has_no_faults():
    text = REPORT.replace("STACK", "0").replace("STORES", "0").replace("16 bytes", "0 bytes")
    (usage,) = read_report(text)
    assert faults(usage, read_budgets(SOURCE)["foo_kernel"]) == []
    assert "0 budget lines" in faults(usage, [])[0]


def test_a_function_inside_a_kernel_is_held_to_no_spills():
    called = "ptxas info    : Function properties for _Z6calledv\n    24 bytes stack frame, 8 bytes spill stores, "
    usage = read_report(REPORT + called + "8 bytes spill loads\n")[-1]
    assert usage.kernel == "called"
    assert len(faults(usage, [])) == 2


def test_budgets_are_read():
    budgets = read_budgets(SOURCE)
    assert budgets == {
        "foo_kernel": [Budget(None, 168, 96 << 10, 256, 1), Budget("sm_80", 128, 512, 256, 2)],
        "bare_kernel": [],
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("// resources: registers < 168, shared <= 96 KiB, threads 256", "not a budget"),
        ("// resources: registers <= 168, shared <= 96 MB, threads 256", "not a budget"),
    ],
)
def test_a_budget_that_cannot_be_read_is_an_error(line, message):
    with pytest.raises(ValueError, match=message):
        read_budgets(f"{line}\n__global__ void foo_kernel() {{}}\n")


def test_a_budget_without_a_kernel_is_an_error():
    with pytest.raises(ValueError, match="no kernel follows"):
        read_budgets("// resources: registers <= 16, shared <= 0 bytes, threads 32\nint x;\n")


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (Budget(None, 255, 228 << 10, 256, 1), "more than sm_90a has"),
        (Budget(None, 255, 120 << 10, 256, 2), "more than sm_90a has"),
        (Budget(None, 255, 0, 512, 1), "registers x 512 threads"),
    ],
)
def test_a_budget_that_no_gpu_has_is_a_fault(budget, message):
    usage = Usage("foo_kernel", "foo_kernel", "sm_90a", 168, 0, 0, 0, 0)
    assert any(message in line for line in faults(usage, [budget]))
