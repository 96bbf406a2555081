"""A private Muster on loopback: PostgreSQL, Mosquitto, musterd and agents, each a child process with its own data folder.

The demo, its check and the integration tests all use it. Nothing here is shared with other instances on the machine, nothing runs
as root that does not have to, and every process ends with the one that started it.
"""

from __future__ import annotations

import contextlib
import ctypes
import glob
import hashlib
import json
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("MUSTER_BUILD", ROOT / "build"))
DATA = Path(__file__).resolve().parent / "data"
SOCKETS = Path("/tmp")  # of PostgreSQL: their paths have to be short
SWEEP_AFTER_S = 600


class StackError(RuntimeError):
    """Something could not be started; the text says what to do."""


def wait_for(what: str, probe, timeout: float = 30.0, period: float = 0.05):
    """Calls probe until it returns something true, and returns that. Raises StackError naming `what` after `timeout` s."""
    deadline = time.monotonic() + timeout
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            raise StackError(f"waited {timeout:g} s for {what}")
        time.sleep(period)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def port_is_free(port: int) -> bool:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _reachable(path: Path, uid: int) -> bool:
    """An unprivileged user can walk to `path`: every folder above it is open to others or owned by them."""
    for folder in [path, *path.parents]:
        if folder.exists():
            st = folder.stat()
            if st.st_uid != uid and not st.st_mode & 0o001:
                return False
    return True


class User:
    """Who runs the services: ourselves, or an unprivileged account when we are root."""

    def __init__(self, name: str):
        self.root = os.geteuid() == 0
        try:
            entry = pwd.getpwnam(name if self.root else pwd.getpwuid(os.geteuid()).pw_name)
        except KeyError:
            entry = pwd.getpwnam("nobody")
        self.uid, self.gid, self.name = entry.pw_uid, entry.pw_gid, entry.pw_name

    def popen_options(self) -> dict:
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.root else {}

    def own(self, *paths: Path) -> None:
        if self.root:
            for path in paths:
                os.chown(path, self.uid, self.gid)


