"""Short programs in each of which one mechanism alone keeps what the machine checks from breaking.

What is drawn at random comes to them sooner or later; here they are played each time. `tests/faults/mutation.py` takes
the mechanisms away and sees them fail. A program begins with two replicas, and things settle when it is over.
"""

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from tests.faults.registry_machine import RegistryMachine
from tests.faults.stepped import Fault, Kind

Program: TypeAlias = Callable[[RegistryMachine], None]

PROGRAMS: Final[list[Program]] = []


def _program(program: Program) -> Program:
    PROGRAMS.append(program)
    return program


def _register(
    machine: RegistryMachine,
    which: int,
    tenant: str = "acme",
    host: str = "db1",
    password: int = 1,
    *,
    pool: int = 5,
    named: bool = False,
    fault: Fault | None = None,
) -> None:
    machine.register(
        which=which, tenant=tenant, host=host, password=password, pool=pool, expecting=None, named=named, fault=fault
    )


def _remove(
    machine: RegistryMachine, which: int, tenant: str = "acme", *, named: bool = False, fault: Fault | None = None
) -> None:
    machine.remove(which=which, tenant=tenant, expecting=None, named=named, fault=fault)


def _poll(machine: RegistryMachine, *which: int) -> None:
    for each in which:
        machine.poll(which=each, fault=None)


def _each_call(kind: Kind, meanwhile: str, calls: int = 14) -> Iterator[Fault]:
    """Yield a fault at each call in turn: at which of them it matters is the product's affair."""
    return (Fault(kind, call, meanwhile) for call in range(1, calls))


def _fall_back_unseen(machine: RegistryMachine) -> None:
    """Let Redis fall back to what was saved; the first replica holds more and has not noticed, the second is new."""
    machine.kill(which=1)
    machine.fall_back()
    machine.start(full_replay=False, fault=None)


# The linked log


@_program
def an_entry_of_another_log_has_the_next_number(machine: RegistryMachine) -> None:
    _register(machine, 0)
    machine.save()
    _register(machine, 0, host="db2")
    _fall_back_unseen(machine)
    _register(machine, 1, "bolt")
    _register(machine, 1, "core")
    machine.delete_entry(where=1)
    _poll(machine, 0)


@_program
def numbers_are_missing_and_no_entry(machine: RegistryMachine) -> None:
    _register(machine, 0)
    _poll(machine, 1)
    machine.skip_numbers(by=2)
    _register(machine, 0, "bolt")
    machine.start(full_replay=True, fault=None)


@_program
def the_log_ends_earlier_and_nothing_comes(machine: RegistryMachine) -> None:
    _register(machine, 0)
    machine.save()
    _register(machine, 0, host="db2")
    machine.fall_back()


@_program
def a_start_reads_heads_while_others_write(machine: RegistryMachine) -> None:
    _register(machine, 0)
    for fault in _each_call("is slow before", "another registers it", 8):
        machine.start(full_replay=False, fault=fault)
        machine.kill(which=2)
        _register(machine, 0, host="db2")


@_program
def somebody_adds_an_entry_by_hand(machine: RegistryMachine) -> None:
    _register(machine, 0)
    machine.add_foreign_entry()


@_program
def somebody_adds_an_entry_by_hand_to_a_compacted_log(machine: RegistryMachine) -> None:
    _register(machine, 0)
    _register(machine, 0, "bolt")
    machine.compact(kept=0, unseen=5, all_have_read=True, fault=None)
    machine.start(full_replay=False, fault=None)
    machine.add_foreign_entry()


@_program
def a_newer_replica_writes_what_cannot_be_read(machine: RegistryMachine) -> None:
    _register(machine, 0)
    machine.newer_replica_writes(tenant="acme")
    _register(machine, 0, "bolt")
    _poll(machine, 0, 1)
    machine.settle(mender=0)
    _register(machine, 1, "acme", "db2")


# Commands, their ids, and who was faster


@_program
def two_write_one_tenant(machine: RegistryMachine) -> None:
    _register(machine, 0)
    _poll(machine, 1)
    _register(machine, 0, host="db2", fault=Fault("is slow to append", 1, "another registers it"))
    _remove(machine, 0, fault=Fault("is slow to append", 1, "another registers it"))


