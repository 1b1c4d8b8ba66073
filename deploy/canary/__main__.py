"""`python3 -m deploy.canary`: rolls a Knative Service's new revision out, by canary or blue-green. Needs kubectl."""

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from functools import partial

from deploy.canary.decisions import STEPS, Limits
from deploy.canary.kubectl import Kubectl, KubectlFailed
from deploy.canary.prometheus import EVENTS, PEOPLE, Prometheus
from deploy.canary.rollout import LEFT, Left, Over, Rollout
from deploy.canary.traffic import Unclear

LABELS = 'instance=~"{revision}-deployment-.*"'  # pods are named after their revision
EXIT = """exit codes: 0 promoted, or nothing to do; 1 rolled back, or it was before; 2 wrong usage; 3 it could not go
on, and the traffic stays as it is (run it again). Of several Services the first that is not 0 ends the command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    said = parser()
    options = said.parse_args(arguments)
    if options.do == "roll" and options.patience <= options.watch:
        said.error("--patience must be longer than --watch")
    return next((code for code in (_one(name, options) for name in options.services) if code), 0)


def _one(name: str, options: argparse.Namespace) -> int:
    rollout = Rollout(name, Kubectl(shlex.split(options.kubectl), options.namespace))
    try:
        if options.do == "pin":
            return rollout.pin()
        if options.do == "rollback":
            return rollout.rollback()
        rollout.poll, rollout.ready_within = options.poll, options.ready_within
        if options.do == "promote":
            return rollout.promote()
        return _roll(rollout, options)
    except Over as over:
        return over.code
    except (Left, Unclear, KubectlFailed) as error:
        print(f"{name}: {error}", file=sys.stderr)  # noqa: T201
        return LEFT


def _roll(rollout: Rollout, options: argparse.Namespace) -> int:
    rollout.again = options.again
    rollout.limits = Limits(
        requests=options.requests,
        errors=options.errors,
        slower=options.slower,
        slack=options.slack,
        watch=options.watch,
        patience=options.patience,
    )
    if options.mode == "blue-green":
        return rollout.blue_green(partial(_passes, options.test) if options.test else None)
    queries = PEOPLE if rollout.name == "ingress" else EVENTS
    return rollout.canary(Prometheus(options.prometheus, options.labels, queries), options.steps)


def _passes(command: str, url: str) -> bool:
    """Whether the operator's command finds the revision at `url` good."""
    return not subprocess.run(command, shell=True, env={**os.environ, "CANARY_URL": url}, check=False).returncode  # noqa: S602


def parser() -> argparse.ArgumentParser:
    """The command line."""
    said = argparse.ArgumentParser(prog="deploy.canary", description=__doc__, epilog=EXIT)
    commands = said.add_subparsers(dest="do", required=True)
    for name, help_ in (
        ("pin", "before `kubectl apply`: what is applied gets no traffic by itself"),
        ("roll", "roll the newest revision out"),
        ("promote", "all traffic to the newest revision, at once"),
        ("rollback", "all traffic back to the old revision, at once"),
    ):
        command = commands.add_parser(name, help=help_, epilog=EXIT)
        command.add_argument("services", nargs="+", metavar="SERVICE", help="Knative Services, one after the other")
        command.add_argument("-n", "--namespace", default="kn-ts")
        command.add_argument("--kubectl", default="kubectl", help="command, such as 'kubectl --context production'")
        if name in ("roll", "promote"):
            command.add_argument("--poll", type=float, default=15, help="seconds between two looks (%(default)s)")
            command.add_argument(
                "--ready-within", type=float, default=600, help="seconds until it must be ready (%(default)s)"
            )
        if name == "roll":
            _add_roll(command)
    return said


def _add_roll(command: argparse.ArgumentParser) -> None:
    limits = Limits()
    command.add_argument("--mode", choices=("canary", "blue-green"), default="canary")
    command.add_argument(
        "--steps", type=_steps, default=STEPS, help="percent, one after the other (5,25,50,100)", metavar="P,P,…"
    )
    command.add_argument("--prometheus", type=_url, default="http://127.0.0.1:9090", help="its URL (%(default)s)")
    command.add_argument("--labels", default=LABELS, help="how a series names its revision (%(default)s)")
    command.add_argument("--test", help="blue-green: command that tests the revision at $CANARY_URL; 0 promotes it")
    command.add_argument("--again", action="store_true", help="also a revision that was rolled back before")
    for name, help_ in (
        ("requests", "requests that each revision must have had in a step"),
        ("errors", "share of requests that may fail beyond the old revision's"),
        ("slower", "times the old revision's 95th percentile that the new one's may be"),
        ("slack", "seconds that it may be longer in any case"),
        ("watch", "seconds that a step lasts at least"),
        ("patience", "seconds after which a step without a verdict is rolled back"),
    ):
        command.add_argument(f"--{name}", type=float, default=getattr(limits, name), help=f"{help_} (%(default)s)")


def _steps(text: str) -> tuple[int, ...]:
    steps = tuple(int(part) for part in text.split(","))
    if not steps or list(steps) != sorted(set(steps)) or not 0 < steps[0] <= steps[-1] <= 100:
        raise argparse.ArgumentTypeError("expected rising percents from 1 to 100, such as 5,25,50,100")
    return steps


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError("expected an http(s) URL")
    return text


if __name__ == "__main__":
    sys.exit(main())