def service_folder(folder: Path, user: User) -> Path:
    """`folder`, or when root's checkout is closed to others, a folder under /var/tmp that `folder` then links to."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if _reachable(folder.parent, user.uid):
        folder.mkdir(exist_ok=True)
    else:
        outside = Path("/var/tmp") / f"muster-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
        outside.mkdir(mode=0o711, exist_ok=True)
        if not folder.is_symlink():
            folder.symlink_to(outside)
        folder = outside
    user.own(folder)
    return folder


class Process:
    """One child with its log. stop() asks, waits, and kills what does not listen."""

    def __init__(self, name: str, argv: list, log: Path, *, user: User | None = None, env: dict | None = None,
                 ask: int = signal.SIGTERM, cwd: Path | None = None):
        self.name, self.log, self.ask = name, log, ask
        log.parent.mkdir(parents=True, exist_ok=True)
        libc = ctypes.CDLL(None)

        def die_with_parent() -> None:
            libc.prctl(1, int(ask))  # PR_SET_PDEATHSIG

        with open(log, "ab") as out:
            self.child = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                          env={**os.environ, **(env or {})}, cwd=cwd or "/", preexec_fn=die_with_parent,
                                          **(user.popen_options() if user else {}))

    @property
    def pid(self) -> int:
        return self.child.pid

    def alive(self) -> bool:
        return self.child.poll() is None

    def check(self) -> None:
        if not self.alive():
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])
            raise StackError(f"{self.name} ended with status {self.child.returncode}; the end of {self.log}:\n{tail}")

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self.child.kill()
        self.child.wait()

    def stop(self, timeout: float = 15.0) -> None:
        if self.alive():
            self.child.send_signal(self.ask)
            try:
                self.child.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()


class Postgres:
    """A private cluster on a unix socket, without any TCP port."""

    def __init__(self, folder: Path, logs: Path):
        self.user = User("postgres")
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda p: int(p.split("/")[4]))
        if not found:
            raise StackError("PostgreSQL is not installed; run `make deps`")
        self.bin = Path(found[-1])
        self.base = service_folder(folder, self.user)
        self.data, self.log = self.base / "data", logs / "postgres.log"
        # A unix socket's path has at most 107 bytes, and a checkout may be deep. The number is of the process that it belongs to.
        tag = hashlib.sha256(str(self.base).encode()).hexdigest()[:12]
        self.socket = SOCKETS / f"muster-pg-{os.getpid()}-{tag}"
        self.process: Process | None = None

    def _run(self, *argv) -> subprocess.CompletedProcess:
        done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, cwd="/", **self.user.popen_options())
        if done.returncode != 0:
            raise StackError(f"{argv[0]} failed: {done.stderr.strip()[-400:]}")
        return done

    @staticmethod
    def sweep() -> None:
        """A run that was killed could not remove its folder; its PostgreSQL has ended with it, and its socket is gone. One that is
        new may belong to a process that is out of sight, in a container that shares /tmp, and whose PostgreSQL has yet to start."""
        for folder in SOCKETS.glob("muster-pg-*-*"):
            owner = folder.name.split("-")[2]
            with contextlib.suppress(OSError):
                if owner.isdigit() and not Path("/proc", owner).exists() and time.time() - folder.stat().st_mtime > SWEEP_AFTER_S:
                    folder.rmdir()

    def start(self) -> None:
        self.sweep()
        self.socket.mkdir(mode=0o700, exist_ok=True)
        self.user.own(self.socket)
        if not (self.data / "PG_VERSION").exists():
            shutil.rmtree(self.data, ignore_errors=True)
            self._run(self.bin / "initdb", "-D", self.data, "-U", "muster", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8",
                      "--no-instructions")
        pid_file = self.data / "postmaster.pid"
        if pid_file.exists() and not self._owner_alive(pid_file):
            pid_file.unlink()
        self.process = Process("postgres", [self.bin / "postgres", "-D", self.data, "-k", self.socket, "-c", "listen_addresses=",
                                            "-c", "max_connections=60", "-c", "shared_buffers=32MB",
                                            "-c", "log_min_messages=warning"],
                               self.log, user=self.user, ask=signal.SIGINT)
        wait_for("PostgreSQL", self._ready, 30)

    @staticmethod
    def _owner_alive(pid_file: Path) -> bool:
        try:
            comm = Path(f"/proc/{int(pid_file.read_text().splitlines()[0])}/comm").read_text()
        except (OSError, ValueError, IndexError):
            return False
        return comm.strip() == "postgres"

    def _ready(self) -> bool:
        assert self.process is not None
        self.process.check()
        return subprocess.run([str(self.bin / "pg_isready"), "-q", "-h", str(self.socket), "-U", "muster"], cwd="/",
                              check=False).returncode == 0

    def url(self, database: str) -> str:
        return f"postgresql:///{database}?host={self.socket}&user=muster"

    def psql(self, database: str, sql: str) -> str:
        """Rows as text, columns separated by `|`."""
        done = subprocess.run(["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", self.url(database), "-c", sql],
                              capture_output=True, text=True, cwd="/", check=False)
        if done.returncode != 0:
            raise StackError(f"psql: {done.stderr.strip()}")
        return done.stdout.strip()

    def create(self, database: str) -> None:
        if not self.psql("postgres", f"SELECT 1 FROM pg_database WHERE datname = '{database}'"):
            self.psql("postgres", f"CREATE DATABASE {database}")

    def stop(self) -> None:
        if self.process:
            self.process.stop()
        shutil.rmtree(self.socket, ignore_errors=True)


class Broker:
    """A private Mosquitto: one loopback port for devices and one for servers, both mutual TLS, ACL by certificate name."""

    def __init__(self, folder: Path, logs: Path, pki: Path, port: int, server_port: int,
                 plugin: tuple[Path, str] | None = None):
        self.user = User("mosquitto")
        self.base = service_folder(folder, self.user)
        self.pki, self.port, self.server_port, self.plugin, self.log = pki, port, server_port, plugin, logs / "mosquitto.log"
        self.process: Process | None = None

    def configure(self) -> Path:
        """Writes the shipped configuration with its placeholders filled in; keys are copied to where the broker may read them."""
        for name, mode in [("broker.pem", 0o644), ("broker.key", 0o600), ("device-ca.pem", 0o644), ("server-ca.pem", 0o644)]:
            copy = self.base / name
            shutil.copyfile(self.pki / name, copy)
            copy.chmod(mode)
            self.user.own(copy)
        acl = self.base / "acl"
        shutil.copyfile(ROOT / "packaging/mosquitto/acl", acl)
        acl.chmod(0o600)
        self.user.own(acl)
        text = (ROOT / "packaging/mosquitto/mosquitto.conf.in").read_text()
        for name, value in {"ADDRESS": "127.0.0.1", "PORT": str(self.port), "SERVER_ADDRESS": "127.0.0.1",
                            "SERVER_PORT": str(self.server_port), "DEVICE_CA": str(self.base / "device-ca.pem"),
                            "SERVER_CA": str(self.base / "server-ca.pem"), "CERT": str(self.base / "broker.pem"), "KEY": str(self.base / "broker.key"), "ACL": str(acl)}.items():
            text = text.replace(f"@{name}@", value)
        conf = self.base / "mosquitto.conf"
        if self.plugin:  # a copy, where the broker's user may read it
            library, options = self.plugin
            copy = self.base / library.name
            shutil.copyfile(library, copy)
            copy.chmod(0o755)
            text += f"\nplugin {copy}\n{options}\n"
        conf.write_text(text)
        self.user.own(conf)
        return conf

    def start(self) -> None:
        mosquitto = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        if not Path(mosquitto).exists():
            raise StackError("Mosquitto is not installed; run `make deps`")
        self.process = Process("mosquitto", [mosquitto, "-c", self.configure()], self.log, user=self.user)
        wait_for("the broker", self._ready, 10)

    def _ready(self) -> bool:
        assert self.process is not None
        self.process.check()
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.server_port)) == 0

    def stop(self) -> None:
        if self.process:
            self.process.stop()


class Server:
    """One musterd on its own ports, database and cache."""

    def __init__(self, stack: "Stack", name: str = "musterd", settings: dict | None = None):
        self.stack, self.name = stack, name
        self.base = stack.base / name
        self.api_port, self.device_port = stack.port(f"{name}-api"), stack.port(f"{name}-device")
        self.url, self.device_url = f"https://localhost:{self.api_port}", f"https://localhost:{self.device_port}"
        self.settings = {
            "database_url": stack.postgres.url(stack.database), "api_port": self.api_port, "device_port": self.device_port,
            "public_url": self.url, "pki_dir": stack.pki, "trust_dir": stack.keys / "trusted", "cache_dir": self.base / "cache",
            "web_dir": ROOT / "web/dist", "migrations_dir": ROOT / "migrations", "broker_host": "localhost",
            "broker_port": stack.broker.server_port, "brokers": f"localhost:{stack.broker_port}", "beat_s": 2, "login_per_minute": 60, **(settings or {}),
        }
        self.conf = self.base / "musterd.conf"
        self.log = stack.logs / f"{name}.log"
        self.process: Process | None = None

    def write_conf(self) -> None:
        (self.base / "cache").mkdir(parents=True, exist_ok=True)
        self.conf.write_text("".join(f"{k} = {v}\n" for k, v in self.settings.items()))

    def command(self, *argv: str) -> str:
        """Runs `musterd COMMAND` with this server's settings; its standard output."""
        self.write_conf()
        done = subprocess.run([str(BUILD / "musterd"), "--config", str(self.conf), *argv], capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            raise StackError(f"musterd {' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout.strip()

    def start(self, env: dict | None = None) -> None:
        self.write_conf()
        self.process = Process(self.name, [BUILD / "musterd", "--config", self.conf], self.log, env=env)
        wait_for("musterd to be ready", self.ready, 30)

    def ready(self) -> bool:
        assert self.process is not None
        self.process.check()
        try:
            return self.get_json("/readyz")["ready"]
        except (OSError, urllib.error.URLError):
            return False

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.stack.pki / "server-ca.pem"))

    def get_json(self, path: str):
        return self.request("GET", path)[1]

    def request(self, method: str, path: str, body=None, *, token: str | None = None, headers: dict | None = None,
                raw: bytes | None = None, port: str = "api", context: ssl.SSLContext | None = None, timeout: float = 30):
        """(status, parsed JSON or bytes, headers). `body` is sent as JSON, `raw` as it is."""
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        head = dict(headers or {})
        if data is not None and not any(k.lower() == "content-type" for k in head):
            head["Content-Type"] = "application/octet-stream" if raw is not None else "application/json"
        if token:
            head["Authorization"] = f"Bearer {token}"
        url = (self.url if port == "api" else self.device_url) + path
        request = urllib.request.Request(url, data=data, method=method, headers=head)
        try:
            with urllib.request.urlopen(request, context=context or self.tls(), timeout=timeout) as answer:
                status, content, got = answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            status, content, got = error.code, error.read(), error.headers
        if "json" in (got.get("Content-Type") or ""):
            content = json.loads(content)
        return status, content, got

    def stop(self) -> None:
        if self.process:
            self.process.stop()


