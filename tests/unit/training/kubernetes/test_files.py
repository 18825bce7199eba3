"""The files of a rendered job."""

from __future__ import annotations

import shutil
import subprocess

import pytest
import yaml

from cloister.training.kubernetes.files import render_files
from unit.training.kubernetes.rendering import plan, policy_text


def test_the_same_policy_gives_the_same_files() -> None:
    """Byte for byte, so that a review of one is a review of the next."""
    assert render_files(plan(), as_jobset=False) == render_files(plan(), as_jobset=False)


def test_manifests_are_plain() -> None:
    """No anchors and no tags, which some readers do not know."""
    files = render_files(plan(), as_jobset=False)
    for name, content in files.items():
        if name.endswith(".yaml"):
            events = list(yaml.parse(content))
            assert not any(isinstance(event, yaml.AliasEvent) for event in events)
            assert content.startswith("---\n")


def test_the_policy_arrives_as_it_was_written() -> None:
    """Its hash is of what it says, and people compare the text."""
    content = render_files(plan(), as_jobset=False)["10-configuration.yaml"]
    assert yaml.safe_load(content)["data"]["policy.yaml"] == policy_text()


def test_the_page_says_what_the_policy_must_say() -> None:
    """And whether it does."""
    made = plan()
    page = render_files(made, as_jobset=False)["README.md"]
    assert f'mr_config_id: {{one_of: ["{made.init.digest}"]}}' in page
    assert "**This policy does not have it.**" in page
    line = f'      mr_config_id: {{one_of: ["{made.init.digest}"]}}\n'
    assert (
        "This policy has it."
        in render_files(plan(policy_text(claims=line)), as_jobset=False)["README.md"]
    )


def test_the_page_says_who_never_ends() -> None:
    """Where nobody else ends them."""
    assert "digits-ps would go on for ever" in render_files(plan(), as_jobset=False)["README.md"]
    page = render_files(plan(jobset=True), as_jobset=True)["README.md"]
    assert "for ever" not in page
    assert "JobSet controller" in page


def test_the_image_has_what_a_pod_starts() -> None:
    """The program that the manifests name, and the path that the agent's rules let pass."""
    files = render_files(plan(), as_jobset=False)
    assert "chmod 0755 /opt/cloister/enter" in files["Containerfile"]
    path = next(
        line for line in files["Containerfile"].splitlines() if line.startswith("ENV PATH=")
    )
    assert path.removeprefix("ENV PATH=").replace(".", "[.]") in files["initdata.toml"]
    assert "COPY --from=code" not in files["Containerfile"]


def test_what_a_pod_starts_is_a_script(tmp_path_factory: pytest.TempPathFactory) -> None:
    """As the shell that builds the image writes it."""
    if shutil.which("sh") is None:
        pytest.skip("needs sh")
    lines = render_files(plan(), as_jobset=False)["Containerfile"].splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("RUN printf"))
    place = tmp_path_factory.mktemp("image") / "enter"
    command = "\n".join(lines[first : first + 3]).removeprefix("RUN ")
    subprocess.run(
        ["sh", "-c", command.replace("/opt/cloister/enter", str(place))], check=True, timeout=10
    )
    assert place.read_text().splitlines()[0] == "#!/bin/sh"
    assert place.read_text().splitlines()[-1] == 'exec /opt/cloister/.venv/bin/cloister "$@"'
    subprocess.run(["sh", "-n", str(place)], check=True, timeout=10)
