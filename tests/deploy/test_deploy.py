"""Every command line in deploy/ is one that the CLI takes, and paths, ports and users are the same everywhere."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from docs.shell import environment, run
from syncpoint import Genesis, KeySecret
from syncpoint.cli.app import app

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT, IMAGE, COMPOSE, KUBERNETES = "systemd/syncpoint@.service", "Containerfile", "compose.yaml", "kubernetes.yaml"

posix = pytest.mark.skipif(sys.platform == "win32", reason="commands for a POSIX shell")


def text_of(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def unit() -> dict[str, list[str]]:
    """The settings of the unit, each with all its values."""
    settings: dict[str, list[str]] = {}
    for line in text_of(UNIT).splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            settings.setdefault(name, []).append(value)
    return settings


def image(instruction: str) -> str:
    """What the last instruction of this kind says."""
    return re.findall(rf"^{instruction} (.*)$", text_of(IMAGE), flags=re.MULTILINE)[-1]


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text_of(COMPOSE))
    return found


def kubernetes() -> dict[str, Any]:
    """The objects, by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all(text_of(KUBERNETES))}


def pod() -> dict[str, Any]:
    found: dict[str, Any] = kubernetes()["StatefulSet"]["spec"]["template"]["spec"]
    return found


def preparations(name: str) -> str:
    """The commands of ours in the comment at the top of a file, without those of docker and kubectl."""
    comment = text_of(name).partition("\n\n")[0]
    lines = [line.removeprefix("#   ") for line in comment.splitlines() if line.startswith("#   ")]
    commands = re.split(r"(?<!\\)\n", "\n".join(lines))
    return "\n".join(each for each in commands if re.match("mkdir|syncpoint", each))


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """Where a command line of ours stands, and its arguments."""
    program = "/opt/syncpoint/bin/syncpoint"
    for name in ("ExecStartPre", "ExecStart"):
        (line,) = unit()[name]
        assert line.startswith(f"{program} "), line
        yield f"{UNIT} {name}", shlex.split(line)[1:]
    assert json.loads(image("ENTRYPOINT")) == ["syncpoint"]
    yield IMAGE, json.loads(image("CMD"))
    for container in pod()["containers"]:
        yield KUBERNETES, container["args"]
    for service, settings in compose()["services"].items():
        assert "command" not in settings, f"{service} has a command of its own, which nothing here looks at"
    for name in (COMPOSE, KUBERNETES):
        # What is substituted is a command, too.
        commands = preparations(name).replace("\\\n", " ")
        inner = re.findall(r"\$\((.*?)\)", commands)
        for line in [*inner, *re.sub(r"\$\(.*?\)", "RECORD", commands).splitlines()]:
            if line.startswith("syncpoint "):
                yield f"{name} comment", shlex.split(line)[1:]


def parse(arguments: list[str]) -> dict[str, Any]:
    """The parameters that the command line makes of arguments; it raises for what it does not take."""
    command: Any = typer.main.get_command(app)
    rest = list(arguments)
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    parameters: dict[str, Any] = command.make_context(command.name, rest).params
    return parameters


LINES = list(command_lines())


@pytest.mark.parametrize(("where", "arguments"), LINES, ids=[where for where, _ in LINES])
def test_a_command_line_is_one_that_the_cli_takes(where: str, arguments: list[str]) -> None:
    assert parse(arguments)


def test_a_wrong_command_line_would_be_seen() -> None:
    assert len(LINES) == 4 + 2 * 5
    for arguments in (["run", "--network", "x"], ["run", "--network", "x", "--key", "y", "--lissen", "z"]):
        with pytest.raises(Exception, match=r"[Mm]issing|[Nn]o such option"):
            parse(arguments)
    with pytest.raises(KeyError):
        parse(["walk"])


def test_a_service_reads_the_files_of_its_own_name() -> None:
    (condition,) = unit()["ConditionPathExists"]
    (shown,) = (arguments for where, arguments in LINES if where == f"{UNIT} ExecStartPre")
    (started,) = (parse(arguments) for where, arguments in LINES if where == f"{UNIT} ExecStart")
    assert {condition, shown[-1], str(started["network"])} == {"/etc/syncpoint/%i/network.toml"}
    assert str(started["key"]) == "/etc/syncpoint/%i/key.pem"
    comment = text_of(UNIT).partition("[Unit]")[0]
    for name, mode in (("network.toml", "0644"), ("key.pem", "0600")):
        assert f"-m {mode} {name} /etc/syncpoint/NAME/{name}" in comment


def test_containers_read_what_is_mounted() -> None:
    image_run = parse(json.loads(image("CMD")))
    network, key = str(image_run["network"]), str(image_run["key"])
    assert (network, key) == ("/etc/syncpoint/network.toml", "/run/syncpoint/key.pem")
    for service, settings in compose()["services"].items():
        assert settings["volumes"] == [
            f"./net/network.toml:{network}:ro",
            f"./net/{service}/key.pem:{key}:ro",
            f"./net/{service}/state:/var/lib/syncpoint",
        ]
        assert f"net/{service}/state" in preparations(COMPOSE), "docker would make it for root"
        assert settings["image"] == "syncpoint"
        assert settings["build"] == {"context": "..", "dockerfile": "deploy/Containerfile"}
    (peer,), (init,) = pod()["containers"], pod()["initContainers"]
    arguments = parse(peer["args"])
    assert (str(arguments["network"]), str(arguments["key"])) == (network, key)
    mounts = {each["name"]: each["mountPath"] for each in peer["volumeMounts"]}
    assert mounts == {
        "network": str(Path(network).parent),
        "key": str(Path(key).parent),
        "store": str(Path(arguments["store"]).parent),
    }
    from_secret = {each["name"]: each for each in init["volumeMounts"]}
    assert init["command"] == ["install", "-m", "0600", from_secret["keys"]["mountPath"], key]
    assert from_secret["keys"]["subPathExpr"] == "$(POD_NAME).pem"
    assert from_secret["key"]["mountPath"] == mounts["key"]
    volumes = {each["name"]: each for each in pod()["volumes"]}
    assert set(volumes) == {"network", "keys", "key"}
    assert f"create configmap {volumes['network']['configMap']['name']} --from-file=network.toml" in text_of(KUBERNETES)
    assert f"create secret generic {volumes['keys']['secret']['secretName']} --from-file=" in text_of(KUBERNETES)


