"""Deployment files: each is valid for its own tool, and they agree with the gateway and with each other."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

from gateway.app.settings import Settings
from gateway.observability.metrics import Metrics
from tests.ops.promtool import tool
from tests.support.storage.ledgers import begun, empty_sqlite

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "ops" / "deploy"
KUBERNETES = sorted(DEPLOY.glob("kubernetes/*.yaml"))
UNITS = sorted(DEPLOY.glob("systemd/gateway*"))
SERVICES = [path for path in UNITS if path.suffix == ".service"]
WITHOUT_SCHEMA = {"Kustomization", "ScaledObject"}  # not in Kubernetes' own schemas; their fields are tested below
MOST_EXPOSED = "15"  # tenths, of systemd's scale from 0 (nothing may be done) to 10; below 2 it says OK


def ran(*command: str, **options: Any) -> str:
    """The output of a checker, which must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def beside_python(name: str) -> str:
    """The path of a checker that is a test dependency."""
    found = Path(sys.executable).parent / name
    assert found.exists(), f"{name} is not there: pip install -r ops/requirements/test.lock"
    return str(found)


def documents() -> Iterator[dict[str, Any]]:
    for path in KUBERNETES:
        yield from yaml.safe_load_all(path.read_text())


def kinds(*wanted: str) -> list[dict[str, Any]]:
    return [each for each in documents() if each["kind"] in wanted]


def containers() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Each container with its pod's spec and its workload's name."""
    for each in kinds("Deployment", "Job", "CronJob"):
        spec = each["spec"]["jobTemplate"]["spec"] if each["kind"] == "CronJob" else each["spec"]
        pod = spec["template"]["spec"]
        for container in pod["containers"]:
            yield each["metadata"]["name"], pod, container


# ── the image ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_dockerfile_is_linted() -> None:
    """hadolint reports nothing."""
    assert ran(beside_python("hadolint"), "--failure-threshold", "info", str(DEPLOY / "Dockerfile")) == ""


def test_the_image_is_small_and_nobodys() -> None:
    """Several stages, a numeric user without privileges, no Python package manager in the final image."""
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    assert sum(line.startswith("FROM ") for line in lines) >= 3
    assert [line for line in lines if line.startswith("USER ")][-1] == "USER 10001:10001"
    assert any("venv --without-pip" in line for line in lines)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    copied = {
        word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    }
    assert {f"!{each}" for each in copied} <= set(ignored)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked outside the source tree, as in the image's build."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    ran(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder / "made"), str(ROOT))
    (made,) = (folder / "made").glob("*.whl")
    ran(*pip, "install", "--no-deps", "--no-compile", "--target", str(folder / "installed"), str(made))
    return folder / "installed"


def test_the_wheel_has_all_that_is_no_python(wheel: Path) -> None:
    """Templates, policies, pages, styles, runbooks, scripts for Redis, codes of providers: as many as in the source."""
    for package in ("gateway", "channels"):
        tracked = ran("git", "ls-files", package, cwd=ROOT).split() if (ROOT / ".git").exists() else []
        missing = [each for each in tracked if not (wheel / each).exists()]
        assert not missing
    for source, place in (("templates", "_templates"), ("ops/runbooks", "_runbooks")):
        ours = {path.relative_to(ROOT / source) for path in (ROOT / source).rglob("*") if path.is_file()}
        packed = wheel / "gateway" / place
        theirs = {path.relative_to(packed) for path in packed.rglob("*") if path.is_file()}
        assert {each for each in ours if "__pycache__" not in each.parts} == theirs


def test_the_wheel_works_by_itself(wheel: Path, short_dir: Path) -> None:
    """Outside the source tree the installed gateway starts, serves its pages, and its doctor finds the templates."""
    script = """
