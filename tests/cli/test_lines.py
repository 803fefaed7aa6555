"""Lines in and out of file descriptors."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from syncpoint import ArgumentError
from syncpoint.cli.lines import CHUNK_BYTES, LineReader, LineWriter


async def read_all(data: bytes, path: Path, limit: int = 1 << 20) -> list[bytes]:
    path.write_bytes(data)  # noqa: ASYNC240
    with path.open("rb") as file:
        return [line async for batch in LineReader(file.fileno(), limit).batches() for line in batch]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"\n", [b""]),
        (b"one", [b"one"]),
        (b"one\ntwo\n", [b"one", b"two"]),
        (b"one\n\ntwo", [b"one", b"", b"two"]),
        (b"\r\n\x00\n", [b"\r", b"\x00"]),
        (b"x" * (3 * CHUNK_BYTES) + b"\ny", [b"x" * (3 * CHUNK_BYTES), b"y"]),
        (b"x" * (CHUNK_BYTES - 1) + b"\n" + b"y\n", [b"x" * (CHUNK_BYTES - 1), b"y"]),
    ],
)
async def test_lines_come_whole(data: bytes, lines: list[bytes], tmp_path: Path) -> None:
    assert await read_all(data, tmp_path / "data") == lines


@pytest.mark.parametrize("data", [b"x" * 101, b"x" * 101 + b"\n", b"ok\n" + b"x" * (2 * CHUNK_BYTES)])
async def test_a_line_that_is_too_long_is_an_error(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="a line of more than 100 bytes"):
        await read_all(data, tmp_path / "data", 100)


async def test_reading_waits_for_whoever_takes_the_lines(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"line\n" * (4 * CHUNK_BYTES))
    with path.open("rb") as file:
        batches = LineReader(file.fileno(), 100).batches()
        taken = 0
        async for batch in batches:
            taken += len(batch) * len(b"line\n")
            # One batch is kept for us, one waits to be kept, one may be read right now.
            assert os.lseek(file.fileno(), 0, os.SEEK_CUR) <= taken + 3 * CHUNK_BYTES
        assert taken == path.stat().st_size


async def test_an_input_that_is_not_there_is_at_its_end() -> None:
    assert [batch async for batch in LineReader(None, 100).batches()] == []


async def test_a_loop_may_end_before_its_input(recwarn: pytest.WarningsRecorder) -> None:
    ours, theirs = os.pipe()

    def leave() -> None:
        async def take() -> None:
            async for batch in LineReader(ours, 100).batches():
                assert batch == [b"one"]
                return

        os.write(theirs, b"one\n")
        asyncio.run(take())

    await asyncio.to_thread(leave)
    os.write(theirs, b"two\n")  # the thread finds that nobody waits any more
    os.close(theirs)
    assert not recwarn.list


async def test_writing_is_done_when_it_returns() -> None:
    ours, theirs = os.pipe()
    writer = LineWriter(theirs)
    await writer.write(b"one\n")
    assert os.read(ours, 100) == b"one\n"
    data = b"x" * 300_000  # more than a pipe holds
    task = asyncio.create_task(writer.write(data))
    got = b""
    while len(got) < len(data):
        got += await asyncio.to_thread(os.read, ours, 65536)
    await task
    assert got == data
    os.close(ours)
    with pytest.raises(BrokenPipeError):
        await writer.write(b"to nobody")
    os.close(theirs)
