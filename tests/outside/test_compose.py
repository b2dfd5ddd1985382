"""The composition and the Kubernetes manifests, their containers run as processes: what they say is what works.

Images are not here; what stands for their programs is. Grafana alone has no stand-in.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import Any

import pytest
import yaml

from tests.support import outside
from tests.support.containers import Container, Network, gateway_image, needed, start_in_order
from tests.support.production import request
from tests.support.waiting import eventually_blocking

DEPLOY = Path(__file__).parents[2] / "ops" / "deploy"
COMPOSE = DEPLOY / "compose"
README = (DEPLOY / "README.md").read_text()
PASSWORD = "a-password-for-tests"
WITHOUT_STAND_IN = {"grafana"}
GATEWAY = [sys.executable, "-c", "from gateway.cli import app; app()"]
LIMIT = 240.0  # seconds until all is up; a quiet machine takes a tenth


# ── what is read ────────────────────────────────────────────────────────────────────────────────────────────────────


def composition() -> dict[str, Any]:
    """compose.yaml with the variables of env.example, as compose fills them in: ``${X:?…}`` without X is an error."""
    given = dict(re.findall(r"^(\w+)=(.*)$", (COMPOSE / "env.example").read_text(), re.MULTILINE))

    def fill(match: re.Match[str]) -> str:
        name, kind, default = match.groups()
        value = given.get(name) or (default if kind == ":-" else None)
        assert value is not None, f"env.example lacks {name}"
        return json.dumps(value)[1:-1]

    text = json.dumps(yaml.safe_load((COMPOSE / "compose.yaml").read_text()))
    filled: dict[str, Any] = json.loads(re.sub(r"\$\{(\w+)(:[-?])?([^}]*)\}", fill, text))
    return filled


def mounts(service: dict[str, Any], secrets: dict[str, Any], made: Path) -> dict[str, Path | None]:
    """By path in the container: its secrets, the files of the repository, and folders that begin empty."""
    found: dict[str, Path | None] = {"/tmp": None}
    for name in service.get("secrets", ()):
        source = Path(secrets[name]["file"])
        assert source.parent == Path("secrets"), source
        found[f"/run/secrets/{name}"] = made / source.name
    for each in service.get("volumes", ()):
        source, target = each.split(":")[:2]
        found[target] = (COMPOSE / source).resolve() if source.startswith(".") else None
    for each in service.get("tmpfs", ()):
        found[each.split(":")[0]] = None
    return found


@pytest.fixture(scope="module")
def secrets() -> Iterator[Path]:
    """The files of secrets/, made by the commands of the README."""
    needed("openssl")
    folder = Path(tempfile.mkdtemp(prefix="gwsecret-", dir="/tmp"))
    provider = {"host": "127.0.0.1", "port": 9, "tls": "none", "domain": "lender.example"}
    provider |= {"from_address": "reminders@lender.example"}
    entry = {"channel": "email", "kind": "smtp", "name": "mail", "options": provider}
    (folder / "gateway_providers.json").write_text(json.dumps([entry]))
    # Those of client certificates belong to the balancer: they end with a call through it.
    for block in re.findall(r"```sh\n((?:openssl|CA=).*?)```", README, re.DOTALL):
        if "curl" in block:
            continue
        script = block.replace("PASSWORD", PASSWORD)
        environment = {"PATH": "/usr/bin:/bin", "EDITOR": "true"}
        subprocess.run(["sh", "-euc", script], cwd=folder, env=environment, check=True, capture_output=True)
    [rule] = re.findall(r"^user gateway .*$", README, re.MULTILINE)
    [default] = re.findall(r"`(user default .*?)`", README)
    (folder / "valkey_users.acl").write_text(f"{default}\n{rule.replace('>PASSWORD', '>' + PASSWORD)}\n")
    for name in ("postgresql_password", "grafana_password"):
        (folder / name).write_text(PASSWORD)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    outside.unpacked("usr/lib/x86_64-linux-gnu/libnss_wrapper.so")
    folder = Path(tempfile.mkdtemp(prefix="gwnet-", dir="/tmp"))
    folder.chmod(0o755)
    random = SystemRandom()
    yield Network(folder, f"127.{random.randrange(20, 250)}.{random.randrange(1, 250)}")
    shutil.rmtree(folder, ignore_errors=True)


# ── what stands for the images ──────────────────────────────────────────────────────────────────────────────────────


def container(name: str, service: dict[str, Any], network: Network, files: dict[str, Path | None]) -> Container:
    """The service's container, with the programs and the environment that its image has."""
    image = service["image"].partition(":")[0].rpartition("/")[2]
    command, environment = list(service.get("command", ())), dict(service.get("environment", {}))
    if image == "gateway":
        entry, own = gateway_image()
        programs = {"gateway": GATEWAY, "python": [sys.executable]}
        return Container(name, network, [*entry, *command], {**own, **environment}, files, programs)
    address = network.address(name)
    if image == "postgres":
        folders = sorted(str(path.parent) for path in Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        at = [f"-clisten_addresses={address}", "-cunix_socket_directories=/tmp", "-cfsync=off"]
        data = "/var/lib/postgresql/data"
        programs = {each: [needed(each, *folders)] for each in ("postgres", "initdb", "pg_isready", "psql")}
        programs["/bin/sh"] = ["/bin/sh"]
        environment |= {"PGDATA": data, "PGHOST": address}
        return Container(name, network, [*command, *at], environment, files, programs, outside.owner())
    if image == "valkey":
        programs = {"valkey-server": [needed("redis-server")], "valkey-cli": [needed("redis-cli"), "-h", address]}
        return Container(name, network, [*command, "--bind", address], environment, files, programs)
    program = needed({"alertmanager": "prometheus-alertmanager"}.get(image, image))
    port = {"alertmanager": 9093, "prometheus": 9090}[image]
    alone = ["--cluster.listen-address="] if image == "alertmanager" else []
    where = [f"--web.listen-address={address}:{port}", *alone]
    return Container(name, network, [image, *command, *where], environment, files, {image: [program]})


def prepare_postgresql(server: Container) -> None:
    """What the image's entry point does at the first start, by the environment that the service has."""
    environment = server.environment
    rules = server.root / "etc/postgresql/pg_hba.conf"
    # The entry point begins with its own rules; the file's are for afterwards, and the health check comes by them.
    arguments = environment["POSTGRES_INITDB_ARGS"].split()
    user, secret = environment["POSTGRES_USER"], environment["POSTGRES_PASSWORD_FILE"]
    made = server.run(["initdb", f"--username={user}", f"--pwfile={secret}", "--no-sync", *arguments])
    assert made.returncode == 0, made.stderr
    statements = f"CREATE DATABASE {environment['POSTGRES_DB']}"
    alone = subprocess.run(
        [*server._words(["postgres"]), "--single", "-cfsync=off", "postgres"],
        input=statements,
        env=server._environment(),
        cwd="/",
        text=True,
        capture_output=True,
        **outside.rights(server.user),
    )
    assert alone.returncode == 0, alone.stderr
    assert rules.exists()


def healthy(service: dict[str, Any], target: Container) -> bool:
    """Whether the service's own health check succeeds."""
    assert target.lives(), f"{target.name} ended: {target.said[-2000:]}"
    kind, *test = service["healthcheck"]["test"]
    return target.run(["/bin/sh", "-c", *test] if kind == "CMD-SHELL" else test).returncode == 0


# ── compose ─────────────────────────────────────────────────────────────────────────────────────────────────────────


Running = tuple[dict[str, Any], dict[str, Container], list[str]]


@pytest.fixture(scope="module")
def running(secrets: Path, network: Network) -> Iterator[Running]:
    """All services by name, their containers, and the order in which these were started."""
    found = composition()
    services = {name: each for name, each in found["services"].items() if name not in WITHOUT_STAND_IN}
    containers = {}
    for name, service in services.items():
        containers[name] = container(name, service, network, mounts(service, found["secrets"], secrets))
    conditions = {
        name: {other: each["condition"] for other, each in service.get("depends_on", {}).items()}
        for name, service in services.items()
    }
    prepare_postgresql(containers["postgresql"])
    order = []
    try:
        check = lambda target: healthy(services[target.name], target)  # noqa: E731
        for name in start_in_order(containers, conditions, check, partial(eventually_blocking, limit=LIMIT, every=0.2)):
            order.append(name)
        yield services, containers, order
    finally:
        for each in containers.values():
            if each.process is not None:
                outside.end(each.process)


def test_the_composition_runs(running: Running) -> None:
    """Every service starts in the order that is declared, its health check succeeds, and a reminder goes through it."""
    services, containers, order = running
    assert order.index("postgresql") < order.index("migrate") < order.index("api")
    for name, service in services.items():
        if "healthcheck" in service:
            eventually_blocking(lambda: healthy(services[name], containers[name]), LIMIT, every=0.2)  # noqa: B023
    api, worker = containers["api"], containers["worker"]
    made = api.run(["gateway", "key", "create", "--tenant", "acme", "--name", "test"])
    assert made.returncode == 0, made.stderr
    [key] = re.findall(r"\bgw_\S+|\b[A-Za-z0-9_-]{32,}\b", made.stdout)[:1]
    answer = call(api, "/v1/notifications", key, request(1, route=["email"]))
    # The relay of this test is not there: the worker has tried, and says so.
    read = partial(call, api, f"/v1/notifications/{answer['id']}", key)
    eventually_blocking(lambda: read()["state"] == "retrying", LIMIT, every=0.2)
    for name, path in (("prometheus", ":9090/-/ready"), ("alertmanager", ":9093/-/ready")):
        eventually_blocking(lambda: answers(f"http://{containers[name].address}{path}"), LIMIT, every=0.2)  # noqa: B023
    for each in (api, worker):
        assert each.stop(int(services[each.name]["stop_grace_period"].removesuffix("s"))), each.name


# ── Kubernetes ──────────────────────────────────────────────────────────────────────────────────────────────────────


def manifests(*kinds: str) -> list[dict[str, Any]]:
    files = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    found = [each for path in files for each in yaml.safe_load_all(path.read_text())]
    return [each for each in found if each["kind"] in kinds]


@pytest.fixture(scope="module")
def secret(secrets: Path) -> Iterator[dict[str, Path]]:
    """The keys of the secret that the README creates, each a file."""
    folder = Path(tempfile.mkdtemp(prefix="gwsecret-", dir="/tmp"))
    keys = re.findall(r"--from-file=(?:([\w.]+)=)?([\w.]+)", README)
    for _, name in keys:
        text = (secrets / name).read_text()
        (folder / name).write_text(text.replace("/run/secrets/ca.pem", "/run/secrets/gateway/ca.pem"))
    yield {key or name: folder / name for key, name in keys}
    shutil.rmtree(folder)


def pods(network: Network, secret: dict[str, Path]) -> dict[str, tuple[dict[str, Any], Container]]:
    """The specification and the container of each workload, by its name."""
    settings = {each["metadata"]["name"]: each["data"] for each in manifests("ConfigMap")}
    found = {}
    for each in manifests("Deployment", "Job", "CronJob"):
        spec = each["spec"]["jobTemplate"]["spec"] if each["kind"] == "CronJob" else each["spec"]
        pod = spec["template"]["spec"]
        [described] = pod["containers"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        files: dict[str, Path | None] = {}
        for mount in described["volumeMounts"]:
            if "secret" in volumes[mount["name"]]:
                files |= {f"{mount['mountPath']}/{key}": path for key, path in secret.items()}
            else:
                files[mount["mountPath"]] = None
        entry, environment = gateway_image()
        for source in described["envFrom"]:
            environment |= settings[source["configMapRef"]["name"]]
        command = [*described.get("command", entry), *described["args"]]
        programs = {"gateway": GATEWAY, "/bin/sh": ["/bin/sh"]}
        name = each["metadata"]["name"]
        found[name] = (described, Container(f"pod-{name}", network, command, environment, files, programs))
    return found


def test_the_manifests_run(running: Running, secret: dict[str, Path], network: Network) -> None:
    """The jobs come to a good end, and the deployments' probes succeed, with the secret that the README creates."""
    assert running[1]["migrate"].ended_well()
    found = pods(network, secret)
    for name in ("gateway-migrate", "gateway-prune", "gateway-backup"):
        _, job = found[name]
        done = job.run(job.command)
        assert done.returncode == 0, (name, done.stdout, done.stderr[-2000:])
    assert list((found["gateway-backup"][1].root / "kept").iterdir())
    deployments = [found["gateway-api"], found["gateway-worker"]]
    try:
        for _, target in deployments:
            target.start()
        for described, target in deployments:
            ports = {each["name"]: each["containerPort"] for each in described["ports"]}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                asked = described[probe]["httpGet"]
                url = f"http://{target.address}:{ports[asked['port']]}{asked['path']}"
                eventually_blocking(lambda: target.lives() and answers(url), LIMIT, every=0.2)  # noqa: B023
    finally:
        for _, target in deployments:
            if target.process is not None:
                outside.end(target.process)


def call(api: Container, path: str, key: str, body: Any = None) -> dict[str, Any]:
    raw = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"http://{api.address}:8080{path}", raw, headers)) as response:
        answer: dict[str, Any] = json.load(response)
        return answer


def answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=5) as response:
        return bool(response.status == 200)
    return False
