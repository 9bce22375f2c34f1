"""Deliberate defects of the changes of role."""

from __future__ import annotations

from tests.sim.defects.defect import Defect

_S = "blkcolo_secondary."
_P = "blkcolo_primary."
_C = "blkcolo_coordinator."
_N = "blkcolo_node."

OF_ROLES = (
    # What differs after a failover.
    Defect(
        "marks of the other side ignored after a change of roles",
        _P + "core.resync_plan",
        "return ResyncPlan.UNION if same else ResyncPlan.FULL",
        "return ResyncPlan.DIRTY if same else ResyncPlan.FULL",
    ),
    Defect(
        "what a failover undoes not marked",
        _S + "core.survivor",
        "buffer.blocks_above(base), durable",
        "buffer.blocks_above(1 << 40), durable",
    ),
    Defect(
        "writes behind a failover not marked",
        _S + "core.replica",
        "        return self.intent.mark(BEFORE_ALL_EPOCHS, volume, offset, length)\n",
        "        return False\n",
    ),
    # What a demotion keeps.
    Defect(
        "discarded contents not kept",
        _S + "core.survivor",
        "        is_replica=True,\n        discarded=True,\n",
        "        is_replica=True,\n",
    ),
    Defect(
        "base given up before a demotion is recorded",
        _S + "core.survivor",
        "        buffer.remove_stale()\n",
        "        buffer.save_all()\n",
    ),
    Defect(
        "discarded contents kept behind a commit",
        _S + "core.checkpoints",
        "            is_replica=True,\n            discarded=False,\n",
        "            is_replica=True,\n",
    ),
    Defect(
        "refused record of the journal counts (host)",
        _S + "record.group_journal",
        "                self.state = before  # what comes next is written over it\n",
        "",
    ),
    # Roles.
    Defect(
        "demotion answered before its role is saved",
        _N + "role_change",
        "    role_file.save(folder, replica.group, Role.SECONDARY)\n",
        "",
    ),
    Defect(
        "promotion answered before its role is saved",
        _N + "role_change",
        "    role_file.save(folder, replica.group, Role.PRIMARY)\n",
        "",
    ),
    Defect(
        "role saved before the contents are kept",
        _N + "role_change",
        "    replica.demote(generation, epoch)\n    role_file",
        "    role_file.save(folder, replica.group, Role.SECONDARY)\n"
        "    replica.demote(generation, epoch)\n    role_file",
    ),
    Defect(
        "promoted without its generation",
        _N + "role_change",
        "    durable_state.save(folder, replica.group, state)\n",
        "",
    ),
    Defect(
        "promoted without its epoch",
        _N + "role_change",
        "epoch=replica.reception.newest_epoch)",
        "epoch=0)",
    ),
    Defect(
        "reprotect without a new generation",
        _C + "runs.reprotect_run",
        "Step.DEMOTE if self.ordered else Step.RAISE_GENERATION",
        "Step.DEMOTE",
    ),
    Defect(
        "reprotect that goes on is begun anew",
        _C + "runs.reprotect_run",
        "if demoted and self.ordered:",
        "if False:",
    ),
    # The old primary, and a switchover's.
    Defect(
        "old primary not fenced when it learns that it is stale",
        _P + "core.forwarder",
        "        if not isinstance(error, StaleGeneration):\n",
        "        if True:\n",
    ),
    Defect(
        "switchover goes on where nobody knows of the fence",
        _C + "runs.switchover_run",
        "            pass  # it is asked again\n",
        "            run.fenced()\n",
    ),
    Defect(
        "failover in a switchover gives up a secondary that may have heard of it",
        _C + "runs.failover_run",
        "        self.ordered = self.ordered or self.primary_fenced\n",
        "        pass\n",
    ),
    Defect(
        "failover that another stop has overtaken waits for its checkpoint",
        _C + "runs.failover_run",
        "            self.epoch = None\n",
        "            pass\n",
    ),
)