import asyncio, aiohttp, gateway, sys
from gateway.app import serving
from gateway.observability.metrics import Metrics
from gateway.app.settings import Settings
async def main():
    stop = asyncio.Event()
    async def ready(running):
        async with aiohttp.ClientSession(f"http://127.0.0.1:{running.ledger.settings.port}") as http:
            for path in ("/readyz", "/inbox", "/docs", "/metrics"):
                async with http.get(path) as answer:
                    print(path, answer.status)
            async with http.get(f"http://127.0.0.1:{running.ledger.settings.metrics_port}/metrics") as answer:
                print("figures", answer.status)
        stop.set()
    await serving.serve(Settings(port=0), api=True, worker=True, stop=stop, ready=ready)
print(gateway.__file__)
asyncio.run(main())
from gateway.cli import app
app(["doctor", "--json"])
"""
    begun(empty_sqlite(short_dir))
    environment = {**os.environ, "PYTHONPATH": str(wheel), "GATEWAY_DATA_DIR": str(short_dir)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=short_dir, env=environment, capture_output=True, text=True, check=False
    )
    said = done.stdout.splitlines()
    assert {"/readyz 200", "/inbox 200", "/docs 200", "/metrics 404", "figures 200"} <= set(said), done.stderr
    assert said[0].startswith(str(wheel))
    assert {each["check"]: each["level"] for each in json.loads(said[-1])}["templates"] == "ok", done.stderr


# ── compose ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def composition() -> dict[str, Any]:
    """The file with its variables filled in and its merge keys resolved, as compose does it first."""
    text = json.dumps(yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text()))
    filled: dict[str, Any] = json.loads(re.sub(r"\$\{(\w+)(?::[-?][^}]*)?\}", "1", text))
    return filled


def test_compose_is_valid() -> None:
    """The compose specification's own model accepts it, and rejects a wrong value."""
    compose_spec.PyCompose.from_json(json.dumps(composition()))
    wrong = composition()
    wrong["services"]["api"]["depends_on"] = {"valkey": {"condition": "service_wonderful"}}
    with pytest.raises(ValueError, match="service_wonderful"):
        compose_spec.PyCompose.from_json(json.dumps(wrong))


