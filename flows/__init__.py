"""Prefect flows: the order of the tasks, and how they are spread over workers.

No arithmetic, no task runner, no paths: `deploy` decides where they run. May import `tasks` and the core.
"""
