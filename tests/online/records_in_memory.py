"""A log without a server, for tests of what only reads one."""

from online.records import Record, encode


class Records:
    """A log in memory, as `History` asks for one."""

    def __init__(self, entries: list[tuple[int, Record]]) -> None:
        self.payloads = [encode(record) for _, record in entries]

    def read(self, after: int, count: int, block_ms: int) -> list[tuple[int, bytes]]:
        return list(enumerate(self.payloads[after : after + count], start=after + 1))

    def entry(self, position: int) -> bytes | None:
        return self.payloads[position - 1] if 0 < position <= len(self.payloads) else None

    def head(self) -> int:
        return len(self.payloads)
