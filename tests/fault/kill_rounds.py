"""Kill rounds: services die at random moments under load, and nothing is lost.

A *life* is one group from its first checkpoint to a failover. In each round some of
its services are killed, started again, and when it is protected, the last checkpoint
is read back and compared with the load, byte for byte. At the end of its life the
group is failed over, with kills in between, and so are its disks compared.

A seed says what is killed when; how far each service had come by then, it cannot say.
"""

from __future__ import annotations

import contextlib
import enum
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import grpc

from blkcolo.v1 import types_pb2
from tests.fault.recorded_disk import Load, RecordedDisks, first_difference
from tests.fault.writers import (
    NoisyWriter,
    RecordedWriter,
    RepeatedWrites,
    read_export,
)
from tests.stack import MIB, NAMES, ODD_SIZE, PROTECTED, Stack, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from blkcolo.v1.coordinator_pb2 import Group

SIZES = (6 * MIB, ODD_SIZE)
#: How long a group may take to be protected again on a busy machine, in seconds.
_PATIENCE = 90
_STREAM_BEGINS = (
    types_pb2.FORWARD_STATE_CONNECTING,
    types_pb2.FORWARD_STATE_RESYNCING,
)


class Moment(enum.StrEnum):
    """When a round kills."""

    LOAD = "under load"
    CHECKPOINT = "in a checkpoint"
    RESYNC = "in a resync"


@dataclass(frozen=True)
class Setting:
    """The options of one life."""

    durability: str
    secondary_vm: bool
    ack_policy: str
    max_interval: float

    @classmethod
    def drawn(cls, rng: random.Random) -> Self:
        """Any of them."""
        return cls(
            rng.choice(("process", "host")),
            rng.random() < 0.5,
            rng.choice(("async", "async", "received", "applied")),
            rng.choice((0.0, 0.1)),
        )


