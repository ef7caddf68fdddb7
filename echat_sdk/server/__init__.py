"""The agent behind OpenAI's Realtime protocol, its HTTP endpoints, and a page to talk on.

    browser, product, phone ──▶ door (who is it? is there room?) ──▶ realtime │ rest │ console
                                                                        │
                                                               Agent, one a session

Everything here is an edge: what a session is, the agent decides.
"""