def test_there_is_one_port() -> None:
    listens = {parse(arguments)["listen"] for where, arguments in LINES if arguments[0] == "run"}
    assert listens == {"0.0.0.0:9001"}
    assert image("EXPOSE") == "9001"
    (exposed,), (container,) = kubernetes()["Service"]["spec"]["ports"], pod()["containers"][0]["ports"]
    assert exposed["port"] == container["containerPort"] == 9001
    assert exposed["targetPort"] == container["name"]
    for rule in ("ingress", "egress"):
        assert kubernetes()["NetworkPolicy"]["spec"][rule][0]["ports"] == [
            {"protocol": "TCP", "port": container["name"]}
        ]


def test_a_peer_that_is_started_again_has_its_store() -> None:
    runs = {where: parse(arguments) for where, arguments in LINES if arguments[0] == "run"}
    stores = {where: str(each["store"]) for where, each in runs.items()}
    assert stores == {
        f"{UNIT} ExecStart": f"/var/lib/{unit()['StateDirectory'][0]}",
        IMAGE: "/var/lib/syncpoint/store",
        KUBERNETES: "/var/lib/syncpoint/store",
    }
    for each in runs.values():  # a log lacks nothing, and no start says each time that the store was lost
        assert (each["durability"], each["resume_after"], each["joining_running_session"]) == ("full", None, False)
    assert unit()["StateDirectory"] == ["syncpoint/%i"]
    assert unit()["StateDirectoryMode"] == ["0700"]
    assert unit()["Restart"] == ["on-failure"]
    # The limit has to be reached when every start fails at once, else it is none.
    pause, starts, within = (
        int(unit()[name][0]) for name in ("RestartSec", "StartLimitBurst", "StartLimitIntervalSec")
    )
    assert 0 < pause * starts < within
    uid, _, gid = image("USER").partition(":")
    assert image("RUN") == f"install -d -o {uid} -g {gid} -m 0700 /var/lib/syncpoint"
    for settings in compose()["services"].values():
        assert settings["restart"] == "unless-stopped"
    stateful = kubernetes()["StatefulSet"]["spec"]
    assert stateful["updateStrategy"] == {"type": "RollingUpdate"}
    assert stateful["minReadySeconds"] > 0
    assert set(stateful["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}
    assert pod()["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    (claim,) = stateful["volumeClaimTemplates"]
    assert claim["metadata"]["name"] in {each["name"] for each in pod()["containers"][0]["volumeMounts"]}
    assert claim["metadata"]["name"] not in {each["name"] for each in pod()["volumes"]}


def test_nobody_is_root() -> None:
    uid, _, gid = image("USER").partition(":")
    user = pod()["securityContext"]
    assert (user["runAsUser"], user["runAsGroup"], user["fsGroup"]) == (int(uid), int(gid), int(gid)) != (0, 0, 0)
    assert user["runAsNonRoot"] is True
    assert unit()["User"] == ["syncpoint"]
    for settings in compose()["services"].values():
        assert settings["user"].startswith("${SYNCPOINT_USER:?")
        assert settings["cap_drop"] == ["ALL"]
        assert settings["read_only"] is True
    assert kubernetes()["StatefulSet"]["spec"]["podManagementPolicy"] == "Parallel"
    for container in [*pod()["containers"], *pod()["initContainers"]]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_everything_in_the_cluster_has_the_same_labels() -> None:
    label = {"app": "syncpoint"}
    found = kubernetes()
    for each in found.values():
        assert each["metadata"]["labels"] == label
    assert found["Service"]["spec"]["selector"] == label
    assert found["StatefulSet"]["spec"]["template"]["metadata"]["labels"] == label
    for kind, name in (
        ("StatefulSet", "selector"),
        ("PodDisruptionBudget", "selector"),
        ("NetworkPolicy", "podSelector"),
    ):
        assert found[kind]["spec"][name] == {"matchLabels": label}


@posix
@pytest.mark.parametrize("name", [COMPOSE, KUBERNETES])
def test_what_is_to_be_done_first_makes_the_network_of_these_peers(name: str, tmp_path: Path) -> None:
    run(preparations(name), tmp_path, environment(tmp_path / "bin"))
    if name == COMPOSE:
        services = list(compose()["services"])
        keys, network = [f"net/{each}/key.pem" for each in services], "net/network.toml"
        hosts = services
    else:
        stateful = kubernetes()["StatefulSet"]
        pods = [f"{stateful['metadata']['name']}-{number}" for number in range(stateful["spec"]["replicas"])]
        keys, network = [f"{each}.pem" for each in pods], "network.toml"
        hosts = [f"{each}.{stateful['spec']['serviceName']}" for each in pods]
        assert all(f"--from-file={each}.pem" in text_of(KUBERNETES) for each in pods)
    genesis = Genesis.from_toml(tmp_path / network)
    addresses = {entry.public: entry.address for entry in genesis.entries}
    owners = [KeySecret.load(tmp_path / key).public() for key in keys]
    assert [addresses[owner] for owner in owners] == [f"{host}:9001" for host in hosts]
    assert genesis.committee.f == kubernetes()["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
