"""OpenAI's Realtime protocol (GA) over one agent for each session.

    frames ──▶ inbox ──▶ Session ──▶ agent ──▶ events ──▶ Session ──▶ outbox ──▶ frames
                            │                                │
                     Conversation (items)             ResponseWriter (order of events)

The wire's shapes are the `openai` package's own types; what is ours rides in `echat` objects and in
`echat.*` events that a client has to ask for.
"""
