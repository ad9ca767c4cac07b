"""How an object is cut into the parts of a multipart upload.  Pure."""

from __future__ import annotations

from dataclasses import dataclass

from backends.errors import InvalidError
from backends.s3.options import S3Options

PARTS_MAX = 10_000  # of one object, wherever S3 is spoken
# An object of unknown size has equal parts up to here, which some servers ask for; then each
# `PARTS_BEFORE_DOUBLING` are twice as long as those before.
EQUAL_PARTS = 5_000
PARTS_BEFORE_DOUBLING = 500


@dataclass(frozen=True, slots=True)
class PartPlan:
    """The parts of an object, by number from 1, and how many are in memory at once.

    Parts are what `large_object_chunk_size` says, but never more than half of the memory of a
    write (readers do not see how an object was cut), unless the object would have too many.
    """

    options: S3Options
    size: int | None = None  # of the object, where known

    def part_bytes(self, number: int) -> int:
        """Return how long that part is if it is not the last; InvalidError if there is none."""
        if number > PARTS_MAX:
            raise InvalidError(f"more than {PARTS_MAX} parts")
        options = self.options
        if self.size is not None and self.size <= self._one_put_bytes:
            return max(self.size, 1)
        usual = min(options.part_bytes, max(1, options.buffer_bytes // 2))
        if self.size is not None:
            return max(usual, -(-self.size // PARTS_MAX))
        doublings = max(0, (number - EQUAL_PARTS - 1) // PARTS_BEFORE_DOUBLING + 1)
        return usual << doublings

    def may_begin(self, number: int, parts_sent: int, bytes_sent: int) -> bool:
        """Whether part `number` may be sent beside others, with the next one being filled."""
        if not parts_sent:
            return True
        held = bytes_sent + 2 * self.part_bytes(number)
        return parts_sent < self.options.parts_at_once and held <= self.options.buffer_bytes

    @property
    def _one_put_bytes(self) -> int:
        """An object of known size up to this goes in one request."""
        return min(self.options.large_object_bytes - 1, self.options.buffer_bytes)
