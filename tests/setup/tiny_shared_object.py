"""Writes the smallest ELF file that has the four tables `environment.elf` edits, by hand.

It holds what a linker would write for an object that uses the given symbols; no code, no data.
"""

import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class Use:
    """An undefined symbol, the version it asks for, and whether a relocation refers to it."""

    name: str
    version: str
    relocated: bool = True


def tiny_shared_object(
    uses: list[Use], *, defined: str = "PyInit_tiny", share_strings: bool = False
) -> bytes:
    """An ELF file that uses symbols of libc.so.6 and defines one.

    Args:
        uses: its undefined symbols.
        defined: the name of the symbol it defines.
        share_strings: let the defined symbol's name be the tail of the first used one, as linkers
            do to save space; `defined` must then be such a tail.
    """
    strings = bytearray(b"\0")

    def string(text: str) -> int:
        strings.extend(text.encode() + b"\0")
        return len(strings) - len(text) - 1

    versions = sorted({use.version for use in uses})
    index_of = {version: number for number, version in enumerate(versions, start=2)}
    needed = string("libc.so.6")
    symbols = [struct.pack("<IBBHQQ", 0, 0, 0, 0, 0, 0)]
    names = [string(use.name) for use in uses]
    symbols += [struct.pack("<IBBHQQ", name, 0x12, 0, 0, 0, 0) for name in names]
    if share_strings:
        assert uses[0].name.endswith(defined)
        own = names[0] + len(uses[0].name) - len(defined)
    else:
        own = string(defined)
    symbols.append(struct.pack("<IBBHQQ", own, 0x12, 0, 7, 0x1000, 8))
    version_of_symbols = [0, *(index_of[use.version] for use in uses), 1]
    need = struct.pack("<HHIII", 1, len(versions), needed, 16, 0)
    for number, version in enumerate(versions):
        after = 16 if number + 1 < len(versions) else 0
        need += struct.pack("<IHHII", 0, 0, index_of[version], string(version), after)
    relocations = b"".join(
        struct.pack("<QQq", 0x2000 + 8 * number, number << 32 | 7, 0)
        for number, use in enumerate(uses, start=1)
        if use.relocated
    )
    dynamic = struct.pack("<QQQQ", 1, needed, 0, 0)
    # (type, contents, number of the linked section, size of an entry)
    tables = [
        (3, bytes(strings), 0, 0),
        (11, b"".join(symbols), 1, 24),
        (0x6FFFFFFF, struct.pack(f"<{len(version_of_symbols)}H", *version_of_symbols), 2, 2),
        (0x6FFFFFFE, need, 1, 0),
        (4, relocations, 2, 24),
        (6, dynamic, 1, 16),
    ]
    contents, headers = b"", [bytes(64)]
    for kind, data, link, entry in tables:
        headers.append(
            struct.pack(
                "<IIQQQQIIQQ", 0, kind, 0, 0, 64 + len(contents), len(data), link, 0, 8, entry
            )
        )
        contents += data + bytes(-len(data) % 8)
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, 64 + len(contents), 0, 64, 0, 0, 64, 7, 0)
    return head + contents + b"".join(headers)
