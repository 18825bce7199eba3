"""Looking at a running key service: a JSON interface, metrics, and a page for browsers.

Nothing here changes the service's state or shows a key. What is not public needs a view token.

Spec: keyservice-http-v1.
"""
