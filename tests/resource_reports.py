"""What a CUDA kernel takes, as its compiler reports it, and what its source allows it to take.

Above every kernel stands its budget, shared memory being all of it, static and dynamic, in the largest instantiation:

    // resources: registers <= 168, shared <= 96 KiB, threads 256
    // resources (sm_80): registers <= 128, shared <= 96 KiB, threads 256          for one architecture only
    template <int N>
    __global__ void __launch_bounds__(256) foo_kernel(float* x) {

The build keeps the report of `ptxas -v` beside each object (cmake/keep_resource_report.sh).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

REGISTERS = 65_536  # of a multiprocessor, on every architecture so far
EMPTY = 16
SHARED_LIMIT = {"sm_80": 163 << 10, "sm_90a": 227 << 10}  # bytes that one block may have

_ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
_FUNCTION = re.compile(r"Function properties for (\w+)")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")
_KERNEL = re.compile(r"__global__\b[^;{]*?\b(\w+)\s*\((?!\s*\d)")
_MARK = re.compile(r"\s*//.*\bresources(?:\s*\(\w+\))?:")
_BUDGET = re.compile(
    r"\bresources(?:\s*\((\w+)\))?:\s*registers <= (\d+), shared <= (\d+) (KiB|bytes), "
    r"threads (\d+)(?:, blocks (\d+))?$"
)


@dataclass(frozen=True)
class Usage:
    """What one compiled function takes; `kernel` is its name in the source, registers 0 for one inside of a kernel."""

    kernel: str
    symbol: str
    architecture: str
    registers: int
    static_shared: int  # bytes
    stack: int  # bytes, as the spills
    spill_stores: int
    spill_loads: int


@dataclass(frozen=True)
class Budget:
    """What a kernel may take, on one architecture or (None) on those without a line of their own."""

    architecture: str | None
    registers: int
    shared: int  # bytes, static and dynamic
    threads: int
    blocks: int  # on a multiprocessor at a time


def source_name(symbol: str) -> str:
    """The name in the source of a mangled symbol, without its namespaces and template arguments."""
    found, rest = symbol, re.sub("^_Z[NKL]*", "", symbol)
    while match := re.match(r"\d+", rest):  # a length and so many letters, for each name
        start, length = match.end(), int(match[0])
        found, rest = rest[start : start + length], rest[start + length :]
    return found


def read_report(text: str) -> list[Usage]:
    """Every function in what `ptxas -v` printed, in its order."""
    found: list[Usage] = []
    entry = function = architecture = ""
    stack = (0, 0, 0)
    for line in text.splitlines():
        if match := _ENTRY.search(line):
            entry, architecture = match.groups()
        elif match := _FUNCTION.search(line):
            function = match[1]
        elif match := _STACK.search(line):
            stack = (int(match[1]), int(match[2]), int(match[3]))
            if function != entry:  # a function that was not inlined; its registers are in its kernel's line
                found.append(Usage(source_name(function), function, architecture, 0, 0, *stack))
        elif (match := _USED.search(line)) and entry:
            shared = _SHARED.search(line)
            taken = (int(match[1]), int(shared[1]) if shared else 0)
            found.append(Usage(source_name(entry), entry, architecture, *taken, *stack))
            entry = ""
    return found


def read_budgets(source: str) -> dict[str, list[Budget]]:
    """{kernel: its budget lines} of a CUDA source; a kernel without one has an empty list.

    Raises:
        ValueError: a line that begins as a budget and is none, or a budget that no kernel follows.
    """
    lines = source.splitlines()
    budgets: dict[str, list[Budget]] = {}
    used: set[int] = set()
    for match in _KERNEL.finditer(_without_comments(source)):
        if match[1] == "__launch_bounds__":
            raise ValueError("cannot find a kernel's name")
        number = source.count("\n", 0, match.start())
        found = []
        while number > 0 and lines[number - 1].strip() and not lines[number - 1].rstrip().endswith(("}", ";")):
            number -= 1
            if _MARK.match(lines[number]):
                found.append(_budget(lines[number]))
                used.add(number)
        budgets.setdefault(match[1], []).extend(reversed(found))
    stray = [n for n, line in enumerate(lines) if _MARK.match(line) and n not in used]
    if stray:
        raise ValueError(f"line {stray[0] + 1}: a budget that no kernel follows: {lines[stray[0]].strip()}")
    return budgets


def _budget(line: str) -> Budget:
    match = _BUDGET.search(line.strip())
    if match is None:
        raise ValueError(f"not a budget: {line.strip()}")
    architecture, registers, shared, unit, threads, blocks = match.groups()
    size = int(shared) * (1024 if unit == "KiB" else 1)
    return Budget(architecture, int(registers), size, int(threads), int(blocks or 1))


def _without_comments(source: str) -> str:
    """The source with comments, and launch bounds with their brackets, blanked out; every character at its place."""
    blank = re.compile(r"//[^\n]*|/\*.*?\*/|__launch_bounds__\s*\([^()]*(?:\([^()]*\)[^()]*)*\)", re.DOTALL)
    return blank.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), source)


def faults(usage: Usage, budgets: Sequence[Budget]) -> list[str]:
    """What is wrong with a function, a line each; nothing for one within its budget."""
    name = f"{usage.kernel} on {usage.architecture} ({usage.symbol})"
    wrong = []
    if usage.spill_stores or usage.spill_loads:
        wrong.append(f"{name}: spills {usage.spill_stores} bytes and loads {usage.spill_loads}")
    if usage.stack:
        wrong.append(f"{name}: a stack frame of {usage.stack} bytes")
    if not usage.registers:
        return wrong
    own = [budget for budget in budgets if budget.architecture == usage.architecture]
    fitting = own or [budget for budget in budgets if budget.architecture is None]
    if len(fitting) != 1:
        return [*wrong, f"{name}: {len(fitting)} budget lines for it in the source"]
    (budget,) = fitting
    if usage.registers > budget.registers:
        wrong.append(f"{name}: {usage.registers} registers, {budget.registers} allowed")
    if usage.static_shared > budget.shared:
        wrong.append(f"{name}: {usage.static_shared} bytes of static shared memory, {budget.shared} allowed in all")
    limit = SHARED_LIMIT.get(usage.architecture)
    # A kernel for newer GPUs has an empty body on older ones: a few registers.
    if limit is not None and budget.shared * budget.blocks > limit and usage.registers > EMPTY:
        wrong.append(f"{name}: its budget of shared memory is more than {usage.architecture} has")
    rounded = -(-usage.registers // 8) * 8  # registers are handed out by eights
    if rounded * budget.threads * budget.blocks > REGISTERS:
        wrong.append(f"{name}: {rounded} registers x {budget.threads} threads x {budget.blocks} blocks > {REGISTERS}")
    return wrong


def images(binary: bytes) -> Iterator[tuple[str, int]]:
    """("PTX" or "machine code", architecture such as 90) of everything for GPUs in an object file or program."""
    magic = struct.pack("<I", 0xBA55ED50)
    place = binary.find(magic)
    while place >= 0:
        _, _, head, size = struct.unpack_from("<IHHQ", binary, place)
        entry, end = place + head, place + head + size
        while entry < end:
            kind, _, entry_head, entry_size = struct.unpack_from("<HHIQ", binary, entry)
            yield ("PTX" if kind == 1 else "machine code", struct.unpack_from("<I", binary, entry + 28)[0])
            entry += entry_head + entry_size
        place = binary.find(magic, end)
