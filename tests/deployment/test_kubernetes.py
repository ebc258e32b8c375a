"""The manifests against Kubernetes' own schemas, as files and as kustomize renders them."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from inference.launcher import TritonOptions, launch_command
from orchestrator.settings import Settings
from tests.support.checkout import ROOT
from tests.support.compose import triton_arguments

BASE = ROOT / "kubernetes" / "base"
KUSTOMIZATION = yaml.safe_load((BASE / "kustomization.yaml").read_text())
VERSIONS = ("1.28", "1.37")  # the oldest that the manifests are meant for, and the newest that the validator knows


def documents() -> list[dict[str, Any]]:
    return [one for name in KUSTOMIZATION["resources"] for one in yaml.safe_load_all((BASE / name).read_text())]


def pods(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one["spec"]["template"]["spec"] for one in manifests if "template" in one.get("spec", {})]


def name_of(manifest: dict[str, Any]) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", documents(), ids=name_of)
def test_manifest_is_what_the_schema_asks_for(manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("folder", ["base", "cpu"])
def test_kustomize_renders_it(folder: str) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    command = ["kubectl", "kustomize", str(ROOT / "kubernetes" / folder)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    rendered = list(yaml.safe_load_all(answer.stdout))
    assert len(rendered) == len(documents())
    for manifest in rendered:
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)
        assert manifest["kind"] == "Namespace" or manifest["metadata"]["namespace"] == "latentsync"
    images = {container["image"] for pod in pods(rendered) for container in pod["containers"]}
    assert all(image.rpartition(":")[2][0].isdigit() for image in images), images
    gpus = sum(
        "nvidia.com/gpu" in container["resources"]["limits"]
        for pod in pods(rendered)
        for container in pod["containers"]
    )
    assert gpus == (2 if folder == "base" else 0)


def test_no_container_is_root_or_can_become_it() -> None:
    for pod in pods(documents()):
        assert pod["securityContext"]["runAsNonRoot"] and pod["automountServiceAccountToken"] is False
        for container in [*pod["containers"], *pod.get("initContainers", ())]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
            assert security["capabilities"] == {"drop": ["ALL"]}


def test_selectors_find_their_pods() -> None:
    labels = [
        one["spec"]["template"]["metadata"]["labels"]
        for one in documents()
        if "selector" in one.get("spec", {}) and "template" in one["spec"]
    ]
    for manifest in documents():
        selector = manifest.get("spec", {}).get("selector") or manifest.get("spec", {}).get("podSelector")
        if selector:
            assert selector.get("matchLabels", selector) in labels, name_of(manifest)


def test_settings_of_the_config_map_exist_and_are_valid() -> None:
    [values] = [one["data"] for one in documents() if one["kind"] == "ConfigMap"]
    given = {name.removeprefix("LATENTSYNC_").lower(): value for name, value in values.items()}
    assert Settings(**given).triton_url == "dns:///tritonserver:8001"


def test_triton_is_scaled_on_the_metric_that_the_adapter_makes() -> None:
    [scaler] = [one["spec"] for one in documents() if one["kind"] == "HorizontalPodAutoscaler"]
    adapter = yaml.safe_load((ROOT / "kubernetes" / "prometheus-adapter.yaml").read_text())
    made = {rule["name"]["as"] for rule in adapter["rules"]["custom"]}
    assert {metric["pods"]["metric"]["name"] for metric in scaler["metrics"]} == made


def test_traces_are_sent_by_triton_and_orchestrator_to_the_same_collector(tmp_path: Path) -> None:
    component = yaml.safe_load((ROOT / "kubernetes" / "traces" / "kustomization.yaml").read_text())
    added = {patch["target"]["name"]: yaml.safe_load(patch["patch"]) for patch in component["patches"]}
    [setting] = added["orchestrator"]
    assert setting["path"] == "/data/LATENTSYNC_OTLP_ENDPOINT"
    endpoint = Settings.model_validate({"otlp_endpoint": setting["value"]}).otlp_endpoint
    ours, _ = launch_command(TritonOptions(tmp_path, tmp_path, tmp_path, otlp_endpoint=endpoint))
    assert [one["value"] for one in added["tritonserver"]] == [one for one in ours if one.startswith("--trace-config")]
    assert {one["path"] for one in added["tritonserver"]} == {"/spec/template/spec/containers/0/command/-"}
    for patch in component["patches"]:
        assert f"{patch['target']['kind']} {patch['target']['name']}" in map(name_of, documents())


def test_prometheus_scrapes_the_containers_ports_under_the_names_that_the_alerts_ask_for(tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "kubernetes" / "prometheus-scrape.yaml").read_text())
    ports = {
        f"{container['name']};{port['containerPort']}"
        for pod in pods(documents())
        for container in pod["containers"]
        for port in container.get("ports", ())
    }
    for job in config["scrape_configs"]:
        assert job["relabel_configs"][0]["regex"] in ports
        [sight] = job.pop("kubernetes_sd_configs")  # which Debian's promtool is built without
        assert sight == {"role": "pod", "namespaces": {"names": ["latentsync"]}}
    alerts = (ROOT / "docker" / "prometheus" / "alerts.yml").read_text()
    assert all(f'job="{job["job_name"]}"' in alerts for job in config["scrape_configs"])
    if shutil.which("promtool") is None:
        pytest.skip("promtool, which comes with prometheus, is not installed")
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = ["promtool", "check", "config", "--syntax-only", str(tmp_path / "prometheus.yml")]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_keys_are_where_the_server_looks_for_them_and_can_change_while_it_runs() -> None:
    [values] = [one["data"] for one in documents() if one["kind"] == "ConfigMap"]
    [pod] = [pod for pod in pods(documents()) if pod["containers"][0]["name"] == "orchestrator"]
    [mount] = [one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "keys"]
    assert values["LATENTSYNC_KEYS_FILE"] == f"{mount['mountPath']}/keys.json"
    assert "subPath" not in mount, "Kubernetes never updates a file that is mounted by its path"


def test_secret_of_triton_reaches_all_who_call_it_and_no_manifest() -> None:
    assert "triton-secret" not in {name_of(one).partition(" ")[2] for one in documents()}
    for pod in pods(documents()):
        [container, *_] = pod["containers"]
        if container["name"] == "export":
            continue
        for each in [container, *pod.get("initContainers", ())]:
            [mount] = [one for one in each["volumeMounts"] if one["name"] == "triton-secret"]
            assert mount["mountPath"] == "/triton-secret" and "subPath" not in mount
        [volume] = [one for one in pod["volumes"] if one["name"] == "triton-secret"]
        assert volume["secret"]["secretName"] == "triton-secret"
    [values] = [one["data"] for one in documents() if one["kind"] == "ConfigMap"]
    assert values["LATENTSYNC_TRITON_SECRET_FILE"] == "/triton-secret/triton_secret"


def test_triton_gets_the_arguments_that_compose_gives_it() -> None:
    [pod] = [pod for pod in pods(documents()) if pod["containers"][0]["name"] == "tritonserver"]
    given = triton_arguments("gpu", secret="$(TRITON_SECRET)")
    [variable] = [one for one in pod["containers"][0]["env"] if one["name"] == "TRITON_SECRET"]
    assert variable["valueFrom"]["secretKeyRef"] == {"name": "triton-secret", "key": "triton_secret"}
    compose = {one for one in given if not one.startswith("--backend-config")}
    for_several = {one for one in pod["containers"][0]["command"] if one.startswith("--grpc-max-connection-age")}
    assert set(pod["containers"][0]["command"][1:]) == compose | for_several
