"""Federations: Flower's link and sites as workloads, each in its own network.

Flower does the federated work: its SuperLink, SuperNodes, strategies and mods, as they are. What is
ours stands around them:

- `engine`: which Flower, and what its processes may not do (ask the internet, install);
- `app`: the one app that a workload runs, and the refusal of every other;
- `gate`: what of the SuperLink a site may reach;
- `tasks`, `task`: Flower's processes, started from the measured runtime;
- `link`, `site`: the programs that a policy's command names; `node` is the site's SuperNode;
- `result`: what a run left, all of it or nothing.

Spec: federation-v1.
"""
