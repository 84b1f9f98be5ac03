"""`easq doctor`: what it looks at, what it calls a fault, and the remedy it gives."""

import importlib.metadata
import sys

import pytest

from cli import doctor
from cli.doctor import FAILED, OK, WARNING
from cli.main import main

DECLARED = [
    "numpy>=2,<3",
    'apache-beam<2.78,>=2.77; extra == "pipeline"',
    'tfx<1.22,>=1.21; extra == "pipeline"',
    'kfp<2.17,>=2.16; extra == "kubeflow"',
]


def checked(installed):
    def version(name):
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    return {of.subject: of for of in doctor.packages(lambda name: DECLARED, version)}


def test_packages_as_declared_are_well_and_an_extra_nobody_installed_is_no_fault():
    found = checked({"numpy": "2.1", "apache-beam": "2.77.0", "tfx": "1.21.0"})
    assert {of.state for of in found.values()} == {OK}
    assert found["packages of the extra 'kubeflow'"].found == "not installed"


@pytest.mark.parametrize(
    ("installed", "told"),
    [
        ({"numpy": "2.1", "apache-beam": "2.77.0"}, "tfx is not there"),
        (
            {"numpy": "2.1", "apache-beam": "2.60.0", "tfx": "1.21.0"},
            "apache-beam 2.60.0 is not <2.78,>=2.77",
        ),
    ],
)
def test_half_an_extra_or_another_version_is_a_fault_with_the_package_named(installed, told):
    found = checked(installed)["packages of the extra 'pipeline'"]
    assert (found.state, found.found) == (FAILED, told)
    assert "easq-keras[pipeline]" in found.remedy


@pytest.mark.parametrize(
    "other",
    [((3, 12), "Linux", "x86_64"), ((3, 11), "Darwin", "arm64"), ((3, 11), "Linux", "aarch64")],
)
def test_only_the_machine_tfx_is_published_for_is_well(other):
    assert doctor.machine((3, 11), "Linux", "x86_64").state == OK
    assert doctor.machine(*other).state == FAILED


def test_little_memory_is_a_warning():
    meminfo = "MemTotal: 8000000 kB\nMemAvailable: {} kB\n"
    assert doctor.memory(meminfo.format(5 * 2**20)).state == OK
    short = doctor.memory(meminfo.format(2**20))
    assert (short.state, short.found) == (WARNING, "1.0 GiB free")


def test_a_folder_that_does_not_exist_yet_is_judged_by_the_one_above(tmp_path):
    found = doctor.disk(tmp_path / "not" / "there")
    assert found.found.endswith(str(tmp_path))


def test_a_folder_nobody_can_write_in_is_a_fault():
    found = doctor.disk(doctor.Path("/proc/easq_run"))
    assert found.state == FAILED
    assert "/proc" in found.found


def test_a_module_that_does_not_load_is_named_with_its_error():
    assert doctor.loads("a module", "json").state == OK
    broken = doctor.loads("a module", "json, no_such_module")
    assert (broken.state, broken.found) == (
        FAILED,
        "ModuleNotFoundError: No module named 'no_such_module'",
    )


def test_a_processor_that_is_too_old_is_told_from_a_broken_package():
    killed = doctor.loads("a module", "os; os.kill(os.getpid(), 4)")
    assert "AVX" in killed.remedy


@pytest.mark.parametrize(("state", "code"), [(OK, 0), (WARNING, 0), (FAILED, 1)])
def test_the_exit_code_is_1_when_there_is_something_to_fix(state, code, monkeypatch, capsys):
    finding = doctor.Finding(state, "the moon", "is full", "wait")
    monkeypatch.setattr(doctor, "findings", lambda workdir: iter([finding]))
    assert main(["doctor"]) == code
    out = capsys.readouterr().out
    assert "the moon: is full" in out
    assert "→ wait" in out
    assert "\x1b" not in out  # no colour where nobody sees it


def test_this_installation_is_well(tmp_path):
    """All but the memory, which is what it is; the frameworks load in the tests anyway."""
    quick = [doctor.machine(sys.version_info[:2], "Linux", "x86_64"), *doctor.packages()]
    assert [
        of for of in (*quick, doctor.disk(tmp_path), doctor.loopback()) if of.state == FAILED
    ] == []
