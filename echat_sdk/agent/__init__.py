"""The agent: hears, recalls, answers while thinking, and remembers."""

from echat_sdk.agent.agent import Agent
from echat_sdk.agent.exchange import Answer
from echat_sdk.agent.rights import Manner

__all__ = ["Agent", "Answer", "Manner"]
