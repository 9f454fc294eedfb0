"""What kinds of processes there are. The type is said with a task; it tells people, and nothing is forbidden by it."""

from __future__ import annotations

from enum import Enum


class ProcessType(Enum):
    AI_INFERENCE = "ai_inference"
    DATA_PROCESSING = "data_processing"
    BLOCKCHAIN_VALIDATOR = "blockchain_validator"
    NETWORK_NODE = "network_node"
    SYSTEM = "system"
    USER = "user"

    @property
    def icon(self) -> str:
        """Two columns wide in every terminal."""
        return _ICONS[self]


_ICONS = {
    ProcessType.AI_INFERENCE: "🧠",
    ProcessType.DATA_PROCESSING: "📊",
    ProcessType.BLOCKCHAIN_VALIDATOR: "🔗",
    ProcessType.NETWORK_NODE: "🌐",
    ProcessType.SYSTEM: "🔧",
    ProcessType.USER: "👤",
}