class Agent:
    """One muster-agent with its own state, sysfs tree and settings."""

    def __init__(self, stack: "Stack", name: str, site: str, settings: dict | None = None):
        self.stack, self.name, self.site = stack, name, site
        self.base = stack.base / "agents" / name
        self.settings = settings or {}
        self.process: Process | None = None
        self.log = stack.logs / f"{name}.log"

    def enrolled(self) -> bool:
        return (self.base / "state/identity/device.pem").exists()

    def write_conf(self, server: Server, token: str | None) -> Path:
        self.base.mkdir(parents=True, exist_ok=True)
        if token:
            token_file = self.base / "token"
            token_file.touch(mode=0o600)
            token_file.write_text(token)
        settings = {
            "name": self.name, "hardware": "demo", "server_url": server.device_url, "server_ca": self.stack.pki / "server-ca.pem",
            "token_file": self.base / "token", "state_dir": self.base / "state", "trust_dir": self.stack.keys / "trusted",
            "source": DATA / "digits_test_16x16_f32.bin", "source_rate": 20, "fetch_path": BUILD / "muster-fetch",
            "infer_path": BUILD / "muster-infer", "health_s": 2, "data_s": 2, "poll_s": 15, **self.settings,
        }
        conf = self.base / "muster-agent.conf"
        conf.write_text("".join(f"{k} = {v}\n" for k, v in settings.items()))
        return conf

    def start(self, server: Server, token: str | None = None) -> None:
        conf = self.write_conf(server, token)
        self.process = Process(self.name, [BUILD / "muster-agent", "--config", conf], self.log)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()

    def stop(self) -> None:
        if self.process:
            self.process.stop()


