"""What decoding finds out about a set of images as a whole: the true scale of 16-bit values, frames left unused.

16-bit files often hold fewer bits: cameras and scanners deliver 12, and 8-bit values are saved in wide types. Divided
by 257, as full 16-bit values are, such images would lose most of their levels. The scale is common to all images, so
it is known only after the last one: they are decoded once for 16 bits, and once more if they turn out to hold fewer.
"""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from deepal_autoal.errors import InputError

MOST_BITS = 16
_BYTE_BITS = 8
_FEWEST_BITS_OF_COLOR = 14
# Where fewer of the values than this share use the upper seven eighths of the scale, few levels are left to the rest.
_FEW_BRIGHT = 0.001
_BRIGHT_BITS = 3


class FewerBitsError(Exception):
    """The 16-bit values need fewer bits than they were decoded for.

    Attributes:
        bits: How many they need, at least 8.
    """

    def __init__(self, bits: int) -> None:
        super().__init__(bits)
        self.bits = bits


class ImageFindings:
    """Collects what is found while images are decoded, in any number of threads.

    Args:
        bits: Of the scale of 16-bit values: 0 to 2**bits - 1 become 0 to 255.
    """

    def __init__(self, bits: int = MOST_BITS) -> None:
        self.bits = bits
        self._lock = threading.Lock()
        self._largest = -1
        self._largest_color = -1
        self._values_by_bits = np.zeros(MOST_BITS + 1, np.int64)
        self._with_frames: list[Path] = []

    def gray_bytes(self, values: np.ndarray) -> np.ndarray:
        """Return 16-bit gray values, of any integer type, scaled to uint8, and remember how many bits they have."""
        bits = np.frexp(values.astype(np.float32))[1]  # the lengths in bits; these floats are exact
        with self._lock:
            self._largest = max(self._largest, int(values.max()))
            self._values_by_bits += np.bincount(bits.reshape(-1), minlength=MOST_BITS + 1)
        full = (1 << self.bits) - 1
        # Values beyond the scale occur only if a file has changed meanwhile; `check` then asks for another one.
        return ((values.astype(np.uint32) * 255 + full // 2) // full).clip(0, 255).astype(np.uint8)

    def note_color(self, pixels: np.ndarray) -> None:
        """Remember the largest value of a 16-bit color image, of which the decoder gives the upper byte only."""
        with self._lock:
            self._largest_color = max(self._largest_color, int(pixels.max()))

    def note_frames(self, file: Path) -> None:
        """Remember a file of several images, of which only the first is used."""
        with self._lock:
            self._with_frames.append(file)

    def check(self) -> None:
        """Check the scale, once all images are decoded.

        Raises:
            FewerBitsError: If it is not that of the gray values.
            InputError: If color images use so few of their 16 bits that the upper bytes hold little of them.
        """
        needed = max(_BYTE_BITS, self._largest.bit_length()) if self._largest >= 0 else self.bits
        if needed != self.bits:
            raise FewerBitsError(needed)
        if 0 <= self._largest_color < 1 << (_FEWEST_BITS_OF_COLOR - _BYTE_BITS):
            raise InputError(
                f"the 16-bit color images hold no value above {(self._largest_color << 8) + 255} of 65535, and only "
                "the upper 8 bits are read, so most of their detail would be lost; convert them to 8 bits first"
            )

    def remarks(self) -> tuple[str, ...]:
        """Return what the user should know, a sentence each."""
        remarks = []
        if self._largest >= 0 and self.bits < MOST_BITS:
            remarks.append(
                f"the 16- or 32-bit gray values reach only {self._largest} and are read as {self.bits}-bit values "
                f"(0 to {(1 << self.bits) - 1})"
            )
        bright = self._values_by_bits[self.bits - _BRIGHT_BITS + 1 :].sum()
        if self._largest > 255 and bright < _FEW_BRIGHT * self._values_by_bits.sum():
            remarks.append(
                f"almost all 16-bit gray values are below {1 << (self.bits - _BRIGHT_BITS)}, but a few reach "
                f"{self._largest}: at most {1 << (_BYTE_BITS - _BRIGHT_BITS)} levels are left to the others; convert "
                "the images to 8 bits yourself if that is too few"
            )
        if self._with_frames:
            first = min(self._with_frames)
            count = len(self._with_frames)
            files = f"{first} holds" if count == 1 else f"{count} files such as {first} hold"
            remarks.append(f"{files} several images, of which only the first is used")
        return tuple(remarks)
