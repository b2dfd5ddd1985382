"""Postfix, Exim and OpenSMTPD on loopback, with the recipes of ops/deploy/mail.md, between the gateway and mailboxes.

They run from a temporary folder with what ops/outside unpacks. No user, service or file of the machine changes.
"""

from __future__ import annotations

import os
import re
import shutil
import smtplib
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import outside
from tests.support.production import free_port
from tests.support.waiting import eventually_blocking

PAGE = Path(__file__).parents[3] / "ops" / "deploy" / "mail.md"
DOMAIN = "bounces.lender.example"  # the page's
LISTENER = "2525"  # the page's port
GREY, UNKNOWN = "grey@lender.example", "gone@lender.example"  # refused at RCPT by the relay itself
# Users that Debian has on every machine (base-passwd): Postfix wants one and a group that nothing else runs as.
_POSTFIX_USER, _POSTFIX_GROUP = "daemon", "games"
_QUEUES = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace")
_QUEUES_OF_GROUP = {"public": 0o710, "maildrop": 0o730}


@dataclass(frozen=True, slots=True)
class MailServer:
    """One that runs. ``port`` relays for us; ``closed_port`` does for nobody, as where we are not let in.

    ``copies``: a person's mailbox gets a copy of each complaint. ``smtputf8``: it offers SMTPUTF8 (RFC 6531).
    """

    name: str
    version: str
    port: int
    closed_port: int
    log: Path
    copies: bool = True
    smtputf8: bool = True

    def taken(self, recipient: str) -> bool:
        """Whether it has handed on a mail to this recipient."""
        return bool(re.search(r'status=sent|=> |result="Ok"', self.said(recipient)))

    def said(self, recipient: str) -> str:
        """What it logged of a delivery to this recipient, or of the refusal of it; "" before that."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        named = rf"(?<!from=)<{re.escape(recipient)}>|[>*=]+ {re.escape(recipient)} "
        found = re.findall(rf"^(?!.* smtp envelope ).*(?:{named}).*$", text, re.MULTILINE)
        return str(found[-1]) if found else ""


@contextmanager
def mail_server(name: str, listener: int, mailboxes: int) -> Iterator[MailServer]:
    """One of ``_SERVERS``: the domain of return paths goes to ``listener``, and all others to ``mailboxes``.

    Skips the test where the server can't be had, or can't be started by this user.
    """
    folder = Path(tempfile.mkdtemp(prefix="gwmail-", dir="/tmp"))
    folder.chmod(0o755)
    files = {path: text.replace(LISTENER, str(listener)) for path, text in outside.recipes(PAGE).items()}
    try:
        with _SERVERS[name](folder, files, mailboxes) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# ── Postfix ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _postfix(folder: Path, recipe: Mapping[str, str], mailboxes: int) -> Iterator[MailServer]:
    if os.geteuid() != 0:
        pytest.skip("Postfix can be started by root alone")
    source = outside.unpacked("usr/lib/postfix/sbin/master")
    root = outside.readable_copy(source, folder / "root", "usr/lib/postfix", "usr/sbin", "usr/share/postfix")
    etc, queue, data = (folder / name for name in ("etc", "queue", "data"))
    for each in (etc, queue, data, *(queue / name for name in (*_QUEUES, *_QUEUES_OF_GROUP, "pid"))):
        each.mkdir()
    for name in _QUEUES:
        shutil.chown(queue / name, _POSTFIX_USER)
    for name, mode in _QUEUES_OF_GROUP.items():
        shutil.chown(queue / name, _POSTFIX_USER, _POSTFIX_GROUP)
        (queue / name).chmod(mode)
    shutil.chown(data, _POSTFIX_USER)
    port, closed = free_port(), free_port()
    log = folder / "maillog"
    environment = {"LD_LIBRARY_PATH": f"{root}/usr/lib/postfix", "MAIL_CONFIG": str(etc)}
    recipients = "smtpd_recipient_restrictions"
    main = f"""compatibility_level = 3.6
