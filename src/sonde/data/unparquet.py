"""Unpacks one Parquet file in a process of its own.

A damaged file can make the decoder ask for more memory than there is, which ends the process it runs in. Run as a
script with: source, destination, most bytes, most columns. Writes the table to the destination as Arrow IPC, and
nothing to the output; or else the line that says what is wrong, with exit code 1.
"""

from __future__ import annotations

import sys


def main(source: str, destination: str, limit: int, most: int) -> str:
    """The reason why the file cannot be read, or ""."""
    import polars as pl

    try:
        import resource

        cap = 3 * limit + (8 << 30)  # bytes of address space: the table, its copy, and the libraries
        resource.setrlimit(resource.RLIMIT_AS, (cap, cap))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):
        cap = 0  # no such limits on this system
    try:
        with open(source, "rb") as file:  # an open file, so that a name with * in it is not taken for a pattern
            columns = len(pl.read_parquet_schema(file))
            file.seek(0)
            rows = pl.scan_parquet(file).select(pl.len()).collect().item()
            if columns > most:
                return f"has {columns:,} columns; at most {most:,} are read"
            if rows * max(1, columns) > limit // 8:  # 8 bytes a cell, before anything is unpacked
                return f"unpacks to {rows:,} rows of {columns} columns, over the limit of {limit:,} bytes"
            file.seek(0)
            pl.read_parquet(file).write_ipc(destination)
    except (pl.exceptions.PolarsError, OSError, ValueError, EOFError, MemoryError) as error:
        lines = str(error).strip().splitlines()
        return f"is not a readable Parquet file: {lines[0] if lines else type(error).__name__}"
    return ""


if __name__ == "__main__":
    reason = main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    sys.stdout.buffer.write(reason.encode())
    sys.exit(1 if reason else 0)
