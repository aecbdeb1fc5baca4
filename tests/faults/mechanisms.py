"""Which mechanisms there are: each a text in a file, what would be there without it, and the test that notices.

Nearly all are within reach of the machine (`registry_machine.py`): it plays the log, its heads and keys, commands and
replicas, step by step on one Redis. Out of its reach, and left to the tests named here:

- what depends on a clock: how long ago a replica was seen or heard the log, leases, a clock that is late. Nothing in
  the machine depends on one, and it knows a state by its moment, which therefore comes once;
- a tenant's key whose server did not fall back with the log's, as in a cluster: the machine has one Redis;
- heads that somebody edits while no replica lives that knows better: what a start then serves is theirs to say;
- what is there before the log: adoption, the check of Redis's settings;
- signatures, which the machine's replicas do not make;
- what others make up for at once: a start from a torn cut, or from a head that another log has left, is told by heads
  ahead of the log's end and replays.
"""

from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
MACHINE: Final = "tests/faults/test_registry_machine.py"
KEYS: Final = "tests/integration/test_tenant_keys.py"
REPAIRS: Final = "tests/contract/test_log_repairs.py"
CONTRACT: Final = "tests/contract/test_log_contract.py"
ROTATION: Final = "tests/integration/test_rotation.py"
UNIT: Final = "tests/unit/"
REGISTRY: Final = "tests/integration/registry/test_losses.py::"


class Mutant(NamedTuple):
    """A mechanism, where it is, and what is there instead; `tests` go red without it."""

    name: str
    file: str
    text: str
    instead: str
    tests: str = MACHINE
    quick: bool = False

    def text_is_there(self) -> bool:
        """Whether the tree has the text, once: otherwise the table is to be mended."""
        return (ROOT / self.file).read_text().count(self.text) == 1