@_program
def a_writer_has_not_read_what_redis_fell_back_to(machine: RegistryMachine) -> None:
    _register(machine, 0)
    machine.save()
    _register(machine, 0, host="db2")
    _fall_back_unseen(machine)
    _remove(machine, 1)
    _register(machine, 0, host="db3")


@_program
def a_command_is_sent_again_by_its_caller(machine: RegistryMachine) -> None:
    _register(machine, 0, named=True)
    _register(machine, 0, host="db2", named=True)
    machine.repeat(which=1, command=0, fault=None)
    machine.repeat(which=1, command=1, fault=None)
    _remove(machine, 0, named=True)
    machine.repeat(which=1, command=2, fault=None)


@_program
def a_command_is_sent_again_and_the_event_before_it_is_gone(machine: RegistryMachine) -> None:
    _register(machine, 0)
    _register(machine, 0, host="db2", named=True)
    machine.delete_entry(where=1)
    machine.settle(mender=0)
    machine.repeat(which=0, command=0, fault=None)


@_program
def an_append_is_carried_out_and_its_reply_is_lost(machine: RegistryMachine) -> None:
    lost = Fault("gets no reply to its append", 1)
    _register(machine, 0, fault=lost)
    machine.settle(mender=0)
    _remove(machine, 0, fault=lost)
    machine.settle(mender=0)
    _register(machine, 0, fault=Fault("gets no reply to its append", 1, "the log is trimmed"))


@_program
def a_caller_gives_up_while_another_waits(machine: RegistryMachine) -> None:
    _register(machine, 0, fault=Fault("is slow to append", 1, "a caller gives up"))
    _register(machine, 0, "bolt")


@_program
def a_password_stays_and_the_limits_change(machine: RegistryMachine) -> None:
    _register(machine, 0, pool=5)
    _register(machine, 0, pool=10)
    _register(machine, 0, pool=10, password=2)


# Keys, heads, and who writes them late


@_program
def a_late_writer_has_an_older_state(machine: RegistryMachine) -> None:
    _register(machine, 0)
    _register(machine, 0, host="db2")
    machine.materialise_late(which=0)


@_program
def a_late_writer_has_a_state_of_a_removed_tenant(machine: RegistryMachine) -> None:
    _register(machine, 0)
    _remove(machine, 0)
    machine.materialise_late(which=0)


@_program
def a_late_writer_has_a_higher_number_of_a_log_that_is_gone(machine: RegistryMachine) -> None:
    for tenant in ("bolt", "core", "bolt", "core"):
        _register(machine, 0, tenant, password=len(machine.kept) % 3)
    _register(machine, 0, "acme", "db2")
    _register(machine, 0, "acme", "db1")
    late = len(machine.kept) - 1
    machine.flush()
    machine.settle(mender=0)
    machine.materialise_late(which=late)


@_program
def a_late_writer_has_a_higher_number_of_what_the_log_has_lost(machine: RegistryMachine) -> None:
    _register(machine, 0)
    machine.save()
    for password in (0, 1, 2):
        _register(machine, 0, "bolt", password=password)
    _register(machine, 0, "acme", "db2")
    _register(machine, 0, "acme", "db1")
    late = len(machine.kept) - 1
    machine.fall_back()
    machine.settle(mender=0)
    machine.materialise_late(which=late)


@_program
def who_starts_after_a_restoration_writes_keys(machine: RegistryMachine) -> None:
    _register(machine, 0)
    _poll(machine, 1)
    machine.flush()
    machine.settle(mender=0)
    machine.start(full_replay=False, fault=None)
    _register(machine, 2, host="db2")


@_program
def keys_are_edited(machine: RegistryMachine) -> None:
    _register(machine, 0)
    _register(machine, 0, "bolt")
    _remove(machine, 0, "bolt")
    machine.damage_key(tenant="acme", how="edited well")
    machine.damage_key(tenant="bolt", how="emptied")


@_program
def a_start_from_keys_finds_one_edited(machine: RegistryMachine) -> None:
    _register(machine, 0)
    machine.damage_key(tenant="acme", how="edited well")
    machine.kill(which=0)
    machine.kill(which=0)
    machine.start(full_replay=False, fault=None)


