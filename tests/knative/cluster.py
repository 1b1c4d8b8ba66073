"""A real Kubernetes API server with the real definitions and webhooks of Knative, and Istio's definitions.

etcd, kube-apiserver and the webhooks of Knative Eventing and Serving run as processes of this machine: there are no
nodes, no scheduler, no kubelet and no controllers but those that somebody starts beside it (`plane.py`). So what is
applied here is defaulted, validated and stored as in a cluster, and nothing comes of it.

Each Knative program is a pod of its own: a network namespace with an address, since it binds fixed ports. A Service is
the pod's own address, and the names that DNS would know stand in /etc/hosts; `apart.sh` made both private to this run.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from knts.local.process import Child, LocalError, start, wait_until

ROOT = Path(__file__).resolve().parents[2]
NODE = "10.90.0.1"  # where processes outside of pods, such as our functions and the tests, are reached from pods
NETWORK = "10.90.0.0/24"  # pods and Services alike
APISERVER = f"https://{NODE}:6443"
VERSION = "v0.0.0"  # a plain `go build` of Kubernetes knows no other; Knative can't read what it says by itself
HOSTS = Path("/etc/hosts")
START_SECONDS = 120.0
READY_SECONDS = 60.0

EVENTING = "knative-eventing"
SERVING = "knative-serving"
WEBHOOKS = {  # program: its pod's address, namespace, service account and the rest of its environment
    "eventing-webhook": ("10.90.0.11", EVENTING, "eventing-webhook", {"WEBHOOK_NAME": "eventing-webhook"}),
    "serving-webhook": ("10.90.0.12", SERVING, "controller", {"WEBHOOK_NAME": "webhook"}),
}
EVENTING_MANIFESTS = (
    "config/core/100-namespace.yaml",
    "config/core/resources",
    "config/channels/in-memory-channel/resources",
    "config/core/configmaps",
    "config/channels/in-memory-channel/configmaps",
    "config/core/webhooks",
)
SERVING_MANIFESTS = (
    "config/core/100-namespace.yaml",
    "config/core/300-resources",
    "config/core/configmaps",
    "config/core/webhooks",
)


class Refused(AssertionError):
    """kubectl has failed; the message is what it said."""


class Cluster:
    """A running API server; `kubeconfig` is an administrator's."""

    def __init__(self, home: Path, programs: Path) -> None:
        self.home = home
        self.programs = programs
        self.kubeconfig = home / "kubeconfig"
        self._children: list[Child] = []

    def kubectl(self, *args: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run kubectl as administrator. Raises Refused, with its words, where it fails and `check` is left on."""
        done = subprocess.run(
            [self.programs / "kubectl", "--kubeconfig", self.kubeconfig, *args],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if check and done.returncode != 0:
            raise Refused(f"kubectl {' '.join(args)}: {done.stderr.strip()}")
        return done

    def apply(self, *objects: Mapping[str, object]) -> None:
        """Apply these objects."""
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def set_status(self, resource: str, namespace: str, status: Mapping[str, object]) -> None:
        """Say what a controller or kubelet that does not run here would say of `kind/name`."""
        patch = json.dumps({"status": status})
        self.kubectl("patch", resource, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)

    def start(self, name: str, args: Sequence[str | Path], env: Mapping[str, str] | None = None) -> Child:
        """Start a program that is stopped with the cluster; its output is in the home, under its name."""
        child = start(name, args, log=self.home / f"{name}.log", env={**os.environ, **(env or {})})
        self._children.append(child)
        return child

    def start_pod(self, name: str, address: str, namespace: str, account: str, env: Mapping[str, str]) -> Child:
        """Start a Knative program in a network of its own, as that service account."""
        for line in (
            f"netns add {name}",
            f"link add {name[-12:]} type veth peer name eth0 netns {name}",
            f"link set {name[-12:]} master knative up",
            f"-n {name} address add {address}/24 dev eth0",
            f"-n {name} link set eth0 up",
            f"-n {name} link set lo up",
        ):
            subprocess.run(["ip", *line.split()], check=True)
        kubeconfig = self.home / f"{account}.kubeconfig"
        kubeconfig.write_text(_kubeconfig(_account(namespace, account)))
        given = {
            "SYSTEM_NAMESPACE": namespace,
            "POD_NAME": name,
            "KUBECONFIG": str(kubeconfig),
            "KUBERNETES_MIN_VERSION": VERSION,
        }
        named = {"CONFIG_LOGGING_NAME": "config-logging", "CONFIG_OBSERVABILITY_NAME": "config-observability"}
        fast = {"KUBE_API_QPS": "500", "KUBE_API_BURST": "1000"}  # the default of 5 a second is for shared API servers
        inside = ["ip", "netns", "exec", name, self.programs / name]
        return self.start(name, inside, {**given, **named, **fast, "METRICS_DOMAIN": "knative.dev/eventing", **env})

    def service(self, namespace: str, name: str, address: str, ports: Mapping[int, int]) -> None:
        """A Service, its Endpoints and its name; `ports` are its own, with the pod's behind them.

        Nobody forwards from a Service's address to a pod's, so they are the same.
        """
        listed = [{"name": f"port-{port}", "port": port, "targetPort": inner} for port, inner in ports.items()]
        subsets = [
            {
                "addresses": [{"ip": address}],
                "ports": [{"name": f"port-{port}", "port": inner} for port, inner in ports.items()],
            }
        ]
        meta = {"name": name, "namespace": namespace}
        self.apply(
            {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"clusterIP": address, "ports": listed}},
            {"apiVersion": "v1", "kind": "Endpoints", "metadata": meta, "subsets": subsets},
        )
        self.name(address, f"{name}.{namespace}.svc.cluster.local", f"{name}.{namespace}.svc", f"{name}.{namespace}")

    def name(self, address: str, *names: str) -> None:
        """Let these names be found at that address. Programs that run already may remember for some seconds."""
        with HOSTS.open("a") as hosts:
            hosts.write(f"{address} {' '.join(names)}\n")

    def wait(self, what: str, true: Callable[[], bool], seconds: float = READY_SECONDS) -> None:
        """Wait until that is true; fails, with the ends of all logs, when a program has ended or time is up."""
        deadline = time.monotonic() + seconds
        while not true():
            ended = [child.name for child in self._children if not child.running]
            if ended or time.monotonic() > deadline:
                logs = "\n".join(f"{child.name}:\n{child.tail()}" for child in self._children)
                raise AssertionError(f"{what}: not within {seconds:g} s (ended: {ended or 'none'})\n{logs}")
            time.sleep(0.2)

    def stop(self) -> None:
        """End everything; nothing of it is kept."""
        for child in reversed(self._children):
            child.popen.send_signal(signal.SIGKILL)
        for child in self._children:
            child.popen.wait()
        self._children.clear()


def start_cluster(home: Path) -> Cluster:
    """The API server with definitions and webhooks, its state and logs in `home`.

    Fails the test where the programs are not built or this is not run by apart.sh, and says what to do.
    """
    if os.environ.get("KNTS_APART") != "ready":
        pytest.fail("needs a network of its own: run `make test-knative`, or this by tests/knative/apart.sh", False)
    home.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(home, built())
    try:
        _start_apiserver(cluster)
        _apply_definitions(cluster)
        _start_webhooks(cluster)
    except (LocalError, AssertionError, subprocess.SubprocessError):
        cluster.stop()
        raise
    return cluster


def built() -> Path:
    """The folder of the programs that tools/build.sh has built."""
    found = subprocess.run([ROOT / "tools/build.sh", "knative", "--cached"], capture_output=True, text=True)
    if found.returncode != 0:
        pytest.fail(f"{found.stderr.strip()}: run `tools/build.sh knative` (some minutes at first)", False)
    return Path(found.stdout.strip())


def module(path: str) -> Path:
    """What tools/build.sh has kept of a Go module that is read and not built."""
    return built() / "manifests" / path


def _kubeconfig(token: str) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": APISERVER, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
            "current-context": "test",
        }
    )


def _account(namespace: str, name: str) -> str:
    """The name of a service account, and the token that stands for it here."""
    return f"system:serviceaccount:{namespace}:{name}"


ACCOUNTS = [
    *(_account(namespace, account) for _, namespace, account, _ in WEBHOOKS.values()),
    *(
        _account(EVENTING, name)
        for name in ("eventing-controller", "imc-controller", "imc-dispatcher", "mt-broker-filter", "mt-broker-ingress")
    ),
]


def _start_apiserver(cluster: Cluster) -> None:
    home = cluster.home
    etcd = cluster.start(
        "etcd",
        [cluster.programs / "etcd", "--data-dir", home / "etcd", "--unsafe-no-fsync", "--log-level", "error"],
    )
    tokens = ["admin,admin,admin,system:masters", *(f"{name},{name},{name}" for name in ACCOUNTS)]
    (home / "tokens").write_text("\n".join(tokens) + "\n")
    cluster.kubeconfig.write_text(_kubeconfig("admin"))
    key = home / "accounts.key"
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    server = cluster.start(
        "kube-apiserver",
        [
            cluster.programs / "kube-apiserver",
            f"--version={VERSION}",
            "--etcd-servers=http://127.0.0.1:2379",
            f"--bind-address={NODE}",
            f"--advertise-address={NODE}",
            f"--cert-dir={home / 'certificates'}",
            f"--token-auth-file={home / 'tokens'}",
            "--authorization-mode=AlwaysAllow",
            "--disable-admission-plugins=ServiceAccount",  # no controller makes the default accounts
            "--endpoint-reconciler-type=none",
            f"--service-cluster-ip-range={NETWORK}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={key}",
            f"--service-account-key-file={key}",
            "--watch-cache=true",
        ],
    )

    def ready() -> bool:
        return etcd.running and cluster.kubectl("get", "--raw", "/readyz", check=False).returncode == 0

    wait_until(ready, server, seconds=START_SECONDS)


def _apply_definitions(cluster: Cluster) -> None:
    eventing, serving = (module(f"knative.dev/{name}") for name in ("eventing", "serving"))
    istio = module("istio.io/api") / "kubernetes" / "customresourcedefinitions.gen.yaml"
    paths = [istio, *(serving / path for path in SERVING_MANIFESTS), *(eventing / path for path in EVENTING_MANIFESTS)]
    first = [path for path in paths if path.name.endswith("namespace.yaml")]
    for some in (first, [path for path in paths if path not in first]):
        files = [f"--filename={path}" for path in some]
        cluster.kubectl("apply", "--server-side", "--validate=false", *files)
    cluster.kubectl("wait", "--for=condition=Established", "--all", "customresourcedefinitions", "--timeout=60s")


def _start_webhooks(cluster: Cluster) -> None:
    for program, (address, namespace, account, env) in WEBHOOKS.items():
        cluster.service(namespace, env["WEBHOOK_NAME"], address, {443: 443})
        cluster.start_pod(program, address, namespace, account, {"WEBHOOK_PORT": "443", **env})
    for name, bad, said in PROBES:
        cluster.wait(f"{name} refuses what is wrong", lambda bad=bad, said=said: said in _refusal(cluster, bad))


def _refusal(cluster: Cluster, bad: Mapping[str, object]) -> str:
    return cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(bad), check=False).stderr


PROBES: list[tuple[str, Mapping[str, object], str]] = [
    (
        "Eventing's webhook",
        {
            "apiVersion": "eventing.knative.dev/v1",
            "kind": "Trigger",
            "metadata": {"name": "wrong", "namespace": "default"},
            "spec": {"broker": "", "subscriber": {"uri": "http://example.com"}},
        },
        "missing field(s): spec.broker",
    ),
    (
        "Serving's webhook",
        {
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": {"name": "wrong", "namespace": "default"},
            "spec": {"template": {"spec": {"containers": [{"image": "example.com/x"}], "timeoutSeconds": 6000}}},
        },
        "expected 0 <= 6000 <= 600: spec.template.spec.timeoutSeconds",
    ),
]
