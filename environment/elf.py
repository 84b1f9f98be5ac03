"""Lets a shared object built against newer system libraries load on older ones.

A shared object says what it needs of the C and C++ libraries in four tables: the names of its
undefined symbols (.dynsym, with the strings in .dynstr), the version each of them must have
(.gnu.version), and the list of versions each library must offer (.gnu.version_r), which the loader
checks before it looks at any symbol. `make_loadable` edits entries of these tables in place; no
table grows, nothing moves, and no code or data is touched.
"""

import re
import struct
from dataclasses import dataclass

# Undefined symbols that only newer libraries define, and the older symbol each is bound to instead.
# The C23 string conversions differ from the classic ones by reading "0b101" in base 0 and 2 only;
# __cxa_call_terminate is what a compiler calls to end the process from a noexcept function.
RENAMED = {
    "__isoc23_strtol": "strtol",
    "__isoc23_strtoll": "strtoll",
    "__isoc23_strtoul": "strtoul",
    "__isoc23_strtoull": "strtoull",
    "__cxa_call_terminate": "_ZSt9terminatev",
}
# A symbol nothing refers to: <iostream> names it so that the linker pulls in a newer libstdc++.
UNUSED = frozenset({"_ZSt21ios_base_library_initv"})
# Versions that RENAMED and UNUSED came from; once no symbol asks for them, they need not be there.
RELAXED = frozenset({"GLIBC_2.38", "GLIBCXX_3.4.32", "CXXABI_1.3.15"})
# The newest versions that may be left: those of manylinux_2_34 (GCC 11), see PEP 600.
NEWEST_LEFT = {"GLIBC": (2, 34), "GLIBCXX": (3, 4, 29), "CXXABI": (1, 3, 13)}

_SHT_RELA, _SHT_REL, _SHT_DYNAMIC, _SHT_DYNSYM = 4, 9, 6, 11
_SHT_GNU_VERDEF, _SHT_GNU_VERNEED, _SHT_GNU_VERSYM = 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF
_DT_NEEDED, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 1, 14, 15, 29
_VERSION_GLOBAL = 1
_VERSION_HIDDEN = 0x8000
_FLAG_WEAK = 2
_BIND_WEAK = 2


class ElfError(ValueError):
    """The shared object is not one this module understands or may change."""


@dataclass(frozen=True)
class Section:
    """One entry of the section header table: its type, place in the file and linked section."""

    kind: int
    offset: int
    size: int
    link: int
    entry_size: int


@dataclass(frozen=True)
class Symbol:
    """One entry of .dynsym: `offset` is where the entry lies in the file."""

    index: int
    offset: int
    name_offset: int
    name: str
    info: int
    section: int

    @property
    def undefined(self) -> bool:
        return self.section == 0 and self.index > 0


@dataclass(frozen=True)
class VersionNeed:
    """One version asked of a library: `offset` is where the entry lies in the file."""

    offset: int
    library: str
    name: str
    name_offset: int
    index: int
    flags: int

    @property
    def weak(self) -> bool:
        return bool(self.flags & _FLAG_WEAK)


