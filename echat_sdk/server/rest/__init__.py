"""What OpenAI's clients ask for in one request: speech, transcription, a typed answer, models.

Every answer, and every refusal, has the form that those clients expect. What only we can tell (how
a voice sounded, what was thought) rides in an object named `echat` that they let pass. Whether a
key's scope covers an endpoint is looked at here; who is calling, before.
"""

from echat_sdk.server.rest.limits import RestLimits
from echat_sdk.server.rest.routes import routes

__all__ = ["RestLimits", "routes"]