class Windows:
    """What is known of each checkpoint's place in the load, from outside."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, int]] = {0: (0, 0)}

    @property
    def newest(self) -> int:
        """The newest epoch whose commit was answered."""
        return max(self._known)

    def add(self, epoch: int, acked_before: int, issued_after: int) -> None:
        """A checkpoint began after one number and was answered before another."""
        self._known[epoch] = acked_before, issued_after

    def of(self, epoch: int, issued: int) -> tuple[int, int]:
        """The marks that an epoch may have; `issued` is the newest number so far."""
        if epoch in self._known:
            return self._known[epoch]
        before = max(known for known in self._known if known < epoch)
        return self._known[before][0], issued


class Life:
    """One group, from its first checkpoint to a failover."""

    def __init__(self, folder: Path, seed: int, setting: Setting | None = None) -> None:
        self.seed = seed
        self.rng = random.Random(seed)  # noqa: S311 - test data
        drawn = Setting.drawn(self.rng)
        self.setting = setting or drawn
        self.kills: Counter[str] = Counter()
        durability = f'durability = "{self.setting.durability}"\n'
        self.stack = Stack(
            folder,
            sizes=SIZES,
            secondary_vm=self.setting.secondary_vm,
            max_interval=self.setting.max_interval,
            primary_options=f'{durability}ack_policy = "{self.setting.ack_policy}"\n',
            secondary_options=f"{durability}history.keep = 100\n",
        )
        self._load = Load(seed, SIZES)
        self._recorded = RecordedDisks(self._load)
        self._windows = Windows()
        self.vm = RecordedWriter(self.stack.nbd["primary"], self._load)
        self._noise: NoisyWriter | None = None

    def run(self, rounds: int, after_round: Callable[[], None]) -> None:
        """Lives so many rounds, and fails over."""
        self.stack.start()
        self._wait_protected()
        self.vm.start()
        if self.setting.secondary_vm:
            port = self.stack.nbd["secondary"]
            self._noise = NoisyWriter(port, len(SIZES), self.seed)
            self._noise.start()
        for _ in range(rounds):
            self._round()
            after_round()
        self._fail_over()

    def close(self) -> None:
        """Ends all processes and threads, as far as they are there."""
        self.stack.close()
        for writer in (self.vm, self._noise):
            if writer is not None and writer.is_alive():
                writer.end()

    # One round.

    def _round(self) -> None:
        self._checkpoint()
        self._let_write(20)
        moment = self.rng.choice(list(Moment))
        victims = self._victims(NAMES)
        if moment is Moment.LOAD:
            self._pass(0.2)
            self._kill(*victims, when=moment)
        elif moment is Moment.CHECKPOINT:
            self._kill_in_checkpoint(victims)
        else:
            self._kill_in_resync(victims)
        self._revive()
        self._wait_protected()
        self._check_last_checkpoint()

    def _victims(self, names: tuple[str, ...]) -> list[str]:
        count = self.rng.choice((1, 1, 1, 2, len(names)))
        return self.rng.sample(names, min(count, len(names)))

    def _pass(self, at_most: float) -> None:
        """Lets a random time go by: the moment of the kill."""
        time.sleep(self.rng.uniform(0, at_most))

    def _kill(self, *victims: str, when: str) -> None:
        for name in victims:
            self.stack.kill(name)
            self.kills[f"{name} {when}"] += 1

    def _kill_in_checkpoint(self, victims: list[str]) -> None:
        def take() -> None:
            with contextlib.suppress(grpc.RpcError):  # it may be committed or not
                self._checkpoint_under_load()

        call = threading.Thread(target=take, name="checkpoint")
        call.start()
        self._pass(0.04)
        when = Moment.CHECKPOINT if call.is_alive() else Moment.LOAD
        self._kill(*victims, when=when)
        call.join(60)

    def _kill_in_resync(self, victims: list[str]) -> None:
        first = self.rng.choice(("primary", "secondary"))
        self._kill(first, when=Moment.LOAD)
        self._let_write(20 if first == "secondary" else 0)
        self.stack.start(first)
        deadline = time.monotonic() + 15
        state = 0
        while state not in _STREAM_BEGINS and time.monotonic() < deadline:
            if self.stack.primary_status().protected:
                break
            state = self.stack.primary_status().state
        self._pass(0.02)
        when = Moment.RESYNC if state in _STREAM_BEGINS else Moment.LOAD
        self._kill(*victims, when=when)

    def _revive(self) -> None:
        dead = [name for name in NAMES if name not in self.stack.processes]
        self.rng.shuffle(dead)
        self.stack.start(*dead)

    def _let_write(self, count: int) -> None:
        """Waits until the VM has written on."""
        target = self.vm.acked + count

        def written() -> bool:
            if self.vm.failure is not None:
                raise self.vm.failure
            return self.vm.acked >= target

        wait_until(written, "the VM writes on", _PATIENCE)

    # Checkpoints.

    def _checkpoint(self) -> int:
        """Takes one, every other time between two writes."""
        if self.rng.random() < 0.5:
            return self._checkpoint_between_writes()
        return self._checkpoint_under_load()

    def _checkpoint_under_load(self) -> int:
        acked = self.vm.acked
        epoch = self.stack.take_checkpoint()
        self._windows.add(epoch, acked, self.vm.issued)
        return epoch

    def _checkpoint_between_writes(self) -> int:
        """One whose place in the load is known exactly."""
        with self.vm.resting() as number:
            epoch = self.stack.take_checkpoint()
            self._windows.add(epoch, number, number)
        return epoch

    def _group(self) -> Group | None:
        try:
            return self.stack.group()
        except grpc.RpcError:
            return None

    def _wait_protected(self) -> None:
        def protected() -> bool:
            group = self._group()
            return group is not None and group.state == PROTECTED

        wait_until(protected, "protected again", _PATIENCE)

    def _check_last_checkpoint(self) -> None:
        """Reads the last checkpoint while the load goes on; see `RecordedDisks`."""
        epoch = self.stack.secondary_status().committed_epoch
        found = self._read_checkpoint(epoch)
        assert epoch >= self._windows.newest, "an answered commit was lost"
        self._recorded.check(found, *self._windows.of(epoch, self.vm.issued))

    def _read_checkpoint(self, epoch: int) -> list[bytes]:
        port = self.stack.nbd["secondary"]
        return [read_export(port, f"disk{n}@{epoch}") for n in range(len(SIZES))]

    # The end of its life.

    def _fail_over(self) -> None:
        """Fails over to C(n) and compares every byte; C(n) is checked before.

        The disks are to be C(n), what the Secondary VM wrote since, and what the VM
        writes to its new disk while they are being flushed.
        """
        if self._noise is not None:
            self._noise.end()
        self.stack.pause()
        self._checkpoint()  # drops what the Secondary VM wrote
        self._let_write(60)
        primary_dies = self.rng.random() < 0.7
        if primary_dies:
            self._kill("primary", when=Moment.LOAD)
            self._maybe_restart("secondary", "coordinator")
        self._check_last_checkpoint()
        epoch = self.stack.secondary_status().committed_epoch
        images = [bytearray(image) for image in self._read_checkpoint(epoch)]
        writes = RepeatedWrites(self.stack.nbd["secondary"], images, self.seed)
        if self.setting.secondary_vm:
            writes.write(40)
            if primary_dies:
                self._maybe_restart("secondary")
            self._compare("the view", images, self._read_disks())
        committed = self._order_failover(force=primary_dies)
        assert committed == epoch, f"the failover led to {committed}, not to {epoch}"
        self._write_on_while_flushing(writes)
        self.stack.wait_flushed()
        self.vm.end()
        assert primary_dies or self.vm.fenced, "the old primary took writes"
        self._compare("the export", images, self._read_disks())
        files = [self.stack.image("secondary", n) for n in range(len(SIZES))]
        self._compare("the disk", images, [file.read_bytes() for file in files])

    def _maybe_restart(self, *names: str) -> None:
        for name in names:
            if self.rng.random() < 0.5:
                self._kill(name, when="before a failover")
                self.stack.start(name)

    def _order_failover(self, *, force: bool) -> int:
        """Calls until it is done, with a kill in the middle of the first call."""
        call = threading.Thread(target=self._try_failover, args=(force,))
        call.start()
        self._pass(0.05)
        if self.rng.random() < 0.5:
            victim = self.rng.choice(("secondary", "coordinator"))
            when = "in a failover" if call.is_alive() else "in a flush"
            self._kill(victim, when=when)
            call.join(60)
            self.stack.start(victim)
        call.join(60)
        committed: list[int] = []

        def done() -> bool:
            answer = self._try_failover(force)
            committed.extend([] if answer is None else [answer])
            return bool(committed)

        wait_until(done, "failed over", _PATIENCE)
        return committed[0]

    def _try_failover(self, force: bool) -> int | None:
        try:
            return int(self.stack.failover(force=force).committed_epoch)
        except grpc.RpcError:
            return None

    def _write_on_while_flushing(self, writes: RepeatedWrites) -> None:
        with contextlib.suppress(OSError):
            killer = threading.Thread(target=self._kill_in_flush)
            killer.start()
            writes.write(60)
        killer.join(60)
        self.stack.start("secondary")
        writes.write(20)

    def _kill_in_flush(self) -> None:
        self._pass(0.05)
        self._kill("secondary", when="in a flush")

    def _read_disks(self) -> list[bytes]:
        port = self.stack.nbd["secondary"]
        return [read_export(port, f"disk{n}") for n in range(len(SIZES))]

    @staticmethod
    def _compare(what: str, expected: list[bytearray], found: list[bytes]) -> None:
        different = first_difference(expected, found)
        assert different is None, f"{what} differs at (volume, byte) {different}"