class SharedObject:
    """The dynamic symbol and version tables of a 64-bit little-endian ELF file, read and editable.

    Args:
        data: the file's bytes. They are copied.

    Raises:
        ElfError: not such a file, or one without these tables.
    """

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        if data[:6] != b"\x7fELF\x02\x01":
            raise ElfError("not a 64-bit little-endian ELF file")
        try:
            self.sections = self._read_sections()
            self._dynsym = self._only(_SHT_DYNSYM, ".dynsym")
            self._dynstr = self.sections[self._dynsym.link]
            self._versym = self._only(_SHT_GNU_VERSYM, ".gnu.version")
        except (struct.error, IndexError) as error:
            raise ElfError(f"truncated or damaged ELF file: {error}") from error

    def _unpack(self, layout: str, offset: int) -> tuple[int, ...]:
        return struct.unpack_from("<" + layout, self.data, offset)

    def _read_sections(self) -> list[Section]:
        (table,) = self._unpack("Q", 40)
        entry_size, count = self._unpack("HH", 58)
        sections = []
        for number in range(count):
            _, kind, _, _, offset, size, link, _, _, entry = self._unpack(
                "IIQQQQIIQQ", table + number * entry_size
            )
            sections.append(Section(kind, offset, size, link, entry))
        return sections

    def _only(self, kind: int, name: str) -> Section:
        found = [section for section in self.sections if section.kind == kind]
        if len(found) != 1:
            raise ElfError(f"expected one {name} section, found {len(found)}")
        return found[0]

    def string(self, offset: int) -> str:
        """The NUL-terminated string at `offset` of .dynstr."""
        start = self._dynstr.offset + offset
        end = self.data.index(b"\0", start, self._dynstr.offset + self._dynstr.size)
        return self.data[start:end].decode("ascii")

    def symbols(self) -> list[Symbol]:
        """All of .dynsym, in order; symbol 0 is the empty one the format asks for."""
        found = []
        for index in range(self._dynsym.size // 24):
            offset = self._dynsym.offset + index * 24
            name, info, _, section = self._unpack("IBBH", offset)
            found.append(Symbol(index, offset, name, self.string(name), info, section))
        return found

    def version_needs(self) -> list[VersionNeed]:
        """All versions asked of other libraries, in order."""
        found = []
        for section in self.sections:
            if section.kind != _SHT_GNU_VERNEED:
                continue
            library_at = section.offset
            while True:
                _, count, library, first, following = self._unpack("HHIII", library_at)
                entry_at = library_at + first
                for _ in range(count):
                    _, flags, index, name, after = self._unpack("IHHII", entry_at)
                    found.append(
                        VersionNeed(
                            entry_at, self.string(library), self.string(name), name, index, flags
                        )
                    )
                    entry_at += after
                if not following:
                    break
                library_at += following
        return found

    def version_of(self, symbol: Symbol) -> int:
        """The number in .gnu.version of the version a symbol has or asks for."""
        return self._unpack("H", self._versym.offset + symbol.index * 2)[0] & ~_VERSION_HIDDEN

    def relocated(self) -> set[int]:
        """The numbers of the symbols that code or data refer to."""
        found = set()
        for section in self.sections:
            if section.kind in (_SHT_RELA, _SHT_REL) and section.entry_size:
                for at in range(section.offset, section.offset + section.size, section.entry_size):
                    found.add(self._unpack("Q", at + 8)[0] >> 32)
        return found

    def bind(self, symbol: Symbol, name: str) -> None:
        """Makes an undefined symbol ask for `name`, in any version, instead of its own name.

        Raises:
            ElfError: `name` is nowhere in .dynstr, and the old name cannot give its place to it.
        """
        struct.pack_into("<I", self.data, symbol.offset, self._place(symbol, name))
        self._ask_for_any_version(symbol)

    def make_optional(self, symbol: Symbol) -> None:
        """Makes an undefined symbol weak and of any version: the loader may leave it unbound."""
        self.data[symbol.offset + 4] = _BIND_WEAK << 4 | symbol.info & 0xF
        self._ask_for_any_version(symbol)

    def relax(self, need: VersionNeed) -> None:
        """Makes a needed version weak: a library that lacks it is accepted."""
        struct.pack_into("<H", self.data, need.offset + 4, need.flags | _FLAG_WEAK)

    def _ask_for_any_version(self, symbol: Symbol) -> None:
        at = self._versym.offset + symbol.index * 2
        struct.pack_into("<H", self.data, at, _VERSION_GLOBAL)

    def _place(self, symbol: Symbol, name: str) -> int:
        """Where `name` stands in .dynstr: found there (often as the tail of the old name, as in
        __isoc23_strtol), or written over the old name where nothing else reads it."""
        start, end = self._dynstr.offset, self._dynstr.offset + self._dynstr.size
        wanted = name.encode("ascii") + b"\0"
        found = self.data.find(wanted, start, end)
        if found >= 0:
            return found - start
        if len(name) > len(symbol.name):
            raise ElfError(f"{name} does not fit in the place of {symbol.name}")
        old = range(symbol.name_offset, symbol.name_offset + len(symbol.name))
        readers = [at for at in self._string_offsets(symbol) if self._reads(at, old)]
        if readers:
            raise ElfError(f"the string {symbol.name} is shared with another entry")
        at = start + symbol.name_offset
        self.data[at : at + len(wanted)] = wanted
        return symbol.name_offset

    def _reads(self, offset: int, place: range) -> bool:
        return place.start < offset + len(self.string(offset)) + 1 and offset < place.stop

    def _string_offsets(self, apart_from: Symbol) -> list[int]:
        """Offsets in .dynstr that the tables use, apart from one symbol's own name."""
        used = [s.name_offset for s in self.symbols() if s.index not in (0, apart_from.index)]
        for need in self.version_needs():
            used.append(need.name_offset)
        for section in self.sections:
            if section.kind == _SHT_GNU_VERDEF:
                used.extend(self._defined_version_names(section))
            if section.kind == _SHT_DYNAMIC:
                for at in range(section.offset, section.offset + section.size, 16):
                    tag, value = self._unpack("QQ", at)
                    if tag in (_DT_NEEDED, _DT_SONAME, _DT_RPATH, _DT_RUNPATH):
                        used.append(value)
        return used

    def _defined_version_names(self, section: Section) -> list[int]:
        found = []
        version_at = section.offset
        while True:
            _, _, _, count, _, first, following = self._unpack("HHHHIII", version_at)
            name_at = version_at + first
            for _ in range(count):
                name, after = self._unpack("II", name_at)
                found.append(name)
                name_at += after
            if not following:
                return found
            version_at += following


def make_loadable(data: bytes) -> bytes:
    """The same shared object, loadable where glibc is 2.34 and libstdc++ that of GCC 11 or newer.

    Symbols in `RENAMED` are bound to their older equivalents, those in `UNUSED` become optional,
    versions in `RELAXED` become weak. An object that needs none of this comes back unchanged.

    Args:
        data: the bytes of a shared object.

    Returns:
        The edited bytes, of the same length.

    Raises:
        ElfError: the object still needs something newer after these edits, or is damaged.
    """
    shared_object = SharedObject(data)
    relocated = shared_object.relocated()
    for symbol in shared_object.symbols():
        if not symbol.undefined:
            continue
        if symbol.name in RENAMED:
            shared_object.bind(symbol, RENAMED[symbol.name])
        elif symbol.name in UNUSED:
            if symbol.index in relocated:
                raise ElfError(f"{symbol.name} is used: it cannot be made optional")
            shared_object.make_optional(symbol)
    for need in shared_object.version_needs():
        if need.name in RELAXED:
            shared_object.relax(need)
    _check_what_is_left(shared_object)
    return bytes(shared_object.data)


def _check_what_is_left(shared_object: SharedObject) -> None:
    asked_by = {
        shared_object.version_of(symbol): symbol.name
        for symbol in shared_object.symbols()
        if symbol.undefined
    }
    for need in shared_object.version_needs():
        if need.weak:
            if need.index in asked_by:
                raise ElfError(f"{asked_by[need.index]} still needs {need.name}")
            continue
        match = re.fullmatch(r"([A-Z]+)_([0-9.]+)", need.name)
        newest = NEWEST_LEFT.get(match[1]) if match else None
        if match and newest and tuple(map(int, match[2].split("."))) > newest:
            raise ElfError(f"{need.library} must offer {need.name}, which is not handled")