queue_directory = {queue}
command_directory = {root}/usr/sbin
daemon_directory = {root}/usr/lib/postfix/sbin
shlib_directory = {root}/usr/lib/postfix
meta_directory = {etc}
data_directory = {data}
mail_owner = {_POSTFIX_USER}
setgid_group = {_POSTFIX_GROUP}
default_privs = {outside.UNPRIVILEGED}
import_environment = {" ".join(environment)}
maillog_file = {log}
maillog_file_prefixes = /tmp
myhostname = relay.lender.example
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
disable_dns_lookups = yes
smtp_host_lookup = native
relayhost = [127.0.0.1]:{mailboxes}
minimal_backoff_time = 1s
queue_run_delay = 1s
smtpd_client_restrictions =
{recipients} = check_recipient_access inline:{{ {{{GREY} = 450 4.2.0 Greylisted}}, {{{UNKNOWN} = 550 5.1.1 No}} }}
"""
    (etc / "main.cf").write_text(main + recipe["/etc/postfix/main.cf"].replace("/etc/postfix", str(etc)))
    (etc / "gateway_recipients").write_text(recipe["/etc/postfix/gateway_recipients"])
    (etc / "master.cf").write_text(_master(root, port, closed))
    shutil.copy(root / "usr/share/postfix/dynamicmaps.cf", etc)
    version = _output([f"{root}/usr/sbin/postconf", "-h", "mail_version"], environment)
    master = [f"{root}/usr/lib/postfix/sbin/master", "-c", str(etc), "-d"]
    with _running(master, folder / "master.log", environment, None, port):
        yield MailServer("Postfix", version, port, closed, log)


def _master(root: Path, port: int, closed: int) -> str:
    """The services of Postfix's own master.cf, none in a chroot, with our ports in the place of 25."""
    lines = []
    for line in (root / "usr/share/postfix/master.cf.dist").read_text().splitlines():
        words = line.split()
        if line.startswith(("#", " ")) or len(words) < 8 or words[7] == "pipe":
            continue
        services = [f"127.0.0.1:{port}", f"127.0.0.1:{closed}"] if words[:2] == ["smtp", "inet"] else [words[0]]
        for service in services:
            lines.append(" ".join([service, *words[1:4], "n", *words[5:]]))
            if service.endswith(f":{closed}"):
                lines += ["  -o mynetworks=", "  -o smtpd_relay_restrictions=reject_unauth_destination"]
    return "\n".join(lines) + "\n"


# ── Exim ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_EXIM_USER = "Debian-exim"  # compiled in: Exim looks it up before it reads a configuration


@contextmanager
def _exim(folder: Path, recipe: Mapping[str, str], mailboxes: int) -> Iterator[MailServer]:
    source = outside.unpacked("usr/sbin/exim4")
    root = outside.readable_copy(source, folder / "root", "usr/sbin", "usr/lib/x86_64-linux-gnu")
    user, number = outside.owner(), os.stat("/proc/self").st_uid
    uid = number if user is None else 65534
    (folder / "passwd").write_text(f"root:x:0:0::/root:/bin/sh\n{_EXIM_USER}:x:{uid}:{uid}::/nonexistent:/bin/false\n")
    (folder / "group").write_text(f"root:x:0:\n{_EXIM_USER}:x:{uid}:\nmail:x:8:\n")
    libraries = root / "usr/lib/x86_64-linux-gnu"
    environment = {
        "LD_LIBRARY_PATH": str(libraries),
        "LD_PRELOAD": str(libraries / "libnss_wrapper.so"),
        "NSS_WRAPPER_PASSWD": str(folder / "passwd"),
        "NSS_WRAPPER_GROUP": str(folder / "group"),
    }
    port, closed = free_port(), free_port()
    settings = folder / "exim.conf"
    settings.write_text(_exim_configuration(folder, root, recipe, port, closed, mailboxes))
    (folder / "spool").mkdir()
    (folder / "log").mkdir()
    for each in ("spool", "log"):
        outside.give(folder / each)
    exim = [str(root / "usr/sbin/exim4"), "-C", str(settings)]
    version = _output([*exim, "-bV"], environment, user).split()[2]
    with _running([*exim, "-bdf", "-q1s"], folder / "exim.out", environment, user, port):
        yield MailServer("Exim", version, port, closed, folder / "log" / "mainlog")


def _exim_configuration(
    folder: Path, root: Path, recipe: Mapping[str, str], port: int, closed: int, mailboxes: int
) -> str:
    """Debian's rules of who may send where, in short, around the recipe's three parts."""
    parts = {name.split("/")[4]: text for name, text in recipe.items() if name.startswith("/etc/exim4/")}
    return f"""primary_hostname = relay.lender.example
exim_path = {root}/usr/sbin/exim4
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
daemon_smtp_ports = {port} : {closed}
local_interfaces = 127.0.0.1
keep_environment = *
tls_advertise_hosts =
domainlist relay_to_domains = {DOMAIN}
acl_smtp_rcpt = rcpt
{parts["main"]}
begin acl
rcpt:
  defer   recipients = {GREY}
          message = 4.2.0 Greylisted
  deny    recipients = {UNKNOWN}
          message = 5.1.1 No
  accept  condition = ${{if eq{{$received_port}}{{{port}}}}}
          !domains = +relay_to_domains
  require message = relay not permitted
          domains = +relay_to_domains
  require verify = recipient
  accept
begin routers
{parts["router"]}
others:
  driver = manualroute
  domains = ! +relay_to_domains
  transport = smtp
  route_list = * 127.0.0.1
  self = send
begin transports
{parts["transport"]}
smtp:
  driver = smtp
  port = {mailboxes}
  allow_localhost
  hosts_override
begin retry
* * F,1h,1s
"""


