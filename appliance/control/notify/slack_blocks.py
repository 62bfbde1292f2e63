"""A notice as Slack shows it: Block Kit (https://docs.slack.dev/reference/block-kit/blocks).

Used by `slack`. Pure. Rules: names and reasons that somebody chose are `plain_text`, which has no
markup; the statement is the one `mrkdwn` text, escaped as Slack wants it (&, <, >) and unable to
end its code block; every text stays within Slack's limits.
"""

from typing import Any

from appliance.approval.request import State
from appliance.control.notify.notice import ALARMS, Event, Notice
from appliance.control.notify.words import cut, facts, headline, outcome

SECTION_CHARS_MAX = 3_000
FIELD_CHARS_MAX = 2_000
FIELDS_MAX = 10
FALLBACK_CHARS_MAX = 3_000
FENCE = "```"
CUT = "…"
APPROVE, DENY, OPEN = "sallyport_approve", "sallyport_deny", "sallyport_open"
MODAL, REASON_BLOCK, REASON = "sallyport_denial", "reason", "reason"
REASON_CHARS_MAX = 500

Block = dict[str, Any]
ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "`": "\u02cb"}


def message(notice: Notice) -> dict[str, Any]:
    """`text` (for notifications and screen readers) and `blocks`."""
    blocks: list[Block] = [{"type": "header", "text": plain(headline(notice), 150)}]
    blocks.append({"type": "section", "text": plain(outcome(notice), SECTION_CHARS_MAX)})
    if notice.request is not None and notice.request.statement:
        blocks.append({"type": "section", "text": mrkdwn(code_block(notice.request.statement))})
    fields = [plain(f"{label}\n{value}", FIELD_CHARS_MAX) for label, value in facts(notice)]
    blocks += [
        {"type": "section", "fields": fields[start : start + FIELDS_MAX]}
        for start in range(0, len(fields), FIELDS_MAX)
    ]
    blocks.append({"type": "actions", "elements": buttons(notice)})
    return {"text": fallback(notice), "blocks": blocks}


def fallback(notice: Notice) -> str:
    """What a notification shows; for a policy that was taken or put back, the channel's."""
    call = "<!channel> " if notice.policy is not None and notice.event in ALARMS else ""
    return call + escaped(f"{headline(notice)}\n{outcome(notice)}", FALLBACK_CHARS_MAX)


def loud(notice: Notice) -> dict[str, Any]:
    """A reply beneath the message that its channel hears of."""
    call = "<!channel> " if notice.event is Event.BREAK_GLASS else ""
    return {"text": call + fallback(notice), "reply_broadcast": True}


def buttons(notice: Notice) -> list[Block]:
    link = _button(OPEN, "Open", url=notice.url)
    if notice.request is None or notice.state != State.PENDING.value:
        return [link]
    sure = {
        "title": plain("Approve?", 100),
        "text": plain("The statement runs as it is shown.", 300),
        "confirm": plain("Approve", 30),
        "deny": plain("Cancel", 30),
    }
    return [
        _button(APPROVE, "Approve", value=notice.subject, style="primary", confirm=sure),
        _button(DENY, "Deny", value=notice.subject, style="danger"),
        link,
    ]


def denial_modal(request: str) -> Block:
    """Asks for the reason that a denial needs."""
    return {
        "type": "modal",
        "callback_id": MODAL,
        "private_metadata": request,
        "title": plain("Deny request", 24),
        "submit": plain("Deny", 24),
        "close": plain("Cancel", 24),
        "blocks": [
            {
                "type": "input",
                "block_id": REASON_BLOCK,
                "label": plain("Reason, for whoever asked", 2_000),
                "element": {
                    "type": "plain_text_input",
                    "action_id": REASON,
                    "multiline": True,
                    "min_length": 1,
                    "max_length": REASON_CHARS_MAX,
                },
            }
        ],
    }


def code_block(text: str) -> str:
    return f"{FENCE}{escaped(text, SECTION_CHARS_MAX - 2 * len(FENCE))}{FENCE}"


def escaped(text: str, chars_max: int) -> str:
    """Escaped, then at most so long, never cut inside an escape."""
    pieces = [ESCAPES.get(c, c) for c in text[: chars_max + 1]]
    if len(text) <= chars_max and sum(map(len, pieces)) <= chars_max:
        return "".join(pieces)
    kept, left = [], chars_max - len(CUT)
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            break
        kept.append(piece)
    return "".join(kept) + CUT


def plain(text: str, chars_max: int) -> Block:
    return {"type": "plain_text", "text": cut(text, chars_max), "emoji": False}


def mrkdwn(text: str) -> Block:
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _button(action: str, label: str, **more: object) -> Block:
    return {"type": "button", "action_id": action, "text": plain(label, 75), **more}
