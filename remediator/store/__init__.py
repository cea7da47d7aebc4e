"""Where everything is kept: one protocol, its implementations, the schema's migrations, and the chain of events.

The engine writes its transactions once, as coroutine functions over `Transaction`; a store runs them. What belongs here:
SQL, durability, constraints. What does not: deciding anything.
"""
