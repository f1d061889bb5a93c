"""Who may use the gateway.

caller        who sends a request, and what they may
key_ring      the keys, read again when their file changes
sessions      signed-in browsers, kept in Redis
gatekeeper    tells from a request who sends it; the one place where a wrong key is known
wrong_keys    counts wrong keys and tells the audit log
dependencies  what a route declares: the scope it takes
browsers      what no page of another site may do, whether keys are needed or not
"""
