"""Do the tests see anything? Each planted bug must make a test fail.

A bug is a change of one place in a copy of the package; the tests that should notice run against the copy,
with few random DAGs and a fixed seed. A change whose place is not found exactly once fails as well, so that
this table follows the code.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

import syncpoint

PACKAGE = Path(syncpoint.__file__).parent
ROOT = Path(__file__).parent.parent.parent
ORDER = "tests/core/test_decide_and_order.py"
VERIFY = "tests/core/test_verify.py"
PROOF = "tests/core/test_proof.py"
PROOF_EPOCHS = "tests/core/test_proof_epochs.py"
OBSERVERS = "tests/core/test_observers.py"
FAR_BEHIND = "tests/core/test_far_behind.py"
EPOCH = "tests/core/test_epoch.py"
CHECKPOINT = "tests/core/test_checkpoint.py"
SYNC_POINTS = "tests/core/test_sync_points.py"
EPOCHS = "tests/core/test_epochs.py"
VARIANTS = "tests/core/test_variants.py"
FIXTURES = f"{ORDER}::test_a_fixture_has_its_stored_outcome"
STEPS = f"{ORDER}::test_a_fixture_event_by_event_has_its_stored_outcome"
ARRIVAL = f"{ORDER}::test_decisions_never_change_and_arrival_does_not_matter"
STREAM = f"{ORDER}::test_order_hash_index_and_whitened_signature"
SEED = "1"
PYTHON_CORE = ("-m", "not native")  # what is changed shows there by itself, not as a difference from the other core


def edge(name: str) -> str:
    """The test of one small DAG on which a rule makes all the difference."""
    return f"{FIXTURES}[edges/{name}]"


class Bug(NamedTuple):
    """One wrong place."""

    name: str
    file: str  # of syncpoint/core
    old: str
    new: str
    tests: str
    dags: int = 20


BUGS = [
    # Q: thresholds and what is counted.
    Bug("Q1 fast quorum minus one", "committee.py", "self.fast = n - self.p", "self.fast = n - self.p - 1", FIXTURES),
    Bug("Q1 qc minus one", "committee.py", "(n + self.f + 2) // 2", "(n + self.f) // 2", FIXTURES),
    Bug(
        "Q1 exposed threshold plus one",
        "committee.py",
        "self.f + self.p",
        "self.f + self.p + 1",
        edge("q1-exposed-threshold-plus-one"),
    ),
    Bug(
        "Q1 plain threshold plus one",
        "committee.py",
        "n - 2 * self.f - self.p",
        "n - 2 * self.f - self.p + 1",
        FIXTURES,
    ),
    Bug(
        "Q3 votes counted by event",
        "decide.py",
        "tally.node.voting.bit_count() >= committee.fast",
        "tally.node.voters.bit_count() >= committee.fast",
        edge("q3-votes-counted-by-event"),
    ),
    Bug(
        "Q3 certificates counted by event",
        "decide.py",
        "tally.certifying.bit_count()",
        "tally.certificates.bit_count()",
        edge("q3-certificates-counted-by-event"),
    ),
    Bug(
        "Q3 evidence counted by event",
        "decide.py",
        "creators_of(nodes_of(row, tally.evidence & past))",
        "tally.evidence & past",
        edge("q3-evidence-counted-by-event"),
    ),
    Bug(
        "Q4 observers count in n",
        "committee.py",
        "orders = tuple(member for member in ordered if member.orders)",
        "orders = ordered",
        "tests/core/test_committee.py::test_observers_have_the_numbers_after_the_creators_and_count_nowhere",
    ),
    Bug(
        "Q4 observers make a quorum",
        "status.py",
        "sum(peer < replica.committee.n for peer in (*linked, replica.own))",
        "len((*linked, replica.own))",
        f"{OBSERVERS}::test_observers_do_not_make_a_quorum",
    ),
    Bug(
        "Q4 an observer makes a quorum with q - 1 members",
        "status.py",
        "sum(peer < replica.committee.n for peer in (*linked, replica.own))",
        "1 + sum(peer < replica.committee.n for peer in linked)",
        f"{OBSERVERS}::test_an_observer_has_a_quorum_where_q_members_are_linked",
    ),
    Bug(
        "Q4 observers confirm a journal",
        "exchange.py",
        "if peer < self._committee.n and not self._observes:",
        "if not self._observes:",
        f"{OBSERVERS}::test_what_observers_say_does_not_confirm_a_journal",
    ),
    Bug(
        "P1 a peer far behind makes an event for each round that it missed",
        "recover.py",
        "        if not self.keeps_up(base_round):\n",
        "        if not self.keeps_up(base_round + 1_000_000):\n",
        f"{FAR_BEHIND}::test_it_makes_the_sync_points_itself_that_it_missed",
    ),
    Bug(
        "P1 a peer that comes back leaves out the rounds in which it is needed",
        "recover.py",
        "max(self.resume_round, full)",
        "max(self.resume_round, full + self._gc_depth)",
        f"{FAR_BEHIND}::test_its_event_closes_the_gap_when_another_one_dies_meanwhile",
    ),
    Bug(
        "F4 the store is not asked for the round above the floor",
        "fetch.py",
        "return first if first <= self._dag.floor else None",
        "return first if first < self._dag.floor else None",
        f"{FAR_BEHIND}::test_where_the_answer_of_a_store_begins",
    ),
    Bug(
        "P6 a peer refers to what others will refuse",
        "late.py",
        "is_late = node.round <= self.line",
        "is_late = False",
        f"{FAR_BEHIND}::test_a_liar_that_shows_its_old_events_to_one_peer_first_stops_nobody",
    ),
    Bug(
        "P6 who refers to late events stays alone",
        "propose.py",
        "            left_out ^= 1 << creator\n",
        "",
        f"{FAR_BEHIND}::test_a_liar_that_shows_its_old_events_to_one_peer_first_stops_nobody",
    ),
    Bug(
        "P6 who left rounds out stays where nobody can build",
        "propose.py",
        "for round in range(base, least - 1, -1):",
        "for round in range(base, base - 1, -1):",
        f"{VARIANTS}::test_who_left_rounds_out_goes_back_where_nobody_can_build_on_the_last_one",
    ),
    Bug(
        "F3 a creator that is dead sends everybody to the disk",
        "fetch.py",
        "max(_lowest(frontier, ours, top), reached - gc_depth) + 1",
        "_lowest(frontier, ours, top) + 1",
        f"{FAR_BEHIND}::test_where_the_answer_of_a_store_begins",
    ),
    Bug(
        "F1 the store answers for nothing",
        "fetch.py",
        "self.spend(peer, Server.STORED_BYTES)",
        "pass",
        f"{FAR_BEHIND}::test_answers_of_the_store_are_paid_for",
    ),
    Bug(
        "R4 nobody is ever stranded",
        "fetch.py",
        "self._barren.add(peer)",
        "self._barren.discard(peer)",
        f"{FAR_BEHIND}::test_it_says_so_when_nobody_has_what_it_needs",
    ),
    Bug(
        "Q4 observers are asked in turn with members",
        "fetch.py",
        "turn = [peer for peer in order if peer < self._n]",
        "turn = order",
        f"{OBSERVERS}::test_members_are_asked_before_observers_and_of_those_one_in_a_turn",
    ),
    Bug(
        "Q4 observers are never asked",
        "fetch.py",
        "observers = [peer for peer in order if peer >= self._n]",
        "observers: list[int] = []",
        f"{OBSERVERS}::test_members_are_asked_before_observers_and_of_those_one_in_a_turn",
    ),
    Bug(
        "Q4 pulls from observers stand in the way of members",
        "fetch.py",
        "if other < self._n or not is_member",
        "if other >= 0",
        f"{OBSERVERS}::test_observers_that_promise_much_do_not_keep_us_from_pulling_from_members",
    ),
    Bug(
        "Q4 many observers are pulled from at once",
        "fetch.py",
        "len(rivals) >= (self._max_pulls if is_member else 1)",
        "is_member and len(rivals) >= self._max_pulls",
        f"{OBSERVERS}::test_observers_that_promise_much_do_not_keep_us_from_pulling_from_members",
    ),
    Bug(
        "Q4 all observers share one budget",
        "fetch.py",
        "        grown = (now",
        "        peer = min(peer, len(self._dag.frontier))\n        grown = (now",
        f"{OBSERVERS}::test_an_observer_is_served_within_its_own_budget",
    ),
    Bug(
        "Q4 an observer waits for what a proved liar made",
        "propose.py",
        "            self._heed(node)\n            return\n",
        "            return\n",
        f"{OBSERVERS}::test_an_observer_does_not_wait_for_what_a_proved_liar_made",
    ),
    # D: deciding.
    Bug(
        "D1 a late variant has nobody against it", "decide.py", "self.dag.row(node.round + 1).creators)", "0)", ARRIVAL
    ),
    Bug("D3 evidence ignores exposure", "decide.py", "if seen == 1:", "if True:", edge("d3-evidence-ignores-exposure")),
    Bug(
        "D7 fast commits counted as certified",
        "decide.py",
        "self.fast_commits += 1",
        "self.certified_commits += 1",
        f"{ORDER}::test_commits_are_counted_by_what_decided_them",
    ),
    Bug("D4 slot order without primary", "committee.py", "first = self.primary(round)", "first = 0", FIXTURES),
    Bug(
        "D6 skip before a quorum is here",
        "decide.py",
        "here >= committee.q and self",
        "self",
        edge("d6-skip-before-a-quorum-is-here"),
    ),
    Bug(
        "D8 skip without evidence condition",
        "decide.py",
        "slot.blind.bit_count() >= committee.qc and self",
        "self",
        FIXTURES,
    ),
    Bug(
        "D9 anchors from r+2",
        "decide.py",
        "range(round + 3, self.dag.top + 1)",
        "range(round + 2, self.dag.top + 1)",
        FIXTURES,
    ),
    Bug(
        "D9 undecided slots are passed over",
        "decide.py",
        "                if status is None:\n                    return None\n",
        "",
        FIXTURES,
    ),
    Bug(
        "D9 not looked at in time",
        "decide.py",
        "self._decide_below(changed - 3)",
        "self._decide_below(changed - 4)",
        STEPS,
    ),
    Bug(
        "D10 no evidence rung",
        "decide.py",
        "if self.two_step:\n            row = ",
        "if False:\n            row = ",
        edge("d10-no-evidence-rung"),
    ),
    Bug(
        "D10 certificates outside the anchor's history",
        "decide.py",
        "if tally.certificates & past:",
        "if tally.certificates:",
        edge("d10-certificates-outside-the-anchors-history"),
    ),
    Bug(
        "D10 histories without weak parents",
        "dag.py",
        "if parent.round >= round:",
        "if parent.round == level - 1 >= round:",
        edge("d10-histories-without-weak-parents"),
    ),
    # O: ordering.
    Bug(
        "O2 floor one too low",
        "order.py",
        "self._drop_below(round - self.gc_depth)",
        "self._drop_below(round - self.gc_depth - 1)",
        edge("o2-floor-one-too-low"),
    ),
    Bug(
        "O2 floor one too high",
        "order.py",
        "self._drop_below(round - self.gc_depth)",
        "self._drop_below(round - self.gc_depth + 1)",
        edge("o2-floor-one-too-high"),
    ),
    Bug("O4 ready one creator early", "order.py", "== q:", "== max(1, q - 1):", FIXTURES),
    Bug("O4 upper median", "values.py", "(len(ordered) - 1) // 2", "len(ordered) // 2", FIXTURES),
    Bug(
        "O5 weak parents count",
        "order.py",
        "for parent in node.strong_parents()]",
        "for parent in node.parents]",
        edge("o5-weak-parents-count"),
    ),
    Bug("O6 dropped", "order.py", "self._raise_to_parents(ready, stamps)", "pass", FIXTURES),
    Bug(
        "O7 ties by arrival",
        "order.py",
        'node.round, int.from_bytes(node.digest, "big") ^ salt)',
        "node.round)",
        FIXTURES,
    ),
    Bug("O7 no salt", "order.py", 'salt ^= int.from_bytes(node.digest, "big")', "salt ^= 0", FIXTURES),
    Bug("O7 variants delivered twice", "order.py", "if taken >> node.creator & 1:", "if False:", FIXTURES),
    Bug(
        "O8 not strictly increasing",
        "order.py",
        "max(self.consensus_at + 1, stamp)",
        "max(self.consensus_at, stamp)",
        FIXTURES,
    ),
    Bug("O9 hash without the time", "order.py", "index, digest, self.consensus_at)", "index, digest, 0)", STREAM, 10),
    Bug(
        "O10 signatures of the batch left out",
        "order.py",
        'signatures ^= int.from_bytes(node.event.signature, "big")',
        "signatures ^= 0",
        STREAM,
        10,
    ),
    # S: sync points.
    Bug(
        "S1 of several votes the last counts",
        "epoch.py",
        "if ballot is None or ballot.voted(creator):",
        "if ballot is None:",
        EPOCH,
    ),
    Bug(
        "S1 who proposes has to vote",
        "epoch.py",
        "            self._vote(creator, Vote(id, approves=True))  # who asks, agrees\n",
        "",
        EPOCH,
    ),
    Bug(
        "S1 votes of events that are too old are lost",
        "items.py",
        "return item.type in (ItemType.PROPOSE, ItemType.VOTE)",
        "return item.type == ItemType.PROPOSE",
        f"{SYNC_POINTS}::test_a_proposal_and_votes_in_events_that_are_too_old_are_said_again",
    ),
    Bug("S1 a repeated proposal opens again", "epoch.py", " or id in self._remembered:", ":", EPOCH),
    Bug(
        "S1 a decision is told as often as the proposal is repeated",
        "machine.py",
        "not isinstance(output, Opened | Closed) or self._is_told(output)",
        "True",
        f"{SYNC_POINTS}::test_what_is_said_once_more_is_decided_no_second_time",
    ),
    Bug(
        "S1 who gets a number opens what its last owner proposed",
        "epoch.py",
        "after._forget(fence.consensus_at)",
        "after._forget(2**63)",
        f"{EPOCHS}::test_who_gets_the_number_of_another_one_opens_nothing_of_it",
    ),
    Bug("S1 one proposal too many", "epoch.py", ">= MAX_PROPOSALS", "> MAX_PROPOSALS", EPOCH),
    Bug("S1 a deadline as far as one likes", "epoch.py", "> now + MAX_DEADLINE_NS", "< now", EPOCH),
    Bug("S2 q minus one", "epoch.py", "== self.committee.q:", "== max(1, self.committee.q - 1):", EPOCH),
    Bug("S2 f refusals refuse", "epoch.py", "== self.committee.f + 1:", "== max(1, self.committee.f):", EPOCH),
    Bug(
        "S2 in the order of the proposals",
        "epoch.py",
        "for ballot in adopted:",
        "for ballot in sorted(adopted, key=lambda ballot: list(self.open).index(ballot.id)):",
        EPOCH,
    ),
    Bug("S2 at its deadline it is late", "epoch.py", "if now > ballot", "if now >= ballot", EPOCH),
    Bug("S2 what has q expires", "epoch.py", "if ballot not in self._adopted:", "if ballot:", EPOCH),
    Bug(
        "S4 a sync point behind the end",
        "epoch.py",
        "            if self.is_ended:\n",
        "            if False:\n",
        EPOCH,
    ),
    Bug(
        "S4 events behind the end",
        "replica.py",
        "if self.epoch.is_closed:  # nothing is delivered",
        "if False:  # nothing is delivered",
        f"{SYNC_POINTS}::test_nothing_comes_after_the_end_and_rounds_rest",
    ),
    Bug(
        "S4 rounds go on for ever",
        "replica.py",
        "self.proposer.is_closing = self.epoch.is_closed",
        "self.proposer.is_closing = False",
        f"{SYNC_POINTS}::test_nothing_comes_after_the_end_and_rounds_rest",
    ),
    Bug(
        "S4 what lies in events of an epoch that is over is lost",
        "propose.py",
        "before.expire(",
        "before.prune((), ",
        EPOCHS,
    ),
    Bug(
        "S4 an epoch goes on behind its fence",
        "epoch.py",
        "self.is_ended or self.fence is not None",
        "self.is_ended",
        EPOCHS,
    ),
    Bug(
        "S4 votes do not go over a fence",
        "epoch.py",
        "proposer, ballot.proposal, *votes)",
        "proposer, ballot.proposal, 0, 0)",
        EPOCHS,
    ),
    Bug(
        "S4 the store does not help who lags by epochs",
        "ended.py",
        "outputs.append(SendStored",
        "repr(SendStored",
        EPOCHS,
    ),
    Bug(
        "V8 no other variant is tried beside the others",
        "propose.py",
        "chosen = with_others(chosen, left_out, self._dag)",
        "pass",
        VARIANTS,
    ),
    Bug(
        "S6 who is removed leaves at once",
        "replica.py",
        "return not stays and self._orders(self.own) and not self.exchange.is_over",
        "return False",
        f"{EPOCHS}::test_a_removed_peer_stays_until_it_is_needed_no_more",
    ),
    Bug(
        "S4 an epoch is told of before its beginning is durable",
        "machine.py",
        "replica.exchange.is_begun = False",
        "replica.exchange.is_begun = True",
        f"{EPOCHS}::test_nobody_says_that_it_is_in_an_epoch_before_its_beginning_is_durable",
    ),
    Bug(
        "S4 the number of whoever left goes to the next newcomer",
        "roster.py",
        "((self.last_number + turn) % MAX_PEERS for",
        "(turn - 1 for",
        f"{EPOCHS}::test_a_removed_peer_that_was_down_hears_of_it_though_others_have_joined_since",
    ),
    Bug(
        "S4 a change of settings forgets whose turn it is",
        "roster.py",
        "return Roster(network, self.seats, self.last_number)",
        "return Roster(network, self.seats, max(seat.number for seat in self.seats))",
        "tests/core/test_data_files.py::test_rosters",
    ),
    Bug(
        "F2 who lags behind an epoch takes no second variant",
        "replica.py",
        "            self.fetcher.admit(event, peer)",
        "            pass",
        f"{VARIANTS}::test_a_second_variant_of_an_epoch_that_is_over_is_taken_from_who_is_through",
    ),
    Bug(
        "F2 one that says it is in a later epoch is believed",
        "exchange.py",
        "self.beyond.bit_count() > self._committee.f",
        "self.beyond.bit_count() > 0",
        f"{VARIANTS}::test_a_second_variant_of_an_epoch_that_is_over_is_taken_from_who_is_through",
    ),
    Bug(
        "F3 two are asked the same at once",
        "fetch.py",
        "self._pulls[sender] = until, min(until, before + self._patience)",
        "pass",
        "tests/core/test_machine.py::test_nobody_else_is_pulled_from_while_one_brings_events",
    ),
    Bug(
        "F3 a liar that brings little is waited for",
        "fetch.py",
        "PATIENCE_PER_ROUND_NS // committee.n",
        "PATIENCE_PER_ROUND_NS // 4",
        "tests/core/test_machine.py::test_who_brings_fewer_rounds_than_a_network_makes_is_not_waited_for",
    ),
    Bug("S6 a peer that was removed goes on", "machine.py", "replica.halt(REMOVED)", "pass", EPOCHS),
    Bug(
        "S7 what does not apply any more goes over a fence",
        "epoch.py",
        "not after._applies(ballot.change):  # S7",
        "False:  # S7",
        f"{EPOCHS}::test_what_does_not_apply_any_more_ends_at_the_fence",
    ),
    Bug(
        "V1 keys of before an epoch count in it",
        "replica.py",
        "self.committee = committee\n",
        "self.committee = committee\n        committee.epoch_id = network_id\n",
        EPOCHS,
    ),
    Bug(
        "S5 beats while it idles",
        "epoch.py",
        "not self._beat_from and event.transaction_count:",
        "not self._beat_from:",
        EPOCH,
    ),
    Bug("S5 a beat at every closing", "epoch.py", ">= self._beat_from + self._epoch_ns", ">= self._beat_from", EPOCH),
    Bug("O9 the digest leaves out who approved", "epoch.py", "by, _bits(approvals))", "by, b'')", EPOCH),
    Bug("R1 a restart forgets the refusals", "epoch.py", "_number(refusals))", "0)", EPOCH),
    # C: checkpoints.
    Bug(
        "C1 votes make rounds",
        "values.py",
        "any(item.type != ItemType.CHECKPOINT_VOTE for item in self.items)",
        "bool(self.items)",
        f"{SYNC_POINTS}::test_an_idle_network_makes_no_rounds_for_the_sake_of_votes",
    ),
    Bug("C1 a checkpoint without anything new", "checkpoint.py", "orderer.index - 1 > newest", "True", CHECKPOINT),
    Bug(
        "C1 votes ahead of us are lost",
        "checkpoint.py",
        "votes.setdefault(",
        "if vote.index in self._ours: votes.setdefault(",
        CHECKPOINT,
    ),
    Bug(
        "C2 a certificate of bad signatures",
        "checkpoint.py",
        " and self.committee.verify(creator, message, vote.signature)",
        "",
        CHECKPOINT,
    ),
    Bug(
        "C2 the last vote counts",
        "checkpoint.py",
        "votes.setdefault((vote.index, vote.state_hash != NOT_ATTESTED), vote)",
        "votes[vote.index, vote.state_hash != NOT_ATTESTED] = vote",
        CHECKPOINT,
    ),
    Bug(
        "C2 votes of q - 1 end a session",
        "checkpoint.py",
        "found >= self.committee.q",
        "found >= max(1, self.committee.q - 1)",
        CHECKPOINT,
    ),
    Bug(
        "C4 f liars are an alarm",
        "checkpoint.py",
        "if len(others) > self.committee.f:",
        "if len(others) >= max(1, self.committee.f):",
        CHECKPOINT,
    ),
    Bug(
        "C4 a state of few is an alarm",
        "checkpoint.py",
        "states.count(theirs) >= self.committee.q",
        "states.count(theirs) > self.committee.f",
        CHECKPOINT,
    ),
    # V and E: validity and encoding.
    Bug(
        "V1 signature not looked at",
        "verify.py",
        "if not committee.verify(event.creator, signed, event.signature):",
        "if False:",
        f"{VERIFY}::test_signature",
    ),
    Bug(
        "V1 any simulated signature will do",
        "committee.py",
        "return signature == simulated_signature(public, message)",
        "return len(signature) == 64",
        "tests/core/test_data_files.py::test_simulated_signatures",
    ),
    Bug(
        "V2 quorum minus one",
        "verify.py",
        "strong < committee.q",
        "strong < committee.q - 1",
        f"{VERIFY}::test_no_quorum",
    ),
    Bug(
        "V3 two parents of one creator",
        "verify.py",
        "parent.creator <= last",
        "parent.creator < last",
        f"{VERIFY}::test_a_quorum_is_counted_in_creators",
    ),
    Bug(
        "V3 weak parents one round deeper",
        "verify.py",
        "if not max(1, event.round - gc_depth) <=",
        "if not max(1, event.round - gc_depth - 1) <=",
        f"{VERIFY}::test_parent_round",
    ),
    Bug(
        "V4 any self-parent will do",
        "verify.py",
        "if own is not None and own.round == event.round - 1:",
        "if own is not None:",
        f"{VERIFY}::test_self_parent",
    ),
    Bug(
        "V5 time may stand still",
        "verify.py",
        "event.created_at <= own.created_at",
        "event.created_at < own.created_at",
        f"{VERIFY}::test_time",
    ),
    Bug(
        "V6 payload not compared with its root",
        "wire.py",
        "if merkle_root(transactions) != payload_root:",
        "if False:",
        "tests/core/test_wire.py::test_transactions_divided_otherwise_are_refused",
    ),
    Bug("V8 no exclusion", "verify.py", "if liars and any(", "if False and any(", f"{VERIFY}::test_v8_prevents_it"),
    Bug(
        "V8 exclusion one round late",
        "verify.py",
        "dag.row(strong[0].round - 1)",
        "dag.row(strong[0].round)",
        f"{VERIFY}::test_exposed_author",
    ),
    Bug(
        "E4 bytes after an event",
        "wire.py",
        "if len(frame) != body + length:",
        "if len(frame) < body + length:",
        "tests/core/test_wire.py::test_a_byte_more_is_refused",
    ),
    Bug(
        "E5 two slots are a proof",
        "verify.py",
        "len(slots) != 1",
        "not slots",
        f"{VERIFY}::test_events_of_two_rounds_are_no_evidence",
    ),
    # C: what a proof needs.
    Bug(
        "C2 fewer than q sign a proof",
        "proof.py",
        "signers.bit_count() == signing.q",
        "signers.bit_count() <= signing.q",
        f"{PROOF}::test_only_q_creators_are_signers[python]",
    ),
    Bug(
        "C2 nobody checks who signed a proof",
        "proof.py",
        "_require(signing.verify(creator, message, signature), Flaw.SIGNATURE)",
        "_require(len(signature) == SIGNATURE_BYTES, Flaw.SIGNATURE)",
        f"{PROOF}::test_each_signer_has_signed[python]",
    ),
    Bug(
        "C2 nobody checks who signed a change",
        "transition.py",
        "if not committee.verify(creator, message, signature):",
        "if len(signature) != SIGNATURE_BYTES:",
        f"{PROOF_EPOCHS}::test_each_transition_is_signed_by_q_of_those_before_it[python]",
    ),
    Bug(
        "C2 fewer than q sign a change",
        "transition.py",
        "transition.signers.bit_count() != committee.q or",
        "transition.signers.bit_count() > committee.q or",
        f"{PROOF_EPOCHS}::test_each_transition_is_signed_by_q_of_those_before_it[python]",
    ),
    Bug(
        "C2 changes go back in the order",
        "proof.py",
        "or transition.index <= self._last:",
        "or transition.index < 0:",
        f"{PROOF_EPOCHS}::test_a_transition_that_goes_back_in_the_order_is_none[python]",
    ),
    Bug(
        "C2 a committee signs what was before its time",
        "proof.py",
        "return checkpoint >= self._last",
        "return checkpoint >= 0",
        f"{PROOF_EPOCHS}::test_a_committee_signs_nothing_from_before_its_time[python]",
    ),
    Bug(
        "C3 a place in another epoch",
        "proof.py",
        "edges[epoch] < index <= edges[epoch + 1]",
        "edges[0] < index <= edges[-1]",
        f"{PROOF_EPOCHS}::test_a_place_is_in_the_epoch_that_it_is_said_to_be_in[python]",
    ),
    Bug(
        "C3 another past than the one that made the committee",
        "proof.py",
        "_require(epochs.fences.get(at, reached) == reached, Flaw.CHAIN)",
        "_require(at > 0, Flaw.CHAIN)",
        f"{PROOF_EPOCHS}::test_the_order_goes_through_the_fences[python]",
    ),
    Bug(
        "C3 a proof of another place",
        "proof.py",
        "_require(reached == checkpoint_hash, Flaw.CHAIN)",
        "_require(reached != before, Flaw.CHAIN)",
        f"{PROOF}::test_what_is_proved_cannot_be_exchanged[python]",
    ),
    Bug(
        "C3 a proof of a transaction that is elsewhere",
        "proof.py",
        "_require(merkle_check(payload_root_of(header), transaction, turns, 1 << depth, path), Flaw.PAYLOAD)",
        "_require(turns < 1 << depth, Flaw.PAYLOAD)",
        f"{PROOF}::test_another_transaction_is_not_in_the_event[python]",
    ),
    Bug(
        "C3 a way that turns back",
        "proof.py",
        "turns |= (position & 1) << depth",
        "turns |= (position & 1) << (depth ^ 1)",
        f"{PROOF}::test_a_transaction_is_proved_with_its_place[python]",
    ),
    Bug(
        "C3 the approvals of a sync point are left out",
        "epoch.py",
        "_CONTENT.pack(kind, epoch_index, proposal, by, _bits(approvals))",
        "_CONTENT.pack(kind, epoch_index, proposal, by, _bits(0))",
        f"{PROOF}::test_what_is_proved_cannot_be_exchanged[python]",
    ),
]


def copy_of_package(folder: Path) -> Path:
    """A copy of the package, as what `import syncpoint` finds in the folder."""
    return Path(shutil.copytree(PACKAGE, folder / "syncpoint"))


def run(folder: Path, tests: list[str], which: Sequence[str], dags: int = 20) -> subprocess.CompletedProcess[str]:
    """Of these tests those that `which` selects, against the package in the folder."""
    environment = os.environ | {
        "PYTHONPATH": str(folder),
        "SYNCPOINT_SEED": SEED,
        "SYNCPOINT_DAGS": str(dags),
    }
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=line", *which, *tests]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False)


def test_the_copy_is_what_is_tested_and_passes(tmp_path: Path) -> None:
    copy = copy_of_package(tmp_path)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", "import syncpoint; print(syncpoint.__file__)"]
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()) == copy / "__init__.py"
    done = run(tmp_path, [VERIFY, FIXTURES], PYTHON_CORE)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(bug: Bug, tmp_path: Path) -> None:
    file = copy_of_package(tmp_path) / "core" / bug.file
    text = file.read_text()
    assert text.count(bug.old) == 1, f"{bug.file} has {text.count(bug.old)} places to plant the bug in"
    file.write_text(text.replace(bug.old, bug.new))
    done = run(tmp_path, [bug.tests], PYTHON_CORE, bug.dags)
    assert done.returncode == 1, f"nothing failed, or nothing ran:\n{done.stdout}{done.stderr}"
    assert " failed" in done.stdout