@_program
def a_start_from_heads_finds_one_set_back(machine: RegistryMachine) -> None:
    _register(machine, 0)
    _register(machine, 0, host="db2")
    machine.start_from_an_old_head(tenant="acme")
    _register(machine, 0, host="db3")


@_program
def a_head_is_deleted_and_the_last_entry_too(machine: RegistryMachine) -> None:
    _register(machine, 0)
    machine.damage_head(which=0, tenant="acme", how="deleted")
    machine.delete_entry(where=0)
    machine.damage_head(which=0, tenant="acme", how="deleted")


@_program
def a_change_is_cut_short_behind_its_event(machine: RegistryMachine) -> None:
    for fault in _each_call("crashes after", "nothing", 6):
        _register(machine, 0, host=f"db{fault.call}", fault=fault)
        machine.start(full_replay=False, fault=None)


@_program
def a_key_and_its_entry_are_gone_and_a_replica_knows(machine: RegistryMachine) -> None:
    _register(machine, 0)
    _poll(machine, 1)
    _register(machine, 1, "bolt")
    _register(machine, 1, "core")
    machine.trim(kept=1)
    machine.damage_key(tenant="acme", how="deleted")


# What is said again after a loss


@_program
def everything_is_gone(machine: RegistryMachine) -> None:
    _register(machine, 0)
    _register(machine, 0, "bolt")
    _remove(machine, 0, "bolt")
    machine.flush()


@_program
def the_stream_is_gone_and_its_heads_are_not(machine: RegistryMachine) -> None:
    for password in (0, 1, 2):
        _register(machine, 0, "acme", password=password)
        _register(machine, 0, "bolt", password=password)
    machine.skip_numbers(by=1000)
    _register(machine, 0, "acme", "db2")
    machine.delete_stream()


@_program
def nobody_is_left_who_held_the_stream_that_is_gone(machine: RegistryMachine) -> None:
    _register(machine, 0)
    machine.delete_stream()
    machine.kill(which=0)
    machine.kill(which=0)
    machine.start(full_replay=False, fault=None)


@_program
def a_removal_is_lost_and_the_tenant_changed_by_who_did_not_know(machine: RegistryMachine) -> None:
    _register(machine, 0)
    machine.save()
    _remove(machine, 0)
    _fall_back_unseen(machine)
    _register(machine, 1, host="db2")


@_program
def a_removal_is_lost_and_the_tenant_begins_anew(machine: RegistryMachine) -> None:
    _register(machine, 0)
    machine.save()
    _remove(machine, 0)
    _fall_back_unseen(machine)
    _remove(machine, 1)
    _register(machine, 1, host="db2")


@_program
def a_version_is_given_to_two_events(machine: RegistryMachine) -> None:
    _register(machine, 0)
    machine.save()
    _register(machine, 0, host="db2")
    _fall_back_unseen(machine)
    _register(machine, 1, host="db3")


@_program
def a_removal_is_lost_and_its_data_key_is_back(machine: RegistryMachine) -> None:
    _register(machine, 0)
    machine.save()
    _remove(machine, 0)
    machine.fall_back()


@_program
def a_data_key_is_looked_for_while_redis_has_an_older_one(machine: RegistryMachine) -> None:
    for fault in _each_call("is slow before", "everything is flushed"):
        _register(machine, 0, "acme", pool=10)
        _poll(machine, 0)
        _register(machine, 0, "acme", pool=5, fault=fault)
        machine.settle(mender=0)


@_program
def two_restore_at_once(machine: RegistryMachine) -> None:
    for fault in _each_call("is slow before", "another polls"):
        _register(machine, 0)
        _poll(machine, 0, 1)
        machine.flush()
        machine.poll(which=0, fault=fault)
        machine.settle(mender=0)


@_program
def somebody_writes_while_another_restores(machine: RegistryMachine) -> None:
    for fault in _each_call("is slow before", "another registers it"):
        _register(machine, 0, host="db1")
        machine.settle(mender=0)
        machine.save()
        _register(machine, 0, host="db2")
        _fall_back_unseen(machine)
        machine.poll(which=0, fault=fault)
        machine.settle(mender=0)


