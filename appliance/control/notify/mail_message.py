"""A notice as an e-mail: who gets it, its headers, its text and HTML.

Used by `mail`. Pure. Rules: every header is made of checked addresses, ids and words on one line;
messages about one request form a thread, under ids that are the same at every attempt; the HTML
loads nothing and holds every value escaped.
"""

import datetime
import hashlib
from collections.abc import Mapping
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from html import escape

from appliance.control.notify.notice import ALARMS, Event, Notice
from appliance.control.notify.words import VERBS, cut, facts, headline, outcome, topic

ANY = "*"
SUBJECT_CHARS_MAX = 180
RECIPIENTS_MAX = 100


def recipients(
    notice: Notice, addresses: Mapping[str, tuple[str, ...]], approvers: tuple[str, ...]
) -> list[str]:
    """Of the groups that have to decide; of all groups when it is an alarm."""
    groups: set[str] = {ANY}
    request = notice.request
    if notice.event in ALARMS:
        groups |= set(addresses)
    elif request is None or not request.needs or any(not need.groups for need in request.needs):
        groups |= set(approvers)
    if request is not None:
        groups |= {group for need in request.needs for group in need.groups}
        if request.escalated:
            groups |= set(request.escalate_groups)
    found = [one for group in addresses if group in groups for one in addresses[group]]
    return list(dict.fromkeys(found))[:RECIPIENTS_MAX]


def composed(notice: Notice, sender: str, to: list[str], now: float) -> EmailMessage:
    """`sender` and `to`: plain addresses. `now`: for the Date."""
    domain = sender.rpartition("@")[2]
    message = EmailMessage(policy=SMTP)
    message["From"] = f"Sallyport <{sender}>"
    message["To"] = ", ".join(to)
    message["Subject"] = cut(one_line(headline_in_thread(notice)), SUBJECT_CHARS_MAX)
    message["Date"] = format_datetime(datetime.datetime.fromtimestamp(now, datetime.UTC))
    message["Message-ID"] = message_id(notice.id, domain)
    root = message_id(f"{notice.subject}.thread", domain)
    message["In-Reply-To"] = root
    message["References"] = root
    message["List-Id"] = f"Sallyport approvals <approvals.sallyport.{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    if notice.event in ALARMS:
        message["Importance"] = "high"
        message["X-Priority"] = "1"
    message.set_content(text(notice))
    message.add_alternative(html(notice), subtype="html")
    return message


def headline_in_thread(notice: Notice) -> str:
    """The first message has the topic alone behind its verb; updates answer it."""
    if notice.event is Event.BREAK_GLASS:
        return f"BREAK-GLASS: {topic(notice)}"
    if notice.event in (Event.MADE, Event.GRANT_PROPOSED) or notice.policy is not None:
        return headline(notice)
    return f"Re: {topic(notice)}: {VERBS[notice.event].lower()}"


def message_id(local: str, domain: str) -> str:
    """The same for the same notice. Ids that are no plain atom are hashed."""
    if not local.replace(".", "").replace("_", "").replace("-", "").isalnum() or len(local) > 100:
        local = hashlib.sha256(local.encode()).hexdigest()
    return f"<{local}@{domain}>"


def one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def text(notice: Notice) -> str:
    lines = [outcome(notice), ""]
    lines += [f"{label}: {value}" for label, value in facts(notice)]
    if notice.request is not None and notice.request.statement:
        lines += ["", *(f"    {line}" for line in notice.request.statement.splitlines())]
    lines += ["", f"See and decide: {notice.url}", ""]
    return "\n".join(lines)


def html(notice: Notice) -> str:
    rows = "".join(
        f"<tr><th align='left' valign='top'>{escape(label)}</th><td>{escape(value)}</td></tr>"
        for label, value in facts(notice)
    )
    statement = ""
    if notice.request is not None and notice.request.statement:
        statement = f"<pre>{escape(notice.request.statement)}</pre>"
    return (
        "<!DOCTYPE html><html><body>"
        f"<h2>{escape(headline(notice))}</h2><p>{escape(outcome(notice))}</p>{statement}"
        f"<table cellpadding='4'>{rows}</table>"
        f"<p><a href='{escape(notice.url)}'>See and decide</a></p></body></html>\n"
    )
