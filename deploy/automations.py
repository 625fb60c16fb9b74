"""Alerts: Prefect automations that notify people when something is wrong.

`python -m deploy.automations` creates them, and may be run again: one that is up to date is not touched, since a change
restarts its clock. INTERPDISC_NOTIFY names a notification block, such as `slack-webhook/operators`, that gets the
messages. Without it they appear only in the Prefect UI: on the page of automations, and in the event feed.
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

DEPLOYMENT_RUNS: dict[str, str | list[str]] = {
    "prefect.resource.role": "tag",
    "prefect.resource.id": "prefect.tag.interpdisc",
}
"""Identifies the runs of deployments."""
ARCHIVE_EVENTS: dict[str, str | list[str]] = {"prefect.resource.id": "interpdisc.archive.*"}
"""Identifies the events of the daily flow."""
MAX_FEED_SILENCE = timedelta(days=2)
"""Time without new images until someone should check the feed."""
HEARTBEAT_TIMEOUT = timedelta(minutes=15)
"""Time without a heartbeat until a run counts as dead: five of the heartbeats that Prefect's flows send."""

CRASH_MESSAGE = "its process sends no heartbeats."

_TERMINAL_STATES = ("Completed", "Failed", "Crashed", "Cancelled", "TimedOut")


def build_automations(
    notification_block: UUID | None = None,
    max_feed_silence: timedelta = MAX_FEED_SILENCE,
    heartbeat_timeout: timedelta = HEARTBEAT_TIMEOUT,
) -> list[AutomationCore]:
    """The automations.

    Args:
        notification_block: Id of the notification block that gets their messages; None: nobody gets them.
        max_feed_silence: Time without new images until the alert.
        heartbeat_timeout: Time without a heartbeat until a run is set to Crashed.
    """

    def build_actions(subject: str, body: str) -> list[ActionTypes]:
        if notification_block is None:
            return [DoNothing()]
        return [SendNotification(block_document_id=notification_block, subject=f"interpdisc: {subject}", body=body)]

    run_message = "{{ flow.name }} · {{ flow_run.name }}: {{ flow_run.state.message }} {{ flow_run|ui_url }}"
    return [
        AutomationCore(
            name="interpdisc: a run failed",
            description="A run of any deployment failed or crashed, retries included.",
            trigger=EventTrigger(
                expect={f"prefect.flow-run.{state}" for state in ("Failed", "Crashed", "TimedOut")},
                match={"prefect.resource.id": "prefect.flow-run.*"},
                match_related=DEPLOYMENT_RUNS,
                posture=Posture.Reactive,
            ),
            actions=build_actions("a run failed", run_message),
        ),
        AutomationCore(
            name="interpdisc: a run stopped responding",
            description=(
                "A run's process sends no heartbeats: its machine died, or it was killed. The run is set to Crashed, "
                "so that the next one may start; it resumes where this one stopped."
            ),
            trigger=EventTrigger(
                after={"prefect.flow-run.heartbeat"},
                expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{state}" for state in _TERMINAL_STATES)},
                match={"prefect.resource.id": "prefect.flow-run.*"},
                match_related=DEPLOYMENT_RUNS,
                for_each={"prefect.resource.id"},
                posture=Posture.Proactive,
                within=heartbeat_timeout,
            ),
            actions=[ChangeFlowRunState(name="Crashed", state=StateType.CRASHED, message=CRASH_MESSAGE, force=False)],
        ),
        AutomationCore(
            name="interpdisc: the feed is silent",
            description=f"No image came for {max_feed_silence}: a fault, a feed that changed, or a solar conjunction.",
            trigger=EventTrigger(
                expect={"interpdisc.feed.received"},
                match=ARCHIVE_EVENTS,
                posture=Posture.Proactive,
                within=max_feed_silence,
            ),
            actions=build_actions("the feed is silent", f"No image came for {max_feed_silence}."),
        ),
        AutomationCore(
            name="interpdisc: coverage is low",
            description="Less than 99 % of a day's images could be used.",
            trigger=EventTrigger(expect={"interpdisc.coverage.low"}, match=ARCHIVE_EVENTS, posture=Posture.Reactive),
            actions=build_actions("coverage is low", "{{ event.payload }}"),
        ),
        AutomationCore(
            name="interpdisc: a spike of novelty",
            description="Many more images of a day are new than the days before suggest.",
            trigger=EventTrigger(expect={"interpdisc.novelty.spike"}, match=ARCHIVE_EVENTS, posture=Posture.Reactive),
            actions=build_actions("a spike of novelty", "{{ event.payload }}"),
        ),
    ]


def find_notification_block(client: SyncPrefectClient, name: str) -> UUID | None:
    """The id of the notification block TYPE/NAME; None for an empty name. Raises PlanError if it does not exist."""
    if not name:
        return None
    block_type, separator, block_name = name.partition("/")
    if not (block_type and separator and block_name):
        raise PlanError(f"INTERPDISC_NOTIFY must be TYPE/NAME, such as slack-webhook/operators, not {name!r}.")
    try:
        return client.read_block_document_by_name(block_name, block_type).id
    except ObjectNotFound:
        raise PlanError(
            f"INTERPDISC_NOTIFY: the Prefect server has no block {name!r}; create it on the page of blocks, or unset the variable."
        ) from None


def apply_automations(automations: list[AutomationCore], client: SyncPrefectClient) -> dict[str, str]:
    """Create or update the server's automations.

    Returns:
        What was done, `created`, `updated` or `unchanged`, by the name of the automation.
    """
    changes = {}
    for automation in automations:
        existing = client.read_automations_by_name(automation.name)
        if not existing:
            client.create_automation(automation)
            changes[automation.name] = "created"
        elif _comparable_fields(existing[0]) == _comparable_fields(automation):
            changes[automation.name] = "unchanged"
        else:
            client.update_automation(existing[0].id, automation)
            changes[automation.name] = "updated"
    return changes


def _comparable_fields(automation: Any) -> Any:
    payload = automation.model_dump(mode="json", include={"description", "trigger", "actions"})
    for name in ("after", "expect", "for_each"):
        payload["trigger"][name] = sorted(payload["trigger"].get(name) or [])
    payload["trigger"].pop("id", None)
    return payload


def main() -> None:
    """Apply them to the server of PREFECT_API_URL and print what was done."""
    try:
        with get_client(sync_client=True) as client:
            changes = apply_automations(
                build_automations(find_notification_block(client, os.environ.get("INTERPDISC_NOTIFY", ""))), client
            )
    except InterpdiscError as error:
        sys.exit(str(error))
    for name, change in changes.items():
        print(f"{change:>9}  {name}")


if __name__ == "__main__":
    main()
