"""A decision that is not allow -> the refusal that the client is told. Called by `session`.

Texts come from the policy's own messages, which are written by its author for the reader.
"""

from appliance.model.decision import Decision, Effect, Reason
from appliance.model.refusal import Refusal, RefusalCode
from appliance.policy.evaluate import CONDITION_FAILED, DEFAULT_RULE

_ASK = "Ask your administrator, and quote the rule."
_DEFAULT_REMEDY = "Ask for a rule that allows it; `sallyport policy explain` shows what is missing."


def refusal(decision: Decision, reference: str = "") -> Refusal | None:
    """What to tell the client; None when the decision is allow. `reference`: id to quote."""
    if decision.effect is Effect.ALLOW:
        return None
    reason = _decisive(decision)
    if decision.effect is Effect.HOLD:
        return Refusal(
            code=RefusalCode.HOLD_UNAVAILABLE,
            message=reason.message or "this needs an approval",
            remedy="Approvals are not configured here. " + _ASK,
            rule=reason.rule,
            reference=reference,
        )
    return Refusal(
        code=RefusalCode.DENIED,
        message=_message(reason),
        remedy=_DEFAULT_REMEDY if reason.rule == DEFAULT_RULE else _ASK,
        rule=reason.rule,
        reference=reference,
    )


def _decisive(decision: Decision) -> Reason:
    for reason in decision.reasons:
        if not reason.observed and reason.effect == decision.effect.value:
            return reason
    return Reason(DEFAULT_RULE, decision.effect.value)


def _message(reason: Reason) -> str:
    if reason.message == CONDITION_FAILED:
        return "the condition of a policy rule could not be evaluated"
    return reason.message or "the policy does not allow this"
