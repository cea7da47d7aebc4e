"""What a step can use: the protocol of an action, the catalog, and the actions, one file a platform.

An action carries its parameters, its documentation and its example with it. It knows nothing of rules, runs or the
store. Built-in actions are found by the same entry points (`remediator.actions`) as anyone's plug-in.
"""
