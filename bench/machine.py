"""What this machine is, and what it reaches: GFLOP/s and GB/s of one core.

python bench/machine.py
"""

from fastbp.bench.machine import LEVELS, bandwidth, describe, peak_gflops


def main():
    """Print what the machine is and reaches."""
    for name, value in describe().items():
        print(f"{name:<10} {value}")
    for dtype in ("float32", "float64"):
        print(f"\n{dtype}, one core: {peak_gflops(dtype):.0f} GFLOP/s of fused multiply-adds\n")
        print("| GB/s | read | read and write |\n|---|---:|---:|")
        for level in LEVELS:
            found = bandwidth(level, dtype)
            print(f"| {level} | {found.read:.0f} | {found.update:.0f} |")


if __name__ == "__main__":
    main()