class Stack:
    """Everything of one instance under `base`; parts start in order, and stop() ends them in the reverse one."""

    def __init__(self, base: Path, *, database: str = "muster", postgres: Postgres | None = None,
                 broker_plugin: tuple[Path, str] | None = None):
        self.base, self.database = base, database
        base.mkdir(parents=True, exist_ok=True)
        self.logs, self.pki, self.keys = base / "log", base / "pki", base / "keys"
        self._ports_file = base / "ports.json"
        self._ports: dict[str, int] = json.loads(self._ports_file.read_text()) if self._ports_file.exists() else {}
        self.own_postgres = postgres is None
        self.postgres = postgres or Postgres(base / "postgres", self.logs)
        self.broker_port = self.port("broker")
        self.broker = Broker(base / "broker", self.logs, self.pki, self.broker_port, self.port("broker-servers"), broker_plugin)
        self.servers: list[Server] = []
        self.agents: dict[str, Agent] = {}

    def port(self, name: str) -> int:
        """The port used last time when it is still free, else a new one, remembered."""
        if name not in self._ports or not port_is_free(self._ports[name]):
            self._ports[name] = free_port()
            self._ports_file.write_text(json.dumps(self._ports))
        return self._ports[name]

    def start_database(self) -> None:
        if self.own_postgres:
            self.postgres.start()
        self.postgres.create(self.database)

    def make_release_key(self) -> None:
        """A release key as a publisher would have it, and the folder of keys that server and agents trust."""
        trusted = self.keys / "trusted"
        trusted.mkdir(parents=True, exist_ok=True)
        if not (self.keys / "release.key").exists():
            run([BUILD / "musterctl", "key", "generate", "--out", self.keys / "release"])
        shutil.copyfile(self.keys / "release.pub", trusted / "release.pub")

    def server(self, name: str = "musterd", settings: dict | None = None) -> Server:
        server = Server(self, name, settings)
        self.servers.append(server)
        return server

    def agent(self, name: str, site: str, settings: dict | None = None) -> Agent:
        self.agents[name] = Agent(self, name, site, settings)
        return self.agents[name]

    def musterctl(self, server: Server, token: str) -> "Musterctl":
        return Musterctl(self, server, token)

    def stop(self) -> None:
        for agent in self.agents.values():
            if agent.process and agent.process.alive():
                agent.process.child.send_signal(agent.process.ask)
        for agent in self.agents.values():
            agent.stop()
        for server in reversed(self.servers):
            server.stop()
        self.broker.stop()
        if self.own_postgres:
            self.postgres.stop()


class Musterctl:
    """musterctl with a token, for scripts; `conf` is also what a person may use."""

    def __init__(self, stack: Stack, server: Server, token: str):
        self.conf = stack.base / "musterctl.conf"
        token_file = stack.base / "musterctl.token"
        token_file.touch(mode=0o600)
        token_file.write_text(token + "\n")
        self.conf.write_text(f"server = {server.url}\nca = {stack.pki / 'server-ca.pem'}\ntoken_file = {token_file}\n")

    def run(self, *argv, check: bool = True) -> subprocess.CompletedProcess:
        return run([BUILD / "musterctl", "--config", self.conf, *argv], check=check)

    def json(self, *argv):
        return json.loads(self.run("--output", "json", *argv).stdout)


def run(argv: list, *, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess:
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode != 0:
        words = " ".join(str(a) for a in argv)
        raise StackError(f"`{words}` ended with status {done.returncode}: {(done.stderr or done.stdout).strip()[-800:]}")
    return done
