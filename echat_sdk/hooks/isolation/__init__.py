"""Plugins in processes of their own: what they are called with, and what keeps them in.

```python
weather = Isolated("weather", "echat_weather", "Weather", network=True)
agent = Agent(model, memory, user="ada", plugins=[weather])
```

`confinement` says what such a process is kept from, and what not.
"""

from echat_sdk.hooks.isolation.isolated import Isolated

__all__ = ["Isolated"]
