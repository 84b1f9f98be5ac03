"""What the relinker changes in a shared object, on ones small enough to write by hand."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from environment.elf import RENAMED, ElfError, SharedObject, make_loadable
from tests.setup.tiny_shared_object import Use, tiny_shared_object

NEW_CONVERSION = Use("__isoc23_strtol", "GLIBC_2.38")
OLD_CALL = Use("malloc", "GLIBC_2.2.5")


def asked(data: bytes) -> dict[str, int]:
    """Undefined symbols and the number of the version each asks for (1: any)."""
    shared_object = SharedObject(data)
    return {
        symbol.name: shared_object.version_of(symbol)
        for symbol in shared_object.symbols()
        if symbol.undefined
    }


def needs(data: bytes) -> dict[str, bool]:
    """Versions needed, and whether each is weak."""
    return {need.name: need.weak for need in SharedObject(data).version_needs()}


def test_the_tables_of_the_hand_made_object_are_read_as_written():
    data = tiny_shared_object([NEW_CONVERSION, OLD_CALL])

    assert asked(data) == {"__isoc23_strtol": 3, "malloc": 2}
    assert needs(data) == {"GLIBC_2.2.5": False, "GLIBC_2.38": False}
    assert SharedObject(data).relocated() == {1, 2}
    assert [s.name for s in SharedObject(data).symbols()][-1] == "PyInit_tiny"


@pytest.mark.parametrize(("new", "old"), RENAMED.items())
def test_a_new_symbol_is_bound_to_its_older_equivalent_in_any_version(new, old):
    version = "CXXABI_1.3.15" if new == "__cxa_call_terminate" else "GLIBC_2.38"
    data = tiny_shared_object([OLD_CALL, Use(new, version)])

    loadable = make_loadable(data)

    assert asked(loadable) == {"malloc": asked(data)["malloc"], old: 1}
    assert needs(loadable) == {"GLIBC_2.2.5": False, version: True}
    assert len(loadable) == len(data)


def test_an_older_name_that_is_there_already_is_used_where_it_stands():
    terminate = Use("_ZSt9terminatev", "GLIBCXX_3.4")
    data = tiny_shared_object([Use("__cxa_call_terminate", "CXXABI_1.3.15"), terminate])

    loadable = make_loadable(data)

    names = [s.name for s in SharedObject(loadable).symbols() if s.undefined]
    assert names == ["_ZSt9terminatev", "_ZSt9terminatev"]
    assert b"__cxa_call_terminate" in loadable


def test_a_symbol_nothing_refers_to_becomes_weak():
    hook = Use("_ZSt21ios_base_library_initv", "GLIBCXX_3.4.32", relocated=False)

    loadable = SharedObject(make_loadable(tiny_shared_object([hook])))

    symbol = loadable.symbols()[1]
    assert symbol.info >> 4 == 2
    assert loadable.version_of(symbol) == 1


def test_that_symbol_is_refused_where_something_refers_to_it():
    hook = Use("_ZSt21ios_base_library_initv", "GLIBCXX_3.4.32", relocated=True)

    with pytest.raises(ElfError, match="_ZSt21ios_base_library_initv is used"):
        make_loadable(tiny_shared_object([hook]))


def test_a_name_whose_string_another_symbol_shares_is_not_overwritten():
    data = tiny_shared_object(
        [Use("__cxa_call_terminate", "CXXABI_1.3.15")], defined="terminate", share_strings=True
    )

    with pytest.raises(ElfError, match="__cxa_call_terminate is shared"):
        make_loadable(data)


def test_another_symbol_of_a_new_version_is_refused_by_name():
    unknown = Use("fmod", "GLIBC_2.38")

    with pytest.raises(ElfError, match=r"fmod still needs GLIBC_2\.38"):
        make_loadable(tiny_shared_object([NEW_CONVERSION, unknown]))


@pytest.mark.parametrize("version", ["GLIBC_2.39", "GLIBCXX_3.4.33", "CXXABI_1.3.14"])
def test_a_version_newer_than_the_known_ones_is_refused(version):
    with pytest.raises(ElfError, match=version):
        make_loadable(tiny_shared_object([Use("something", version)]))


def test_an_object_that_needs_nothing_new_stays_as_it_is():
    data = tiny_shared_object([OLD_CALL, Use("pthread_key_create", "GLIBC_2.34")])

    assert make_loadable(data) == data


def test_a_second_pass_changes_nothing():
    once = make_loadable(tiny_shared_object([NEW_CONVERSION, OLD_CALL]))

    assert make_loadable(once) == once


@pytest.mark.parametrize("data", [b"", b"\x7fELF\x01\x01", b"PK\x03\x04 a wheel"])
def test_other_files_are_refused(data):
    with pytest.raises(ElfError, match="not a 64-bit"):
        make_loadable(data)


def test_a_truncated_object_is_refused():
    data = tiny_shared_object([NEW_CONVERSION])

    with pytest.raises(ElfError, match="damaged"):
        make_loadable(data[:-32])


def test_a_real_extension_still_loads_and_works_after_an_edit(tmp_path):
    """One of its libc functions is bound to any version."""
    installed = Path(importlib.util.find_spec("markupsafe._speedups").origin)
    extension = SharedObject(installed.read_bytes())
    [memcpy] = [s for s in extension.symbols() if s.undefined and s.name == "memcpy"]
    assert extension.version_of(memcpy) > 1

    extension.bind(memcpy, "memcpy")

    edited = tmp_path / installed.name
    edited.write_bytes(extension.data)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import _speedups;"
        "print(_speedups.__file__, _speedups._escape_inner('<'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{edited} &lt;\n"
