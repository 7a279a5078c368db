"""Three replicas, a leader that may crash anywhere, and a budget: no joule is promised twice."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from energaizer_operator import ledger
from energaizer_operator.resources.energybudget import (
    EnergyBudget,
    EnergyBudgetStatus,
    Provisional,
)
from energaizer_operator.resources.energyreservation import EnergyReservation

LIMIT = 1000
START = datetime(2026, 10, 24, 21, tzinfo=UTC)  # the day before the clocks of Rome go back
WINDOW = {"period": "Day", "timeZone": "Europe/Rome"}
WATTS = 2
replicas = st.integers(0, 2)
joules = st.integers(0, 400)


class Accounts(RuleBasedStateMachine):
    """What is stored, what each replica last saw of it, and which objects exist.

    Each write is guarded by the version, as the API server's is, so that a replica with an old copy
    must read again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.version = 0
        spec = {"limitJoules": LIMIT, "window": WINDOW, "action": "Deny"}
        self.spec = EnergyBudget.model_validate({"metadata": {}, "spec": spec}).spec
        self.status = EnergyBudgetStatus()
        self.seen: dict[int, tuple[int, EnergyBudgetStatus]] = {}
        self.objects: dict[str, int] = {}
        """Objects that exist -> what was promised to them."""
        self.failed: set[str] = set()
        """Promised, but never created."""
        self.reservations: dict[str, EnergyReservation] = {}
        self.made = 0
        self.leader_writes()

    def budget(self, status: EnergyBudgetStatus) -> EnergyBudget:
        return EnergyBudget.model_construct(spec=self.spec, status=status)

    def put(self, version: int, status: EnergyBudgetStatus) -> bool:
        if version != self.version:
            return False
        self.version, self.status = self.version + 1, status
        return True

    # --- admission --------------------------------------------------------------------------
    @rule(replica=replicas)
    def watch_brings_the_budget(self, replica: int) -> None:
        self.seen[replica] = (self.version, self.status)

    @rule(replica=replicas, energy=joules, creation_fails=st.booleans(), again=st.booleans())
    def create(self, replica: int, energy: int, creation_fails: bool, again: bool) -> None:
        version, status = self.seen.get(replica, (0, EnergyBudgetStatus()))
        self.made += 1
        entry = self.entry(f"u{self.made}", energy)
        if status.window_start_time is None or version != self.version:
            version, status = self.version, self.status  # 409, hence a live GET
        admitted = ledger.admit(self.spec, status, entry)
        if admitted is None:
            assert energy > ledger.remaining(self.spec, self.status)
            return
        assert ledger.remaining(self.spec, admitted) >= 0
        assert self.put(version, admitted)
        if again:
            assert ledger.admit(self.spec, self.status, entry) is self.status
        if creation_fails:
            self.failed.add(entry.uid)
        else:
            self.objects[entry.uid] = energy

    @rule(
        replica=replicas,
        asked=st.lists(st.tuples(joules, st.booleans()), min_size=1, max_size=6),
        lost=st.integers(0, 2),
        dies=st.booleans(),
    )
    def create_many_by_one_write(
        self, replica: int, asked: list[tuple[int, bool]], lost: int, dies: bool
    ) -> None:
        """A batch that may lose its race, and whose replica may die before anybody is told."""
        entries = []
        for energy, _ in asked:
            self.made += 1
            entries.append(self.entry(f"u{self.made}", energy))
        for _ in range(lost):  # somebody writes between our read and our write
            version, admitted, _, _ = self.batch(entries)
            self.leader_writes()
            assert not self.put(version, admitted)
        before, room = ledger.used(self.status), ledger.remaining(self.spec, self.status)
        version, admitted, let_in, refused = self.batch(entries)
        assert self.put(version, admitted)
        self.seen[replica] = (self.version, self.status)
        granted = sum(entry.energy_joules for entry in let_in)
        assert ledger.used(self.status) == before + granted
        assert granted <= max(0, room)
        assert all(entry.energy_joules > room - granted for entry in refused)
        fails = {entry.uid for entry, (_, fails) in zip(entries, asked, strict=True) if fails}
        for entry in let_in:
            if dies or entry.uid in fails:
                self.failed.add(entry.uid)  # nobody was told, or the creation failed
            else:
                self.objects[entry.uid] = entry.energy_joules

    def batch(
        self, entries: list[Provisional]
    ) -> tuple[int, EnergyBudgetStatus, list[Provisional], list[Provisional]]:
        """Return what one write of many promises would store, whom it lets in, whom it refuses."""
        status = self.status
        let_in, refused = [], []
        for entry in entries:
            try:
                after = ledger.admit(self.spec, status, entry)
            except ledger.FullError:
                continue  # comes again
            if after is None:
                refused.append(entry)
            else:
                status = after
                let_in.append(entry)
        return self.version, status, let_in, refused

    @rule(replica=replicas, energy=joules)
    def write_over_an_old_copy(self, replica: int, energy: int) -> None:
        version, status = self.seen.get(replica, (-1, self.status))
        admitted = ledger.admit(self.spec, status, self.entry("stale", energy))
        if admitted is not None and version != self.version:
            assert not self.put(version, admitted)

    # --- the leader -------------------------------------------------------------------------
    @rule()
    def leader_books(self) -> None:
        for entry in self.status.provisional:
            if entry.uid in self.objects and entry.uid not in self.reservations:
                self.reservations[entry.uid] = self.reserve(entry)
        # A crash may end it here: the promise is still there, and counts until the next write.

    @rule()
    def leader_writes(self) -> None:
        closing = ledger.close(
            self.budget(self.status), self.reservations.values(), self.now, self.failed
        )
        before = ledger.used(self.status)
        self.put(
            self.version,
            self.status.model_copy(
                update={
                    "window_start_time": closing.span.start,
                    "window_end_time": closing.span.end,
                    "closed_joules": closing.closed,
                    "consumed_joules": closing.consumed,
                    "reserved_joules": closing.reserved,
                    "provisional": closing.provisional,
                    "folded": closing.folded,
                }
            ),
        )
        again = ledger.close(
            self.budget(self.status), self.reservations.values(), self.now, self.failed
        )
        assert again == closing, "a look that is repeated changes nothing"
        assert before >= 0

    @precondition(lambda self: self.objects)
    @rule(data=st.data(), seconds=st.integers(0, 200))
    def run_for_a_while(self, data: st.DataObject, seconds: int) -> None:
        uid = data.draw(st.sampled_from(sorted(self.objects)))
        one = self.reservations.get(uid)
        begin = self.now
        self.now += timedelta(seconds=seconds)
        if one is not None and one.status.settled_time is None:
            through = one.status.charged_through_time or begin
            status = ledger.follow(
                one.spec, one.status, [ledger.PodRun(min(through, begin))], self.now
            )
            self.reservations[uid] = one.model_copy(update={"status": status})

    @precondition(lambda self: self.objects)
    @rule(data=st.data())
    def end_of_pods(self, data: st.DataObject) -> None:
        uid = data.draw(st.sampled_from(sorted(self.objects)))
        one = self.reservations.get(uid)
        if one is not None:  # one that vanished before it was booked expires as if never created
            status = ledger.settle(one.status, self.now)
            self.reservations[uid] = one.model_copy(update={"status": status})
        else:
            self.failed.add(uid)
        del self.objects[uid]

    @rule()
    def leader_deletes_what_is_folded(self) -> None:
        for uid in self.status.folded:
            self.reservations.pop(uid, None)

    @rule(hours=st.integers(1, 30))
    def time_passes(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    # --- what must hold ---------------------------------------------------------------------
    @invariant()
    def every_object_is_counted_once(self) -> None:
        promised = {entry.uid for entry in self.status.provisional}
        booked = {uid for uid, one in self.reservations.items() if one.status.settled_time is None}
        assert set(self.objects) <= promised | booked
        assert len(self.status.provisional) == len(promised)

    def teardown(self) -> None:
        """End everything: nothing is left behind, and what was taken is what pods took."""
        self.failed |= set(self.objects) - set(self.reservations)
        self.objects.clear()
        for uid, one in self.reservations.items():
            status = ledger.settle(one.status, self.now)
            self.reservations[uid] = one.model_copy(update={"status": status})
        self.leader_writes()
        self.leader_deletes_what_is_folded()
        self.leader_writes()
        assert self.status.provisional == ()
        assert self.status.folded == ()
        assert self.reservations == {}
        assert self.status.reserved_joules == 0
        assert self.status.consumed_joules == self.status.closed_joules

    # --- parts ------------------------------------------------------------------------------
    def entry(self, uid: str, energy: int) -> Provisional:
        return Provisional(
            uid=uid,
            kind="Job",
            name=uid,
            energy_joules=energy,
            expires_time=self.now,
            replicas=1,
        )

    def reserve(self, entry: Provisional) -> EnergyReservation:
        reference = {"apiVersion": "batch/v1", "kind": "Job", "name": entry.name, "uid": entry.uid}
        spec: dict[str, Any] = {
            "workloadRef": reference,
            "energyJoules": entry.energy_joules,
            "powerWatts": WATTS,
            "reservedTime": self.now.isoformat(),
        }
        return EnergyReservation.model_validate({"metadata": {"name": entry.uid}, "spec": spec})


TestAccounts = Accounts.TestCase
TestAccounts.settings = settings(max_examples=200, stateful_step_count=40)
