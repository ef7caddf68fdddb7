"""Plugins: objects with methods named after hooks, each behind a thread, a deadline and a breaker.

```python
class Greeter:
    def on_turn(self, turn):
        print(turn.status)


agent = Agent(model, memory, user="ada", plugins=[Greeter()])
```

`spec.Hooks` has every hook. In one process Python is no sandbox: a plugin that is trusted is kept
from holding up a conversation, not from doing harm. One that is not is `Isolated`, in a process of
its own.
"""

from echat_sdk.hooks.isolation import Isolated
from echat_sdk.hooks.plugins import Plugins
from echat_sdk.hooks.spec import Hooks, Session, hookimpl

__all__ = ["Hooks", "Isolated", "Plugins", "Session", "hookimpl"]
