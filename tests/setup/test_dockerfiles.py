"""The images: packages by hash, nobody is root, nothing but given folders needs to be written."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def instructions(name: str) -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (ROOT / name).read_text())
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and line[0] != "#"]
    return [(word, rest) for word, rest in lines]


def test_the_program_is_run_by_nobody_in_particular() -> None:
    users = [rest for word, rest in instructions("Dockerfile") if word == "USER"]
    assert len(users) == 1
    assert int(users[0]) > 0
    # What comes after it runs as that user; nothing installs there any more.
    words = [word for word, _ in instructions("Dockerfile")]
    assert not {"RUN", "COPY", "ADD"} & set(words[words.index("USER") :])
    # The image of the workers is made from it and stays with its user.
    assert "USER" not in [word for word, _ in instructions("Dockerfile.beam")]


def test_nothing_is_fetched_but_the_base_make_and_packages_with_hashes() -> None:
    for name in ("Dockerfile", "Dockerfile.beam"):
        for word, rest in instructions(name):
            assert word != "ADD"
            assert not re.search(r"curl|wget|pip install|https?://", rest)
    runs = [rest for word, rest in instructions("Dockerfile") if word == "RUN"]
    assert len(runs) == 2
    assert "make setup" in runs[1]


def test_every_requirement_has_a_hash_and_names_no_place() -> None:
    lock = (ROOT / "requirements.txt").read_text()
    packages = re.findall(r"^[a-z0-9][^\n]*==[^\n]*", lock, flags=re.MULTILINE)
    assert len(packages) > 200
    assert all(line.endswith("\\") for line in packages)
    assert lock.count("--hash=sha256:") >= len(packages)
    assert not re.search(r"https?:|--index-url|--extra-index|--find-links|@ ", lock)


def test_the_set_up_asks_for_the_hashes() -> None:
    text = (ROOT / "environment" / "install.py").read_text()
    installs = re.findall(r'"install", "-qq", "--no-deps", ("--[a-z-]+")', text)
    # The lock, by hash; and this project, from the folder alone.
    assert installs == ['"--require-hashes"', '"--no-index"']


def test_the_examples_of_running_it_leave_the_root_alone() -> None:
    head = (ROOT / "Dockerfile").read_text().partition("FROM")[0]
    for option in ("--read-only", "--tmpfs /tmp", "--cap-drop ALL", "no-new-privileges"):
        assert option in head
    deploy = ROOT / "serving" / "deploy"
    compose = yaml.safe_load((deploy / "docker-compose.yaml").read_text())
    assert compose["services"]["model-server"]["read_only"] is True
    deployment = yaml.safe_load((deploy / "kubernetes" / "deployment.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
