"""docker-compose.yml and the Dockerfiles, as far as they can be checked without a container engine."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import requires
from pathlib import Path

import pytest

from inference.launcher import TritonOptions, launch_command
from inference.secret import GRPC_HEADER, protection
from orchestrator.probe import ProbeFailed, probe_triton
from orchestrator.settings import Settings
from tests.support.checkout import ROOT
from tests.support.compose import PROFILES, SECRET, compose_config, services, triton_arguments

DOCKERFILES = sorted((ROOT / "docker").glob("*/Dockerfile"))
LOCKS = sorted((ROOT / "docker" / "requirements").glob("*.txt"))
LOCKED = [pin for file in LOCKS for pin in re.findall(r"^([a-z0-9-]+)==(\S+)", file.read_text(), re.MULTILINE)]
IMAGES = re.findall(r"image: ([^&*\s]+)", (ROOT / "docker-compose.yml").read_text())
IMAGES += [image for file in DOCKERFILES for image in re.findall(r"^FROM (\S+)", file.read_text(), re.MULTILINE)]


@pytest.mark.parametrize("profile", PROFILES)
def test_compose_takes_the_file_and_runs_every_part(profile: str) -> None:
    names = {name.removesuffix("-cpu") for name in services(profile)}
    parts = {"export", "tritonserver", "avatar", "orchestrator", "mediamtx", "prometheus", "grafana"}
    assert names == parts


def test_only_the_gpu_profile_asks_for_gpus() -> None:
    def asking(profile: str) -> set[str]:
        return {name for name, service in services(profile).items() if "deploy" in service}

    assert asking("gpu") == {"export", "tritonserver"}
    assert asking("cpu") == set()


@pytest.mark.parametrize("profile", PROFILES)
def test_no_service_is_root_or_can_become_it(profile: str) -> None:
    for name, service in services(profile).items():
        dockerfile = service.get("build", {}).get("dockerfile")
        user = service.get("user") or re.findall(r"^USER (\S+)", (ROOT / dockerfile).read_text(), re.MULTILINE)[-1]
        assert re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", user), name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


@pytest.mark.parametrize("profile", PROFILES)
def test_every_service_that_stays_has_a_health_check(profile: str) -> None:
    for name, service in services(profile).items():
        if service["restart"] == "no":
            continue
        dockerfile = service.get("build", {}).get("dockerfile")
        assert "healthcheck" in service or "HEALTHCHECK" in (ROOT / dockerfile).read_text(), name


@pytest.mark.parametrize("image", IMAGES)
def test_every_image_has_a_pinned_version(image: str) -> None:
    tag = image.partition(":")[2]
    assert re.match(r"v?[0-9]|\$\{LATENTSYNC_TAG:-[0-9]", tag), image


@pytest.mark.parametrize("profile", PROFILES)
def test_the_models_are_read_only_where_they_are_served(profile: str) -> None:
    [triton] = [one for name, one in services(profile).items() if name.startswith("tritonserver")]
    assert "models:/models:ro" in triton["volumes"]


def test_settings_that_compose_sets_exist() -> None:
    for service in compose_config("gpu")["services"].values():
        for name in service.get("environment", {}):
            if name.startswith("LATENTSYNC_"):
                assert name.removeprefix("LATENTSYNC_").lower() in Settings.model_fields, name


def test_no_secret_is_written_down_or_can_get_into_an_image() -> None:
    for service in compose_config("gpu")["services"].values():
        for name in service.get("environment", {}):
            assert name.endswith("_FILE") or not re.search(r"PASSWORD|SECRET|TOKEN|API_KEY", name), name
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert allowed[1] == "*", "everything that isn't named stays out of the build"
    for file in DOCKERFILES:
        for kept_out in ("secrets", ".env", "/var", ".git"):
            assert not re.search(rf"^COPY .*{re.escape(kept_out)}", file.read_text(), re.MULTILINE), kept_out


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda path: path.parent.name)
def test_what_is_copied_is_there_and_let_into_the_build(file: Path) -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--from)(.+)$", file.read_text(), re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source in let_in or any(name.startswith(f"{source}/") for name in let_in), source


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda path: path.parent.name)
def test_hadolint_finds_nothing(file: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    answer = subprocess.run([hadolint, str(file)], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_images_get_the_versions_that_the_project_asks_for() -> None:
    pinned = dict(LOCKED)
    for requirement in requires("latentsync-realtime") or ():
        requirement, _, marker = requirement.partition(";")
        if marker and "agents" not in marker:  # another extra's, or an older Python's
            continue
        name = re.split(r"[^A-Za-z0-9_-]", requirement)[0].lower()
        name = name.replace("_", "-")
        if name == "nvidia-pytriton":  # the embedded tritonserver, which the images have no use for
            continue
        assert name in pinned, name
        if "==" in requirement:
            assert requirement.partition("==")[2].strip() == pinned[name], name


def test_every_package_of_the_images_is_checked_against_hashes() -> None:
    for file in LOCKS:
        blocks = re.split(r"\n(?=\S)", file.read_text().strip())
        assert all(re.match(r"[a-z0-9-]+==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", block) for block in blocks), file
    assert len(dict(LOCKED)) == len(LOCKED), "a package is locked twice"
    for dockerfile in DOCKERFILES:
        text = dockerfile.read_text()
        for file in LOCKS:
            assert f"--require-hashes --requirement requirements/{file.name}" in text, dockerfile


def test_images_are_pinned_to_what_the_registry_says(tmp_path: Path) -> None:
    digest = "sha256:" + "ab" * 32
    files = ["docker-compose.yml", *(str(file.relative_to(ROOT)) for file in DOCKERFILES), "tools/pin_images.sh"]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()

    def pin(answer: str) -> subprocess.CompletedProcess[str]:
        docker.write_text(f"#!/bin/sh\necho '{answer}'\n")
        docker.chmod(0o755)
        environment = {"PATH": f"{docker.parent}:{os.environ['PATH']}"}
        command = [tmp_path / "tools" / "pin_images.sh"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    before = (tmp_path / "docker-compose.yml").read_text()
    assert pin("not found").returncode == 1 and (tmp_path / "docker-compose.yml").read_text() == before
    assert pin(digest).returncode == 0
    for name in files[:-1]:
        text = (tmp_path / name).read_text()
        named = re.findall(r"^FROM (\S+)|^    image: (\S+)$", text, re.MULTILINE)
        assert all(one.endswith(f"@{digest}") for pair in named for one in pair if one), named
        assert text.count("latentsync-realtime/") == (ROOT / name).read_text().count("latentsync-realtime/")
    assert "no image is without a digest" in pin(digest).stdout


@pytest.mark.asyncio(loop_scope="session")
async def test_a_real_tritonserver_serves_with_the_containers_arguments(
    exported: Callable[..., Path], options_for: Callable[..., TritonOptions], tmp_path: Path
) -> None:
    repository = exported(tmp_path / "models")
    options = options_for(repository, exit_timeout_s=5)
    ours, environment = launch_command(options)
    # The image has these in their places; the ports are this test's own.
    kept = [one for one in ours[1:] if one.startswith(("--backend-directory", "--cache-directory"))]
    kept += [one for one in ours[1:] if "-port=" in one or "-address=" in one]
    container = [one for one in triton_arguments("cpu") if not one.startswith("--model-repository")]
    command = [ours[0], f"--model-repository={repository}", *container, *kept]
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await probe_triton(f"127.0.0.1:{options.grpc_port}", timeout_s=60, wait_s=90, secret=SECRET)
        with pytest.raises(ProbeFailed, match=GRPC_HEADER):
            await probe_triton(f"127.0.0.1:{options.grpc_port}", timeout_s=10)
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 60) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_launcher_and_container_run_triton_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = ("OMP_WAIT_POLICY", "MALLOC_ARENA_MAX")
    for name in variables:
        monkeypatch.delenv(name, raising=False)
    ours, environment = launch_command(TritonOptions(tmp_path, tmp_path, tmp_path))
    image = (ROOT / "docker" / "triton" / "Dockerfile").read_text()
    assert all(f" {name}={environment[name]}" in image for name in variables)
    modes = {one for one in ours if one.startswith(("--model-control", "--load-model", "--disable-auto"))}
    assert modes <= set(triton_arguments("gpu"))


@pytest.mark.parametrize("profile", PROFILES)
def test_container_protects_triton_as_the_launcher_does(profile: str) -> None:
    arguments = triton_arguments(profile)
    assert set(protection(SECRET, http=False)) | {"--allow-http=false"} <= set(arguments)
    assert triton_arguments(profile, secret="") == [], "without a secret it must not start"
    for name, service in services(profile).items():
        reaches = "inference" in service.get("networks", {})
        assert reaches == ("triton_secret" in {one["source"] for one in service.get("secrets", ())}), name


def test_prometheus_is_on_no_network_but_its_own_and_the_metrics() -> None:
    networks = compose_config("gpu")["services"]["prometheus"]["networks"]
    assert set(networks) == {"metrics", "triton-metrics", "edge"}
    members = {name for name, one in services("gpu").items() if "triton-metrics" in one.get("networks", {})}
    assert members == {"tritonserver", "prometheus"}


def test_triton_image_is_of_a_release_without_the_holes_of_2025() -> None:
    image = (ROOT / "docker" / "triton" / "Dockerfile").read_text()
    [release] = re.findall(r"^FROM nvcr\.io/nvidia/tritonserver:(\d\d\.\d\d)-py3$", image, re.MULTILINE)
    assert release >= "25.07", "CVE-2025-23311 and CVE-2025-23319 are fixed in 25.07"
    assert "python_backend_stubs" not in image, "a stub of another release does not fit"


def test_launcher_and_container_send_tritons_traces_alike(tmp_path: Path) -> None:
    endpoint = "http://collector:4318"
    ours, _ = launch_command(TritonOptions(tmp_path, tmp_path, tmp_path, otlp_endpoint=endpoint))
    traces = [one for one in ours if one.startswith("--trace-config")]
    assert len(traces) == 5
    assert [one for one in triton_arguments("gpu", endpoint) if one.startswith("--trace-config")] == traces
    assert "--trace-config" not in " ".join(triton_arguments("gpu"))