@_program
def the_log_is_lost_once_more_while_somebody_restores(machine: RegistryMachine) -> None:
    _register(machine, 0)
    _register(machine, 0, "bolt")
    for fault in _each_call("is slow before", "the stream is deleted"):
        machine.flush()
        machine.poll(which=0, fault=fault)
        machine.settle(mender=0)


# Compaction


@_program
def a_compacted_log_is_started_from(machine: RegistryMachine) -> None:
    _register(machine, 0, named=True)
    _register(machine, 0, "bolt")
    _remove(machine, 0, "bolt", named=True)
    _register(machine, 0, "core", pool=10)
    machine.compact(kept=0, unseen=5, all_have_read=True, fault=None)
    for full_replay in (False, True):
        machine.start(full_replay=full_replay, fault=None)
        machine.kill(which=0)
    machine.repeat(which=0, command=0, fault=None)
    machine.repeat(which=0, command=1, fault=None)


@_program
def a_compaction_would_lose_what_a_key_does_not_say(machine: RegistryMachine) -> None:
    _register(machine, 0)
    _register(machine, 0, "bolt")
    machine.damage_key(tenant="acme", how="deleted")
    machine.compact(kept=0, unseen=5, all_have_read=True, fault=None)


@_program
def a_compaction_would_overtake_a_replica(machine: RegistryMachine) -> None:
    _register(machine, 0)
    _register(machine, 0, "bolt")
    machine.compact(kept=0, unseen=5, all_have_read=False, fault=None)
    machine.compact(kept=0, unseen=1, all_have_read=False, fault=None)


@_program
def a_log_is_compacted_up_to_its_last_compaction(machine: RegistryMachine) -> None:
    _register(machine, 0)
    _register(machine, 0, "bolt")
    for _ in range(3):
        machine.compact(kept=0, unseen=5, all_have_read=True, fault=None)
        machine.start(full_replay=True, fault=None)
        machine.kill(which=0)


@_program
def a_compacted_log_has_lost_its_last_entry(machine: RegistryMachine) -> None:
    _register(machine, 0)
    _register(machine, 0, "bolt")
    machine.compact(kept=0, unseen=5, all_have_read=True, fault=None)
    _register(machine, 0, "core")
    machine.delete_entry(where=0)
    machine.start(full_replay=True, fault=None)


@_program
def a_compaction_is_cut_short(machine: RegistryMachine) -> None:
    for fault in _each_call("crashes before", "nothing", 20):
        _register(machine, 0, host="db1")
        _register(machine, 0, host="db2")
        machine.compact(kept=0, unseen=5, all_have_read=True, fault=fault)
        machine.start(full_replay=True, fault=None)
        machine.kill(which=1)
    machine.settle(mender=0)


@_program
def redis_falls_back_while_the_log_is_compacted(machine: RegistryMachine) -> None:
    for fault in _each_call("is slow before", "the log falls back", 20):
        _register(machine, 0, host="db1")
        machine.settle(mender=0)
        machine.save()
        _register(machine, 0, host="db2")
        _register(machine, 0, "bolt", f"db{fault.call}")
        machine.compact(kept=0, unseen=5, all_have_read=True, fault=fault)
        machine.settle(mender=0)


@_program
def a_compacted_log_loses_what_came_behind(machine: RegistryMachine) -> None:
    _register(machine, 0)
    _register(machine, 0, "bolt")
    _register(machine, 0, "core")
    machine.compact(kept=0, unseen=5, all_have_read=True, fault=None)
    machine.save()
    _remove(machine, 0, "bolt")
    _fall_back_unseen(machine)
    _register(machine, 1, "bolt", "db2")
    machine.settle(mender=1)
    machine.delete_stream()
    machine.settle(mender=0)


@_program
def redis_falls_back_to_a_key_that_was_edited_while_the_log_is_compacted(machine: RegistryMachine) -> None:
    for fault in _each_call("is slow before", "the log falls back", 20):
        _register(machine, 0, host="db1")
        _register(machine, 0, "bolt")
        machine.damage_key(tenant="acme", how="deleted")
        machine.save()
        machine.settle(mender=0)
        _register(machine, 0, "core", f"db{fault.call}")
        for _ in tuple(machine.live):
            machine.kill(which=0)
        machine.compact(kept=2, unseen=5, all_have_read=True, fault=fault)
        machine.start(full_replay=False, fault=None)
        machine.settle(mender=0)