MUTANTS: Final = (
    Mutant(
        "reader does not look at seq",
        "registry/entries.py",
        "return self.prev == position.entry and self.position.seq == position.seq + 1",
        "return self.prev == position.entry",
    ),
    Mutant(
        "reader does not look at prev",
        "registry/entries.py",
        "return self.prev == position.entry and self.position.seq == position.seq + 1",
        "return self.position.seq == position.seq + 1",
    ),
    Mutant(
        "reader does not look at the link",
        "projections/directory.py",
        "if not entry.follows(self.position):",
        "if False:",
        quick=True,
    ),
    Mutant(
        "idle reader does not look at the end",
        "projections/diagnosis.py",
        "    if end == position:\n",
        "    if end.seq >= 0:\n",
    ),
    Mutant(
        "append does not look at what the writer has read",
        "registry/append.lua",
        "if not holds(ARGV[at + 1], ARGV[at + 2]) then",
        "if false then",
    ),
    Mutant(
        "append does not compare the expected version",
        "registry/append.lua",
        "if head_seq ~= ARGV[at + 4] then",
        "if false then",
        quick=True,
    ),
    Mutant(
        "append does not know a command again",
        "registry/append.lua",
        "if ARGV[at + 8] ~= '' and command == ARGV[at + 8] then",
        "if false then",
    ),
    Mutant(
        "a caller's command id is not used",
        "registry/service.py",
        "return self._new_id() if caller.command_id is None else check_command_id(caller.command_id)",
        "return self._new_id()",
    ),
    Mutant(
        "a lost reply is not followed by another try",
        "registry/appender.py",
        "            if number == TRIES:\n                raise\n",
        "            raise\n",
    ),
    Mutant(
        "what a cancelled caller proposed is sent all the same",
        "registry/appender.py",
        "            if place in self._waiting:\n                self._waiting.remove(place)\n",
        "            pass\n",
    ),
    Mutant(
        "fence does not compare seq",
        "projections/materialise.lua",
        "  return seq > other_seq\n",
        "  return false\n",
        quick=True,
    ),
    Mutant(
        "fence does not compare epochs",
        "projections/materialise.lua",
        "  if milliseconds ~= other_milliseconds then return milliseconds > other_milliseconds end\n"
        "  if count ~= other_count then return count > other_count end\n",
        "",
    ),
    Mutant(
        "fence does not outlive a removal",
        "projections/materialise.lua",
        "  redis.call('SET', KEYS[2], ARGV[1] .. '|' .. ARGV[2], 'PX', ARGV[4])\n",
        "  redis.call('DEL', KEYS[2])\n",
    ),
    Mutant(
        "keys are not reconciled",
        "projections/reconciler.py",
        "mended += await self._keys.repair(differing, as_of)",
        "mended += []",
        quick=True,
    ),
    Mutant(
        "what fitted once is not compared again",
        "projections/fitting.py",
        "known[1] == _mark(heads, texts) and known[0] == group",
        "known[0] == group",
        KEYS,
    ),
    Mutant(
        "heads are not reconciled",
        "projections/reconciler.py",
        "heads += await self._mend_heads(differing, as_of.position)",
        "heads += []",
    ),
    Mutant(
        "an empty key counts as none",
        "projections/tenant_keys.py",
        "return text != (written_for(tenant) or None)",
        'return (text or b"") != written_for(tenant)',
    ),
    Mutant(
        "heads are mended only where the last entry is",
        "registry/mend_head.lua",
        "if not at_end and #",
        "if #",
    ),
    Mutant(
        "a lost removal ends no life that was changed after it",
        "registry/restore.py",
        "since = tenant.changed_at if isinstance(tenant, Removed) else tenant.born",
        "since = tenant.changed_at",
    ),
    Mutant(
        "a life does not begin anew after a removal",
        "registry/restore.py",
        "return since, removed, tenant.changed_at",
        "return datetime.max.replace(tzinfo=since.tzinfo) if removed else since, removed, tenant.changed_at",
    ),
    Mutant(
        "what is said again keeps its version",
        "registry/restore.py",
        "    if holds.version > gives_way.version:\n        return holds\n",
        "    return holds\n",
    ),
    Mutant(
        "what an earlier log has left is not told apart",
        "registry/entries.py",
        "return entry_order(head.position.entry) < entry_order(self.begun)",
        "return False",
        REPAIRS,
    ),
    Mutant(
        "what an earlier log has left is forgotten",
        "projections/rebuild.py",
        "if entry_order(head.position.entry) < first}",
        "if False}",
    ),
    Mutant(
        "an edited document is believed",
        "registry/stored.py",
        "if document is None or head.sum is None or sum_of(document) != head.sum:",
        "if document is None or head.sum is None:",
    ),
    Mutant(
        "a restoration opens no epoch",
        "projections/restoration.py",
        '*words, opens=Epoch(note.epoch, "", begun))',
        "*words, opens=None)",
    ),
    Mutant(
        "a restoration is noted behind whatever came",
        "registry/note.lua",
        "if not seq or entry ~= ARGV[1] or string.format('%d', seq) ~= ARGV[2] then",
        "if not seq then",
    ),
    Mutant(
        "a restoration overwrites what it has not read",
        "projections/restoration.py",
        "if isinstance(head, Head) and _is_behind(head, directory, end):",
        "if False:",
    ),
    Mutant(
        "a restoration waits for what the log has lost",
        "projections/restoration.py",
        "        if directory.position == before:\n",
        "        if False:\n",
    ),
    Mutant(
        "a restoration puts no data key back",
        "projections/restoration.py",
        "return SetKey(wrapped) if wrapped else KeepKey()",
        "return KeepKey()",
        quick=True,
    ),
    Mutant(
        "a restoration leaves a removed tenant's data key",
        "projections/restoration.py",
        "            return DestroyKey()\n",
        "            return KeepKey()\n",
    ),
    Mutant(
        "a data key that the log has lost is given up",
        "projections/keyring.py",
        "if isinstance(tenant, Live) and self.wrapped(tenant) and not fits:",
        "if False:",
    ),
    Mutant(
        "what a replica holds does not stand in for a key that is gone",
        "projections/rebuild.py",
        "            if known:\n                directory.settle(known)\n",
        "            pass\n",
    ),
    Mutant(
        "the cut is no single transaction",
        "registry/redis_client.py",
        "        async def send(node: Node, *, asking: bool) -> list[Any]:\n            return _unrefused(",
        "        return [await self.run(*each) for each in commands]\n\n"
        "        async def send(node: Node, *, asking: bool) -> list[Any]:\n            return _unrefused(",
        REPAIRS,
    ),
    Mutant(
        "what is held is given up before the log is restored",
        "projections/follower.py",
        "(self._directory)\n        await self._restore(rebuilt, finding)",
        "(Directory())\n        self._directory.become(Directory())\n        await self._restore(rebuilt, finding)",
        quick=True,
    ),
    Mutant(
        "an unreadable tenant halts everybody",
        "projections/directory.py",
        "        if named is None or self.position == START",
        "        if True or self.position == START",
    ),
    Mutant(
        "a foreign entry is skipped",
        "projections/directory.py",
        '            raise CorruptEntry(f"Entry {entry.entry} was not written by this system',
        '            return None\n            raise CorruptEntry(f"Entry {entry.entry} was not written by this system',
    ),
    Mutant(
        "pools are recycled for every change",
        "server/pools.py",
        "if tenant.fingerprint != seat.pool.fingerprint:",
        "if True:",
    ),
    Mutant(
        "pools are never recycled",
        "server/pools.py",
        "if tenant.fingerprint != seat.pool.fingerprint:",
        "if False:",
    ),
    Mutant(
        "an unchanged password is sealed anew",
        "registry/planner.py",
        "return _Kept(tenant.secret) if kept == registration.password else None",
        "return None",
    ),
    Mutant(
        "a change is answered before its key is written",
        "registry/service.py",
        "        await self._materialise(msgspec.structs.replace(after, position=position), as_of)\n",
        "",
    ),
    Mutant(
        "a change is answered before it is served",
        "registry/service.py",
        "served = await self._view.reached(position)",
        "served = True",
    ),
    Mutant(
        "a decision is made on what is behind the tenant's head",
        "projections/view.py",
        "if head is not None and not await self._reached_head(head):",
        "if False:",
    ),
    Mutant(
        "a caller's command is not looked for among the tenant's events",
        "registry/answers.py",
        "found = await self._appender.find(command_id, tenant.position, 0)",
        "found = None",
    ),
    Mutant(
        "the last command of a compacted log is forgotten",
        "registry/answers.py",
        "last = await self._last(tenant, command_id, registration)",
        "last = None",
    ),
    Mutant(
        "a removal leaves the data key",
        "registry/planner.py",
        'status="removed", key=DestroyKey())',
        'status="removed", key=KeepKey())',
    ),
    Mutant(
        "a log is compacted although something is wrong with it",
        "projections/compaction.py",
        "if inspected.count:",
        "if False:",
    ),
    Mutant(
        "a log is compacted beyond what live replicas have applied",
        "projections/compaction.py",
        "            if not behind:\n                return\n",
        "            return\n",
    ),
    Mutant(
        "a compaction is not noted in the log",
        "projections/compaction.py",
        "        await self._note(self._signer.sign(event))\n",
        "",
        quick=True,
    ),
    Mutant(
        "a log is compacted that fell back after it was looked at",
        "registry/trim.lua",
        "if not holds(ARGV[1], ARGV[2]) or not holds(ARGV[3], ARGV[4]) then",
        "if false then",
    ),
    Mutant(
        "an entry that cannot be read is blamed on heads",
        "projections/follower.py",
        "misplaced and self._complete.is_set() and",
        "self._complete.is_set() and",
    ),
    Mutant(
        "the missing end of a compacted log counts as compacted",
        "projections/rebuild.py",
        "is_cut_short = verifier.position.seq < end.seq",
        "is_cut_short = False",
    ),
    # Out of the machine's reach: see above.
    Mutant(
        "a tenant's time goes back with a clock that is late",
        "registry/decide.py",
        "time = max(time, tenant.changed_at + _MOMENT)",
        "pass",
        UNIT + "test_decide.py",
    ),
    Mutant(
        "a tenant is registered anew in the moment of its removal",
        "registry/decide.py",
        "time = max(time, tenant.changed_at + _MOMENT)",
        "time = max(time, tenant.changed_at)",
        UNIT + "test_decide.py",
    ),
    Mutant(
        "heads that do not fit the log are believed",
        "projections/follower.py",
        "misplaced and self._complete.is_set() and self._rebuilder.distrust_heads()",
        "False",
    ),
    Mutant(
        "a fence of what the log has lost holds for ever",
        "projections/tenant_keys.py",
        "if len(written) < len(differing):",
        "if False:",
        KEYS,
    ),
    Mutant(
        "a Redis that evicts the log is taken",
        "registry/redis_safety.py",
        'if policy.startswith("allkeys-"):',
        "if False:",
        UNIT + "test_redis_safety.py",
    ),
    Mutant(
        "a code covers its event alone",
        "registry/signing.py",
        "self._code(self._first, codec.encode(_unsigned(event)), mac_of(before))",
        "self._code(self._first, codec.encode(_unsigned(event)), None)",
        UNIT + "test_signing.py",
    ),
    Mutant(
        "who asks while others read is told what those have begun to read before",
        "server/shared_reads.py",
        "for turn in others:",
        "for turn in [*others, *self._waiting]:",
        UNIT + "test_shared_reads.py",
    ),
    Mutant(
        "who is cancelled when its subscription was made leaves that behind",
        "server/mcp_beyond.py",
        "ending.enter_context(self._beyond.announcements.subscribe(caller, wanted))",
        "self._beyond.announcements.subscribe(caller, wanted)",
        "tests/security/test_leaving.py",
    ),
    Mutant(
        "who is cancelled when it is its turn to read for others keeps the turn",
        "server/shared_reads.py",
        "self._waiting[:0] = told.others",
        "pass",
        UNIT + "test_shared_reads.py",
    ),
    Mutant(
        "a replica that stood still serves",
        "projections/freshness.py",
        "return self._heard < self._since or (",
        "return (",
        UNIT + "test_freshness.py",
    ),
    Mutant(
        "a replica that is cut off serves for ever",
        "projections/freshness.py",
        "        if cut_off and (self._max_staleness == 0",
        "        if False and (self._max_staleness == 0",
        UNIT + "test_freshness.py",
    ),
    Mutant(
        "a replica that nobody sees serves for ever",
        "projections/freshness.py",
        "return self._seen + self._max_staleness + self._lease if self._must_be_seen else math.inf",
        "return math.inf",
        UNIT + "test_freshness.py",
    ),
    Mutant(
        "a position in another log confirms a removal",
        "projections/replicas.py",
        "if self.whereabouts.log != log or not self.whereabouts.linked:",
        "if not self.whereabouts.linked:",
        UNIT + "test_replicas.py",
    ),
    Mutant(
        "a replica that knows its log was lost confirms a removal",
        "projections/replicas.py",
        "if self.whereabouts.log != log or not self.whereabouts.linked:",
        "if self.whereabouts.log != log:",
        UNIT + "test_replicas.py",
    ),
    Mutant(
        "a change is appended to another log than it was decided on",
        "registry/service.py",
        "            after=read,",
        "            after=self._view.position,",
        REGISTRY + "test_what_was_decided_on_a_log_that_is_restored_meanwhile_is_refused_as_to_be_tried_again",
    ),
    Mutant(
        "a change that the log has lost is said to be served",
        "registry/service.py",
        "await self._view.reached(position) and self._view.tells(plan.event)",
        "await self._view.reached(position)",
        REGISTRY + "test_a_change_that_was_lost_before_this_replica_read_it_is_not_said_to_be_served",
    ),
    Mutant(
        "a fence of what the log has lost and grown past is believed",
        "registry/fences.py",
        "    return seq <= as_of.position.seq or (as_of.epoch.is_known and opened != ours)\n",
        "    return False\n",
        UNIT + "test_fences.py",
    ),
    Mutant(
        "a change whose key was refused is answered",
        "registry/service.py",
        "        if not written:\n",
        "        if False:\n",
        "tests/scenarios",
    ),
    Mutant(
        "what was read in one epoch is written in another",
        "projections/reconciler.py",
        "mended += await self._keys.repair(differing, as_of)",
        "mended += await self._keys.repair(differing, self._directory.as_of)",
        KEYS,
    ),
    Mutant(
        "two ids that differ in case alone are both registered when two replicas are as fast",
        "registry/append.lua",
        "if twin and twin ~= tenant then",
        "if false then",
        CONTRACT,
    ),
    Mutant(
        "a rotation puts back the data key of a tenant that was removed meanwhile",
        "registry/rewrap.lua",
        "local same = redis.call('HGET', KEYS[1], ARGV[at]) == ARGV[at + 1]",
        "local same = true",
        ROTATION,
    ),
    Mutant(
        "what is said again undoes a rotation",
        "registry/append.lua",
        "if not held or held ~= id then",
        "if true then",
        ROTATION,
    ),
    Mutant(
        "a replica goes on holding data keys under a master key that was given up",
        "projections/rotation.py",
        "if last is not None and last != seen:",
        "if False:",
        ROTATION,
    ),
    Mutant(
        "the driver keeps the password of an open connection",
        "server/wire.py",
        '_give(self.meter.driver, "")',
        "pass",
        "tests/security/test_clear_passwords.py",
    ),
    Mutant(
        "a failed login is kept with the frames that hold its password",
        "server/breaker.py",
        "self._error = error.again()",
        "self._error = error",
        "tests/security/test_clear_passwords.py",
    ),
    Mutant(
        "a link leads out of the folder of secrets",
        "server/secret_files.py",
        "if path.is_relative_to(folder) else None",
        "if True else None",
        UNIT + "test_secret_files.py",
    ),
    Mutant(
        "whoever is quicker takes all clients",
        "server/board.py",
        "return worker in able and self._clients(worker) <= fewest + fewest // _NEARLY",
        "return worker in able",
        UNIT + "test_workers.py",
    ),
    Mutant(
        "half a line of another process is gone on with",
        "server/audit_file.py",
        "if _is_torn(file):",
        "if False:",
        "tests/integration/test_audit_file.py",
    ),
)