def test_compose_has_the_production_shape() -> None:
    """Two of each process start after the migration, ours are read-only and unprivileged, mounted files exist."""
    services = composition()["services"]
    assert set(services) == {
        *("postgresql", "valkey", "migrate", "api", "worker", "prometheus", "alertmanager", "grafana")
    }
    for name in ("api", "worker"):
        assert services[name]["deploy"]["replicas"] == 2
        assert services[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    for name in ("api", "worker", "migrate", "valkey"):
        assert services[name]["read_only"]
        assert services[name]["cap_drop"] == ["ALL"]
    assert "noeviction" in services["valkey"]["command"]
    for service in services.values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith(".") and "grafana" not in source.rpartition("/")[2]:
                assert (DEPLOY / "compose" / source).resolve().exists(), source


def test_every_image_of_others_has_a_version_and_a_digest() -> None:
    """What runs changes when somebody changes the file. Our own image is built from it, and has a version."""
    version = r"v?\d+\.\d+(\.\d+)?(-[a-z-]+)?"
    composed = re.findall(r"^ +image: (.*)$", (DEPLOY / "compose" / "compose.yaml").read_text(), re.MULTILINE)
    composed.remove("gateway:${GATEWAY_VERSION:-0.1.0}")
    assert len(composed) == 5
    for image in composed:  # the model of the specification takes a tag or a digest, so the version is a comment
        assert re.fullmatch(rf"[a-z/]+@sha256:[0-9a-f]{{64}}  # {version}", image), image
    stages = re.findall(r"^FROM (\S+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    bases = {each for each in stages if each != "runtime"}
    assert len(bases) == 1
    assert re.fullmatch(rf"[a-z/]+:{version}@sha256:[0-9a-f]{{64}}", bases.pop())


def test_prometheus_in_compose_is_the_one_that_is_tested() -> None:
    """The same jobs, intervals and rule files as ops/prometheus, and promtool accepts it."""
    ours = yaml.safe_load((DEPLOY / "compose" / "prometheus.yml").read_text())
    tested = yaml.safe_load((ROOT / "ops" / "prometheus" / "prometheus.yml").read_text())
    jobs = [{each["job_name"] for each in config["scrape_configs"]} for config in (ours, tested)]
    assert jobs[0] == jobs[1]
    for name in ("global", "rule_files", "alerting"):
        assert ours[name] == tested[name]
    promtool = tool("promtool", "prometheus")
    ran(promtool, "check", "config", "--syntax-only", str(DEPLOY / "compose" / "prometheus.yml"))


# ── systemd ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    """The units, with another program in place of the gateway, which is not installed where tests run."""
    for path in UNITS:
        (tmp_path / path.name).write_text(path.read_text().replace("/opt/gateway/bin/gateway", "/bin/true"))
    for template, instance in (("gateway-api@", "8080"), ("gateway-worker@", "9100")):
        shutil.copy(tmp_path / f"{template}.service", tmp_path / f"{template}{instance}.service")
    return [str(path) for path in sorted(tmp_path.glob("gateway*")) if path.suffix != ".example"]


def test_units_are_valid(units: list[str]) -> None:
    """systemd-analyze verify reports nothing."""
    assert ran(tool("systemd-analyze", "systemd"), "verify", "--man=no", *units) == ""


@pytest.mark.parametrize("service", SERVICES, ids=lambda path: path.name)
def test_units_may_do_little(service: Path, units: list[str]) -> None:
    """The exposure that systemd-analyze security computes stays below our limit."""
    path = next(each for each in units if each.endswith(service.name))
    analyze = tool("systemd-analyze", "systemd")
    ran(analyze, "security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED}", path)


def test_units_get_what_has_passwords_as_credentials() -> None:
    """URLs with passwords, keys and providers are in no environment file, which any process of the user could read."""
    for service in SERVICES:
        text = service.read_text()
        for name in ("SECRET_KEY", "DATABASE_URL", "REDIS_URL", "PROVIDERS"):
            assert f"Environment=GATEWAY_{name}_FILE=%d/{name.lower()}" in text, service.name
    settings = (DEPLOY / "systemd" / "gateway.env.example").read_text()
    assert not re.findall(r"SECRET|URL=(?!https://)|PASSWORD", settings)


# ── Kubernetes ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_manifests_are_valid(path: Path) -> None:
    """Kubernetes' own schemas accept them; unknown fields are rejected."""
    said = ran(beside_python("kubernetes-validate"), "--strict", "-k", "1.34", str(path))
    unknown = {line.partition("kind ")[2].split()[0] for line in said.splitlines() if "Couldn't find schema" in line}
    assert unknown <= WITHOUT_SCHEMA


def test_manifests_are_rendered_together() -> None:
    """kustomize finds every file, and every image has a registry's name."""
    rendered = list(yaml.safe_load_all(ran(tool("kubectl", "kubectl"), "kustomize", str(DEPLOY / "kubernetes"))))
    assert len(rendered) == len([each for each in documents() if each["kind"] != "Kustomization"])
    images = re.findall(r"image: (\S+)", yaml.safe_dump_all(rendered))
    assert images
    assert all(each.startswith("registry.example.com/gateway") for each in images)
    listed = set(yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())["resources"])
    assert listed == {path.name for path in KUBERNETES} - {"kustomization.yaml"}


def test_pods_may_do_little() -> None:
    """No root user, privileges, writable root file system, API token, or world-readable secret."""
    found = list(containers())
    assert {name for name, _, _ in found} >= {"gateway-api", "gateway-worker", "gateway-migrate", "gateway-prune"}
    for name, pod, container in found:
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        assert next(each for each in pod["volumes"] if each["name"] == "secrets")["secret"]["defaultMode"] == 0o400


def test_probes_ask_what_there_is() -> None:
    """Liveness checks the process, readiness its dependencies, with a longer time-out than the check.

    Both on the port of the metrics, which answers while the API's limit of connections is reached.
    """
    for each in kinds("Deployment"):
        (container,) = each["spec"]["template"]["spec"]["containers"]
        assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
        assert {"name": "metrics", "containerPort": 9100} in container["ports"]
        assert (
            container["readinessProbe"]["timeoutSeconds"] > 2
        )  # gateway/observability/readiness.py answers within 2 s


def test_what_belongs_together_finds_each_other() -> None:
    """Every budget, service, policy and scaler selects existing pods; scaling uses an existing metric."""
    pods = [each["spec"]["template"]["metadata"]["labels"] for each in kinds("Deployment", "Job")]
    pods += [each["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"] for each in kinds("CronJob")]
    selectors = [each["spec"]["selector"]["matchLabels"] for each in kinds("PodDisruptionBudget")]
    selectors += [each["spec"]["selector"] for each in kinds("Service")]
    selectors += [
        each["spec"]["podSelector"]["matchLabels"] for each in kinds("NetworkPolicy") if each["spec"]["podSelector"]
    ]
    for selector in selectors:
        assert any(selector.items() <= labels.items() for labels in pods), selector
    deployments = {each["metadata"]["name"] for each in kinds("Deployment")}
    scalers = kinds("HorizontalPodAutoscaler", "ScaledObject")
    assert {each["spec"]["scaleTargetRef"]["name"] for each in scalers} == deployments
    (scaled,) = kinds("ScaledObject")
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    (metric,) = re.findall(r"gateway_\w+", query)
    assert metric in Metrics(channels=[], providers=[]).render()[0].decode()
    assert {each["metadata"]["name"] for each in kinds("PodDisruptionBudget")} == deployments


def test_metrics_are_reached_by_prometheus_alone() -> None:
    """The port of the metrics is in no service, and the network policy opens it to the monitoring's namespace only."""
    assert all(port["targetPort"] != "metrics" for each in kinds("Service") for port in each["spec"]["ports"])
    opened = [
        (rule["from"], port["port"])
        for policy in kinds("NetworkPolicy")
        for rule in policy["spec"].get("ingress", ())
        for port in rule["ports"]
    ]
    monitoring = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    assert [sources for sources, port in opened if port == 9100] == [monitoring]
    assert all(monitoring[0] not in sources for sources, port in opened if port != 9100)
    for each in composition()["services"]["api"]["ports"]:
        assert each["target"] != 9100


# ── all of them ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_setting_that_is_set_is_one() -> None:
    """Every setting that a deployment file sets exists: a misspelt name would be silently ignored."""
    known = {f"GATEWAY_{name.upper()}" for name in Settings.model_fields}
    known |= {f"GATEWAY_{name}_FILE" for name in ("SECRET_KEY", "DATABASE_URL", "REDIS_URL", "PROVIDERS")} | {
        "GATEWAY_VERSION"
    }
    files = [path for path in DEPLOY.rglob("*") if path.is_file() and path.suffix not in (".md", ".py", ".pyc")]
    used = {name for path in files for name in re.findall(r"GATEWAY_[A-Z_]+[A-Z]", path.read_text())}
    assert used
    assert used <= known


def test_processes_are_given_the_time_that_they_take() -> None:
    """Grace periods let a worker finish its batches (at most a lease) and an API its requests."""
    lease = Settings.model_fields["lease_seconds"].default
    worker = next(each for each in kinds("Deployment") if each["metadata"]["name"] == "gateway-worker")
    assert worker["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > lease
    assert int(composition()["services"]["worker"]["stop_grace_period"].removesuffix("s")) > lease
    unit = (DEPLOY / "systemd" / "gateway-worker@.service").read_text()
    assert int(re.findall(r"TimeoutStopSec=(\d+)", unit)[0]) > lease
