"""What is said, and to whom, when something is wrong: Prefect automations, by name.

`python -m deploy.automations` makes them, and may be run again: one that is as it should be is left alone, since a
change starts its clocks anew. INTERPDISC_NOTIFY names a notification block (`slack-webhook/operators`, say), which
gets the messages. Without it they only appear in the Prefect UI: on the page of automations, and in the event feed.
"""

import os
import sys
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.automations import AutomationCore
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ActionTypes, ChangeFlowRunState, DoNothing, SendNotification
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from interpdisc_core.errors import InterpdiscError, PlanError

OURS: dict[str, str | list[str]] = {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.interpdisc"}
"""What runs of the deployments are known by."""
ARCHIVES: dict[str, str | list[str]] = {"prefect.resource.id": "interpdisc.archive.*"}
"""What the daily flow's own events are about."""
SILENCE = timedelta(days=2)
"""How long a feed may bring nothing before someone should look."""
STILLNESS = timedelta(minutes=15)
"""How long a run may give no sign of life; five of the heartbeats that Prefect's flows send by themselves."""

GONE = "its process gives no sign of life."

_ENDS = ("Completed", "Failed", "Crashed", "Cancelled", "TimedOut")


def wanted(
    notify: UUID | None = None, silence: timedelta = SILENCE, stillness: timedelta = STILLNESS
) -> list[AutomationCore]:
    """The automations. notify: the notification block that gets their messages; None for nobody."""

    def told(subject: str, body: str) -> list[ActionTypes]:
        if notify is None:
            return [DoNothing()]
        return [SendNotification(block_document_id=notify, subject=f"interpdisc: {subject}", body=body)]

    run = "{{ flow.name }} · {{ flow_run.name }}: {{ flow_run.state.message }} {{ flow_run|ui_url }}"
    return [
        AutomationCore(
            name="interpdisc: a run failed",
            description="A run of any deployment failed or crashed, retries included.",
            trigger=EventTrigger(
                expect={f"prefect.flow-run.{end}" for end in ("Failed", "Crashed", "TimedOut")},
                match={"prefect.resource.id": "prefect.flow-run.*"}, match_related=OURS, posture=Posture.Reactive,
            ),
            actions=told("a run failed", run),
        ),
        AutomationCore(
            name="interpdisc: a run is gone",
            description=(
                "A run's process gives no sign of life: its machine died, or it was killed. The run is set to Crashed, "
                "so that the next one may start; that goes on where this one stopped."
            ),
            trigger=EventTrigger(
                after={"prefect.flow-run.heartbeat"},
                expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{end}" for end in _ENDS)},
                match={"prefect.resource.id": "prefect.flow-run.*"}, match_related=OURS,
                for_each={"prefect.resource.id"}, posture=Posture.Proactive, within=stillness,
            ),
            actions=[ChangeFlowRunState(name="Crashed", state=StateType.CRASHED, message=GONE, force=False)],
        ),
        AutomationCore(
            name="interpdisc: the feed is silent",
            description=f"No image came for {silence}. A conjunction does that too; so does a feed that changed.",
            trigger=EventTrigger(
                expect={"interpdisc.feed.received"}, match=ARCHIVES, posture=Posture.Proactive, within=silence,
            ),
            actions=told("the feed is silent", f"No image came for {silence}."),
        ),
        AutomationCore(
            name="interpdisc: coverage is low",
            description="Less than 99 % of a day's images could be used.",
            trigger=EventTrigger(expect={"interpdisc.coverage.low"}, match=ARCHIVES, posture=Posture.Reactive),
            actions=told("coverage is low", "{{ event.payload }}"),
        ),
        AutomationCore(
            name="interpdisc: a spike of novelty",
            description="Many more images of a day are new than the days before made likely.",
            trigger=EventTrigger(expect={"interpdisc.novelty.spike"}, match=ARCHIVES, posture=Posture.Reactive),
            actions=told("a spike of novelty", "{{ event.payload }}"),
        ),
    ]  # fmt: skip


def block(client: SyncPrefectClient, name: str) -> UUID | None:
    """The id of the notification block TYPE/NAME; None for an empty name. Raises PlanError where there is none."""
    if not name:
        return None
    kind, separator, called = name.partition("/")
    if not (kind and separator and called):
        raise PlanError(f"INTERPDISC_NOTIFY must be TYPE/NAME, such as slack-webhook/operators, not {name!r}.")
    try:
        return client.read_block_document_by_name(called, kind).id
    except ObjectNotFound:
        raise PlanError(
            f"INTERPDISC_NOTIFY: the Prefect server has no block {name!r}; make it on the page of blocks, or unset it."
        ) from None


def apply(wishes: list[AutomationCore], client: SyncPrefectClient) -> dict[str, str]:
    """Make the server's automations those: what was done to each, `made`, `changed` or `left`, by its name."""
    done = {}
    for wish in wishes:
        there = client.read_automations_by_name(wish.name)
        if not there:
            client.create_automation(wish)
            done[wish.name] = "made"
        elif _meaning(there[0]) == _meaning(wish):
            done[wish.name] = "left"
        else:
            client.update_automation(there[0].id, wish)
            done[wish.name] = "changed"
    return done


def _meaning(automation: Any) -> Any:
    told = automation.model_dump(mode="json", include={"description", "trigger", "actions"})
    for name in ("after", "expect", "for_each"):
        told["trigger"][name] = sorted(told["trigger"].get(name) or [])
    told["trigger"].pop("id", None)
    return told


def main() -> None:
    """Apply them to the server of PREFECT_API_URL and say what was done."""
    try:
        with get_client(sync_client=True) as client:
            done = apply(wanted(block(client, os.environ.get("INTERPDISC_NOTIFY", ""))), client)
    except InterpdiscError as error:
        sys.exit(str(error))
    for name, what in done.items():
        print(f"{what:>8}  {name}")


if __name__ == "__main__":
    main()
