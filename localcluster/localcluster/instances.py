"""Records of the instances of this user: who has which ports, who lives, who left debris."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from datetime import UTC, datetime
from ipaddress import IPv4Network
from pathlib import Path
from random import SystemRandom
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from localcluster import network, processes
from localcluster.build import Built
from localcluster.components import START_ORDER, STOP_ORDER, Plan, Ports
from localcluster.errors import LocalClusterError
from localcluster.places import locked, state_root, write_private

Condition = Literal["running", "starting", "broken", "stale"]

MARKER = ".localcluster"
"""File that says a folder is ours to delete."""

GRACE_S = 5.0


class Record(BaseModel):
    """What is known of an instance beside its processes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    folder: Path
    home: Path
    version: str
    created: datetime
    ports: Ports
    services: IPv4Network
    leashed: bool
    owner_pid: int
    owner_ticks: int | None
    ready: bool = False

    @property
    def plan(self) -> Plan:
        """What the command lines depend on."""
        return Plan(self.folder, Built(self.home), self.ports, self.services)

    @property
    def kubeconfig(self) -> Path:
        """Kubeconfig of the admin."""
        return self.plan.kubeconfig("admin")

    def save(self) -> None:
        """Write the record, in place of an older one."""
        write_private(_file(self.name), self.model_dump_json(indent=2) + "\n")


def judge(record: Record, alive: Collection[str], *, owner_lives: bool) -> Condition:
    """Return the condition of an instance.

    Args:
        record: Its record.
        alive: Names of its components that run.
        owner_lives: Whether the process that started it still runs.
    """
    if not record.ready:
        return "starting" if owner_lives else "stale"
    if not alive or (record.leashed and not owner_lives):
        return "stale"
    return "running" if set(START_ORDER) <= set(alive) else "broken"


def condition(record: Record) -> Condition:
    """Look at the process table and judge."""
    alive = {one.component for one in processes.running(record.folder)}
    ticks = processes.start_ticks(record.owner_pid)
    return judge(record, alive, owner_lives=ticks is not None and ticks == record.owner_ticks)


def records() -> list[Record]:
    """Return all records, in order of name; one that cannot be read is of another version."""
    found = []
    for path in sorted(state_root().glob("*.json")):
        try:
            found.append(Record.model_validate_json(path.read_text()))
        except FileNotFoundError:
            continue
        except ValidationError as error:
            raise LocalClusterError(
                f"{path}: cannot read this record of an instance: {error}\n"
                "Stop its processes, then delete the file"
            ) from error
    return found


def find(name: str) -> Record | None:
    """Return the record of an instance, or None."""
    return next((record for record in records() if record.name == name), None)


def reserve(name: str, folder: Path | None, built: Built, *, leashed: bool) -> Record:
    """Clear debris, choose ports and a service range, and write the record of a new instance.

    Args:
        name: Its name.
        folder: Where its data go, absent or empty; beside the record if None.
        built: The programs.
        leashed: Whether it dies with this process.
    """
    with locked(state_root() / "lock"):
        _sweep()
        others = records()
        for other in others:
            if other.name == name and condition(other) != "broken":
                raise LocalClusterError(
                    f'an instance "{name}" is {condition(other)} in {other.folder}; choose another '
                    f"--name, or stop it: python -m localcluster down --name {name}"
                )
            if other.name == name:
                remove(other, grace_s=0)
        random = SystemRandom()
        taken = {port for other in others for port in vars(other.ports).values()}
        ranges = network.ranges_in(processes.command_lines()) | {one.services for one in others}
        record = Record(
            name=name,
            folder=_claim(folder or state_root() / name),
            home=built.home,
            version=built.version,
            created=datetime.now(UTC),
            ports=Ports(*network.choose_ports(3, taken, random, network.can_bind)),
            services=network.choose_range(ranges, random),
            leashed=leashed,
            owner_pid=os.getpid(),
            owner_ticks=processes.start_ticks(os.getpid()),
        )
        record.save()
        return record


def remove(record: Record, grace_s: float = GRACE_S) -> None:
    """Stop an instance and delete its folder and record; what is gone already is no error.

    Clients go first, since an API server that still has some drains until the grace is over: those
    of ours that carry the folder, then the components. etcd goes last, since an API server without
    it drains for a minute and keeps its port.

    Args:
        record: The instance.
        grace_s: Seconds to let a process end by itself; 0 kills at once.
    """
    known = {component for stage in STOP_ORDER for component in stage}
    live = processes.running(record.folder)
    processes.stop([one for one in live if one.component not in known], grace_s)
    for stage in STOP_ORDER:
        live = processes.running(record.folder)
        processes.stop([one for one in live if one.component in stage], grace_s)
    if (record.folder / MARKER).exists():
        shutil.rmtree(record.folder, ignore_errors=True)
    _file(record.name).unlink(missing_ok=True)


def sweep() -> list[str]:
    """Remove what crashed instances left and return their names."""
    if not state_root().exists():
        return []
    with locked(state_root() / "lock"):
        return _sweep()


def _sweep() -> list[str]:
    """Do it; the caller holds the lock."""
    stale = [record for record in records() if condition(record) == "stale"]
    for record in stale:
        remove(record, grace_s=0)
    return [record.name for record in stale]


def _claim(folder: Path) -> Path:
    """Create and mark the folder of an instance; one with other content is not ours to use."""
    folder = folder.absolute()
    if folder.exists() and not (folder / MARKER).exists() and any(folder.iterdir()):
        raise LocalClusterError(
            f"{folder}: not empty, and `down` deletes the folder of an instance; "
            "choose another --dir"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    (folder / MARKER).write_text("localcluster deletes this folder when its instance stops\n")
    return folder


def _file(name: str) -> Path:
    """Return the path of a record."""
    return state_root() / f"{name}.json"
