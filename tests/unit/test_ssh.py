import base64
import dataclasses
import errno
import socket
import stat
import subprocess
from functools import partial
from pathlib import Path, PurePosixPath

import pytest

from provisioning.errors import ProvisionError, UnreachableError, UsageError
from provisioning.host_keys import host_keys
from provisioning.inventory import Cluster, Limits, Node
from provisioning.proxy import proxy_argv
from provisioning.runtime import runtime_dir
from provisioning.ssh import Endpoint, OpenSSHError, asyncssh_options, explain, openssh_argv, resolve
from provisioning.trust import Trust, _record, fingerprint

ED25519 = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + b"k" * 32).decode()
OTHER = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + b"o" * 32).decode()

CONFIG = """\
Include {folder}/more
Host node1
    HostName 10.0.0.1
    Port 2222
    IdentityFile {folder}/%r-key
Match host 10.0.0.1
    User alice
    HostKeyAlias the-one
Host node2
    ProxyJump bob@gate:2200,inner
Host node3
    ProxyCommand nc -X %% %h %p %r
    IdentityAgent none
Host *
    UserKnownHostsFile {folder}/theirs
    GlobalKnownHostsFile none
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    (tmp_path / "config").write_text(CONFIG.format(folder=tmp_path))
    (tmp_path / "more").write_text("Host node2\n    User carol\n")
    (tmp_path / "alice-key").touch()
    nodes = tuple(Node(f"node{number}") for number in (1, 2, 3))
    return Cluster(
        name="test",
        file=tmp_path / "cluster.toml",
        nodes=nodes,
        driver=Node("local", is_driver=True),
        scheduler=nodes[0],
        results=PurePosixPath("/srv/results"),
        state=PurePosixPath("/srv/state"),
        known_hosts=tmp_path / "known hosts",
        ssh_config=tmp_path / "config",
        limits=Limits(connect_timeout=3),
    )


@pytest.fixture
def endpoint(cluster: Cluster) -> Endpoint:
    return resolve(cluster, cluster.nodes[0])


@pytest.mark.parametrize("program", ["ssh", "ssh-keygen"])
def test_openssh_that_does_not_answer_on_this_machine_is_told_as_such(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    from provisioning import host_keys as keys
    from provisioning import launch, ssh, ssh_config

    cluster.known_hosts.write_text(f"10.0.0.1 {ED25519}\n")
    reached = resolve(cluster, cluster.nodes[0])
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / program).write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "bin" / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.setattr(ssh_config, "ASK_SECONDS", 0.2)
    monkeypatch.setattr(keys, "ASK_SECONDS", 0.2)
    ssh_config._answer.cache_clear()
    open_session = partial(launch.open_session, cluster, cluster.nodes[0])
    login = open_session if program == "ssh" else partial(ssh.fabric_connection, reached)
    with pytest.raises(UnreachableError, match=f"{program}.* did not answer within 0.2 s") as caught:
        login()
    assert caught.value.host == "node1"
    assert "overloaded" in str(caught.value.remedy)


def test_a_node_that_is_lost_right_after_the_login_is_unreachable(
    cluster: Cluster, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fabric

    from provisioning.ssh import fabric_connection

    class Lost:
        def set_keepalive(self, _seconds: int) -> None:
            raise OSError(errno.EBADF, "Bad file descriptor")

    def opened(self: fabric.Connection) -> None:
        self.transport = Lost()

    monkeypatch.setattr(fabric.Connection, "open", opened)
    monkeypatch.setattr(fabric.Connection, "close", lambda _self: None)
    with pytest.raises(UnreachableError) as caught:
        fabric_connection(endpoint)
    assert caught.value.host == "node1"


def test_one_answer_of_openssh_with_include_match_and_tokens(
    cluster: Cluster, endpoint: Endpoint, tmp_path: Path
) -> None:
    assert (endpoint.hostname, endpoint.port, endpoint.user) == ("10.0.0.1", 2222, "alice")
    assert endpoint.host_key_alias == "the-one"
    assert endpoint.identity_files == (tmp_path / "alice-key",)
    assert endpoint.known_hosts == (cluster.known_hosts, tmp_path / "theirs")
    assert endpoint.agent == "/run/agent"
    assert not endpoint.identities_only
    second, third = resolve(cluster, cluster.nodes[1]), resolve(cluster, cluster.nodes[2])
    assert (second.user, second.proxy_jump) == ("carol", "bob@gate:2200,inner")
    assert third.proxy_command == f"nc -X % node3 22 {third.user}"
    assert third.agent is None


def test_the_cluster_file_wins(cluster: Cluster, tmp_path: Path) -> None:
    key = tmp_path / "mine"
    key.touch()
    node = Node("node1", address="10.9.9.9", port=22, user="dave", key=key)
    endpoint = resolve(cluster, node)
    assert (endpoint.hostname, endpoint.port, endpoint.user) == ("10.9.9.9", 22, "dave")
    assert endpoint.identity_files == (key,)
    assert endpoint.identities_only


def test_the_driver_is_never_reached_by_ssh(cluster: Cluster) -> None:
    with pytest.raises(UsageError, match="never reached by SSH"):
        resolve(cluster, cluster.driver)


def test_a_configuration_that_ssh_refuses(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("Hots node1\n")
    with pytest.raises(UsageError, match="Bad configuration option: hots"):
        resolve(dataclasses.replace(cluster, ssh_config=tmp_path / "bad"), cluster.nodes[0])


def test_an_endpoint_travels_as_json(endpoint: Endpoint, tmp_path: Path) -> None:
    with_key = dataclasses.replace(endpoint, node=Node("node1", key=tmp_path / "k"))
    assert Endpoint.from_json(endpoint.to_json()) == endpoint
    assert Endpoint.from_json(with_key.to_json()) == with_key


def test_openssh_understands_what_it_is_told(endpoint: Endpoint) -> None:
    argv = openssh_argv(endpoint)
    answer = subprocess.run([argv[0], "-G", *argv[1:]], check=True, capture_output=True, text=True, stdin=-3).stdout
    told = {line.partition(" ")[0]: line.partition(" ")[2] for line in answer.splitlines()}
    assert told["stricthostkeychecking"] in {"true", "yes"}
    assert (told["batchmode"], told["forwardagent"], told["requesttty"]) == ("yes", "no", "false")
    assert told["userknownhostsfile"] == " ".join(str(file) for file in endpoint.known_hosts)
    assert (told["user"], told["hostname"], told["port"], told["hostkeyalias"]) == (
        "alice",
        "10.0.0.1",
        "2222",
        "the-one",
    )
    assert len(told["controlpath"]) < 100
    assert argv[-1] == "node1"


def test_a_shared_connection_is_bound_to_the_keys_it_was_made_with(endpoint: Endpoint) -> None:
    before = openssh_argv(endpoint)
    assert openssh_argv(endpoint) == before
    endpoint.known_hosts[0].write_text(f"the-one {ED25519}\n")
    assert openssh_argv(endpoint) != before


def test_host_keys_are_looked_up_as_openssh_does(endpoint: Endpoint, tmp_path: Path) -> None:
    own, theirs = endpoint.known_hosts
    own.write_text(f"the-one,else {ED25519}\n# the-one\nthe-one ssh-rsa broken!\n")
    theirs.write_text(f"@revoked the-o* {OTHER}\n@cert-authority the-one {OTHER}\nnode1 {OTHER}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(own)], check=True, capture_output=True)
    assert "the-one" not in own.read_text().replace("# the-one", "")
    keys = host_keys(endpoint)
    assert keys.trusted == (ED25519,)
    assert keys.revoked == keys.authorities == (OTHER,)
    options = asyncssh_options(endpoint)
    assert options["known_hosts"] == ([ED25519.encode()], [OTHER.encode()], [OTHER.encode()])
    assert host_keys(dataclasses.replace(endpoint, host_key_alias=None)).trusted == ()


def test_asyncssh_takes_nothing_that_sha1_vouches_for(endpoint: Endpoint) -> None:
    import asyncssh

    given = asyncssh_options(endpoint)
    names = ("kex_algs", "server_host_key_algs", "signature_algs")
    options = asyncssh.SSHClientConnectionOptions(**{name: given[name] for name in names}, config=[])
    assert options.kex_algs
    assert not [name for name in options.kex_algs if b"sha1" in name]
    assert b"rsa-sha2-256" in options.signature_algs
    assert not {b"ssh-rsa", b"ssh-dss"} & set(options.signature_algs)
    assert given["server_host_key_algs"].startswith("-")  # the others are chosen by what is on record


def test_asyncssh_never_falls_back_to_files_of_its_own(endpoint: Endpoint) -> None:
    options = asyncssh_options(endpoint)
    # An empty value would mean ~/.ssh/known_hosts, and None would mean no check at all.
    assert options["known_hosts"] == ([], [], [])
    assert options["config"] == []
    assert options["host_key_alias"] == "the-one"
    assert options["client_keys"] == [str(file) for file in endpoint.identity_files]


def test_a_jump_host_is_strict_too(cluster: Cluster) -> None:
    command = proxy_argv(resolve(cluster, cluster.nodes[1]))
    assert command is not None
    assert command[-3:] == ["-W", "[node2]:22", "ssh://inner"]
    assert command[command.index("-J") + 1] == "bob@gate:2200"
    assert "StrictHostKeyChecking=yes" in command


class HostKeyNotVerifiable(Exception):  # noqa: N818 - asyncssh's name
    pass


class PermissionDenied(Exception):  # noqa: N818 - asyncssh's name
    pass


def said(text: str) -> OpenSSHError:
    return OpenSSHError(255, text)


TRUST = "timeeval-provision trust node1"


@pytest.mark.parametrize(
    ("error", "cause", "remedy"),
    [
        (said("No ED25519 host key is known for x\nHost key verification failed."), "not on record", TRUST),
        (
            said("IDENTIFICATION HAS CHANGED!\nHost key verification failed."),
            "not the one on record",
            "reinstalled",
        ),
        (said("alice@10.0.0.1: Permission denied (publickey)."), "does not let alice in", "authorized_keys"),
        (
            said("alice@x: Permission denied (keyboard-interactive)."),
            "for more than a key (keyboard-int",
            "a key suffice",
        ),
        (said("a@x: Permission denied (publickey,keyboard-interactive)."), "does not let alice in", "authorized_keys"),
        (said("Unable to negotiate: no matching key exchange method found."), "SHA-1", "update its OpenSSH"),
        (said("connect to host x port 22: Connection timed out"), "did not answer within 3 s", "firewall"),
        (said("Could not resolve hostname x: Name or service not known"), "cannot be resolved", "set address"),
        (said(""), "ssh ended with status 255", "by hand"),
        (HostKeyNotVerifiable("x"), "not on record", TRUST),
        (PermissionDenied("x"), "does not let alice in", "authorized_keys"),
        (ConnectionRefusedError(111, "x"), "refuses the connection", "start sshd"),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed: Connection refused"), "refuses", "start sshd"),
        (OSError(113, "x"), "no route", "same network"),
        (TimeoutError(), "did not answer within 3 s", "firewall"),
        (socket.gaierror(-2, "x"), "cannot be resolved", "set address"),
        (ConnectionResetError(104, "x"), "closed the connection", "log of its sshd"),
        (RuntimeError("x"), "cannot be reached at 10.0.0.1:2222: x", "by hand"),
    ],
)
def test_errors_of_all_stacks_are_told_alike(endpoint: Endpoint, error: Exception, cause: str, remedy: str) -> None:
    told = explain(error, endpoint)
    assert isinstance(told, UnreachableError)
    assert (told.host, told.exit_code) == ("node1", 8)
    assert cause in told.message
    assert told.remedy is not None
    assert remedy in told.remedy
    assert str(told).count("node1: ") == 1


def test_paramikos_errors_are_told_alike(endpoint: Endpoint) -> None:
    import paramiko

    unknown = explain(paramiko.SSHException("Server '[10.0.0.1]:2222' not found in known_hosts"), endpoint)
    assert "not on record" in unknown.message
    keyless = explain(paramiko.SSHException("No authentication methods available"), endpoint)
    assert "does not let " in keyless.message
    key = paramiko.PKey
    assert "not the one" in explain(paramiko.BadHostKeyException("x", key(), key()), endpoint).message  # type: ignore[no-untyped-call]
    refused = paramiko.ssh_exception.NoValidConnectionsError({("10.0.0.1", 2222): ConnectionRefusedError(111, "x")})
    assert "refuses" in explain(refused, endpoint).message
    assert "SHA-1" in explain(paramiko.ssh_exception.IncompatiblePeer("x"), endpoint).message
    assert "let alice in" in explain(paramiko.AuthenticationException("x"), endpoint).message
    assert "passphrase" in explain(paramiko.PasswordRequiredException("x"), endpoint).message
    assert explain(told := UnreachableError("x"), endpoint) is told


def test_the_runtime_folder_is_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = runtime_dir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)
    with pytest.raises(ProvisionError, match="not a folder of this user alone"):
        runtime_dir()
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(ProvisionError, match="not a folder of this user alone"):
        runtime_dir()


def test_recording_a_key_changes_one_hosts_lines_only(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"# mine\n10.0.0.1,other {OTHER}\n10.0.0.1 {OTHER}\n@revoked * {OTHER}\nthird {OTHER}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True)
    hashed = file.read_text().splitlines()
    file.write_text("\n".join([*hashed, f"10.0.0.1,fourth {OTHER}"]) + "\n")
    _record(file, [Trust("node1", "10.0.0.1", ED25519, fingerprint(ED25519))])

    def found(name: str) -> list[str]:
        argv = ["ssh-keygen", "-F", name, "-f", str(file)]
        answer = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
        return [line.split(maxsplit=1)[1] for line in answer.splitlines() if not line.startswith(("#", "@"))]

    assert found("10.0.0.1") == [ED25519]
    assert found("other") == found("third") == found("fourth") == [OTHER]
    assert "# mine" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.glob(".*")) == []


def test_fingerprints_are_those_of_ssh_keygen(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text(ED25519 + "\n")
    answer = subprocess.run(
        ["ssh-keygen", "-l", "-f", tmp_path / "key.pub"], check=True, capture_output=True, text=True
    )
    assert answer.stdout.split()[1] == fingerprint(ED25519)