# ── OpenSMTPD ───────────────────────────────────────────────────────────────────────────────────────────────────────

_OPENSMTPD_USERS = ("opensmtpd", "opensmtpq")  # compiled in, as are the paths of its queue and its helpers


@contextmanager
def _opensmtpd(folder: Path, recipe: Mapping[str, str], mailboxes: int) -> Iterator[MailServer]:
    """In a root directory of its own (chroot), which has the users and the folders that its package would have made."""
    if os.geteuid() != 0:
        pytest.skip("OpenSMTPD can be started by root alone")
    source = outside.unpacked("usr/libexec/opensmtpd/encrypt")
    root = outside.readable_copy(source, folder / "root", "usr/libexec/opensmtpd")
    program = root / "usr/sbin/smtpd"
    for each in ("usr/sbin", "etc/ssl/certs", "var/run", "var/lib/opensmtpd/empty", "dev", "tmp"):
        (root / each).mkdir(parents=True)
    shutil.copy(source / "usr/sbin/smtpd", program)
    for library in _libraries(program, source / "usr/lib/x86_64-linux-gnu"):
        target = root / library.relative_to(source if library.is_relative_to(source) else "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    (root / "var/spool/smtpd").mkdir(parents=True)
    (root / "var/spool/smtpd").chmod(0o711)  # as smtpd demands; what is in it, it makes itself
    users = [f"{name}:x:{901 + number}:{901 + number}" for number, name in enumerate(_OPENSMTPD_USERS)]
    empty = "/var/lib/opensmtpd/empty:/bin/false"
    (root / "etc/passwd").write_text("\n".join(["root:x:0:0::/root:/bin/sh", *(f"{each}::{empty}" for each in users)]))
    (root / "etc/group").write_text("root:x:0:\n" + "".join(f"{each.rpartition(':')[0]}:\n" for each in users))
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (root / "etc/resolv.conf").touch()
    (root / "etc/mailname").write_text("relay.lender.example\n")
    (root / "etc/ssl/certs/ca-certificates.crt").touch()
    port, closed = free_port(), free_port()
    (root / "etc/smtpd.conf").write_text(f"""table grey {{ "{GREY}" }}
table unknown {{ "{UNKNOWN}" }}
filter "grey" phase rcpt-to match rcpt-to <grey> reject "450 4.2.0 Greylisted"
filter "unknown" phase rcpt-to match rcpt-to <unknown> reject "550 5.1.1 No"
filter "refusals" chain {{ "grey", "unknown" }}
listen on 127.0.0.1 port {port} tag "ours" filter "refusals"
listen on 127.0.0.1 port {closed} tag "others" filter "refusals"
action "mailboxes" relay host "smtp+notls://127.0.0.1:{mailboxes}"
{recipe["/etc/smtpd.conf"]}
match tag "ours" from any for any action "mailboxes"
""")
    # It is in a folder that is not on everybody's PATH.
    chroot = shutil.which("chroot", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if chroot is None:
        pytest.skip("OpenSMTPD needs chroot")
    command = [chroot, str(root), "/usr/sbin/smtpd"]
    said = subprocess.run([*command, "-h"], capture_output=True, text=True, check=False)
    version = re.search(r"OpenSMTPD (\d+(?:\.\d+)*)", said.stdout + said.stderr)
    assert version is not None, said
    log = folder / "smtpd.log"
    with _running([*command, "-d"], log, {}, None, port):
        yield MailServer("OpenSMTPD", version[1], port, closed, log, copies=False, smtputf8=False)


def _libraries(program: Path, unpacked: Path) -> list[Path]:
    """What the program loads, the dynamic linker included, from the machine or else from what is unpacked."""
    listed = _output(["ldd", str(program)], {"LD_LIBRARY_PATH": str(unpacked)})
    return [Path(each) for each in re.findall(r"(?<![\w.])/\S+", listed)]


_SERVERS = {"postfix": _postfix, "exim": _exim, "opensmtpd": _opensmtpd}


def _output(command: list[str], environment: Mapping[str, str], user: str | None = None) -> str:
    done = subprocess.run(
        command, env=environment, **outside.rights(user), cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@contextmanager
def _running(
    command: list[str], log: Path, environment: Mapping[str, str], user: str | None, port: int
) -> Iterator[None]:
    process = outside.start(command, log, environment, user)

    def greets() -> bool:
        assert process.poll() is None, log.read_text()
        with suppress(OSError, smtplib.SMTPException), smtplib.SMTP("127.0.0.1", port, timeout=5):
            return True
        return False

    try:
        eventually_blocking(greets)
        yield
    finally:
        outside.end(process)
